//! A real etcd for the ring: one that runs already, at the URL in `FOREBAY_ETCD`, or one that is started from the path, on
//! free ports of the loopback and in a temporary directory.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::process::free_port;

/// It ends when it is dropped.
pub(crate) struct Etcd {
    pub(crate) url: String,
    _child: Option<(Child, TempDir)>,
}

impl Etcd {
    /// `None` where there is none; then it says why.
    pub(crate) async fn find() -> Option<Self> {
        if !cfg!(feature = "etcd") {
            println!("skipped: built without the feature etcd");
            return None;
        }
        if let Ok(url) = std::env::var("FOREBAY_ETCD") {
            return Some(Self { url, _child: None });
        }
        // Of a port that was free a moment ago somebody else may be the first to take it.
        for _ in 0..5 {
            let ports = [free_port(), free_port()];
            let (mut child, dir) = match start(ports) {
                Ok(started) => started,
                Err(error) => {
                    println!("skipped: no etcd in the path ({error}), and no URL in FOREBAY_ETCD");
                    return None;
                }
            };
            if accepts(ports[0], &mut child).await {
                let url = format!("http://127.0.0.1:{}", ports[0]);
                return Some(Self { url, _child: Some((child, dir)) });
            }
        }
        panic!("etcd was started five times and never listened");
    }
}

fn start(ports: [u16; 2]) -> std::io::Result<(Child, TempDir)> {
    let [url, peer] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let dir = tempfile::tempdir()?;
    let child = Command::new("etcd")
        .arg("--data-dir")
        .arg(dir.path())
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .env_remove("ETCD_UNSUPPORTED_ARCH")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, dir))
}

/// Waits until it listens, or has ended.
async fn accepts(port: u16, child: &mut Child) -> bool {
    while child.try_wait().unwrap().is_none() {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
