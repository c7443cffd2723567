//! A TCP proxy that stalls, loses or resets what it carries.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everything passes.
    Open,
    /// Nothing does, and nobody is told.
    Stalled,
    /// What is asked passes, and the answers are lost.
    Mute,
    /// Every connection is reset.
    Reset,
}

pub(super) struct Proxy {
    pub(super) port: u16,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// A proxy to a port of this machine, open.
    pub(super) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, changed) = watch::channel(Mode::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to, changed.clone()));
            }
        });
        Self { port, mode }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// Carries one connection until an end of it is closed, or it is reset.
async fn carry(mut client: TcpStream, to: u16, mut mode: watch::Receiver<Mode>) {
    client.set_zero_linger().unwrap();
    if *mode.borrow() == Mode::Reset {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    server.set_zero_linger().unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let there = pass(from_client, to_server, mode.clone(), false);
    let back = pass(from_server, to_client, mode.clone(), true);
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = mode.wait_for(|mode| *mode == Mode::Reset) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
    answers: bool,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(now) = mode.wait_for(|mode| *mode != Mode::Stalled).await.map(|mode| *mode) else { return };
        if now == Mode::Mute && answers {
            // What was lost cannot be made up for: the connection ends once others do not.
            let _ = mode.wait_for(|mode| *mode != Mode::Mute).await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
