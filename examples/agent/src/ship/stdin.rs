//! Standard input, or any other reader that cannot be read twice, in bounded memory: a thread reads ahead by a few
//! chunks and then waits.

use std::io::{self, Read};

use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};

const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS: usize = 4;

/// Bytes that were read and not used, and whether there will be more.
#[derive(Debug)]
pub(super) struct Input {
    chunks: Receiver<io::Result<Vec<u8>>>,
    pub(super) bytes: Vec<u8>,
    /// What comes next belongs to a line that was too long.
    pub(super) within: bool,
    pub(super) changed_ns: u64,
    pub(super) ended: bool,
}

impl Input {
    /// Reads `reader` on a thread of its own, which ends with the reader.
    pub(super) fn new(mut reader: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = channel(CHUNKS);
        std::thread::spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = match reader.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(read) => Ok(read),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                let sent = sender.blocking_send(read.map(|read| {
                    chunk.truncate(read);
                    chunk
                }));
                if failed || sent.is_err() {
                    return;
                }
            }
        });
        Self { chunks, bytes: Vec::new(), within: false, changed_ns: 0, ended: false }
    }

    /// Takes what was read, until there are `enough` bytes.
    pub(super) fn take(&mut self, enough: usize, now_ns: u64) -> io::Result<()> {
        while self.bytes.len() < enough && !self.ended {
            match self.chunks.try_recv() {
                Ok(chunk) => self.put(chunk?, now_ns),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => self.ended = true,
            }
        }
        Ok(())
    }

    /// Waits until there is more, or none any more.
    pub(super) async fn more(&mut self, now_ns: u64) -> io::Result<()> {
        match self.chunks.recv().await {
            Some(chunk) => self.put(chunk?, now_ns),
            None => self.ended = true,
        }
        Ok(())
    }

    fn put(&mut self, chunk: Vec<u8>, now_ns: u64) {
        self.bytes.extend_from_slice(&chunk);
        self.changed_ns = now_ns;
    }
}
