//! Standard input, or any other reader that cannot be read twice, in bounded memory: a thread reads ahead by a few
//! chunks and then waits.

use std::io::{self, Read};

use memchr::memchr_iter;
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
    /// Bytes that were read so far.
    read: u64,
    failed: Option<io::Error>,
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
        Self { chunks, bytes: Vec::new(), within: false, changed_ns: 0, ended: false, read: 0, failed: None }
    }

    /// Takes what was read, until there are `enough` bytes.
    pub(super) fn take(&mut self, enough: usize, now_ns: u64) {
        while self.bytes.len() < enough && !self.ended {
            match self.chunks.try_recv() {
                Ok(chunk) => self.put(chunk, now_ns),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.ended = true,
            }
        }
    }

    /// Waits until there is more, or none any more.
    pub(super) async fn more(&mut self, now_ns: u64) {
        match self.chunks.recv().await {
            Some(chunk) => self.put(chunk, now_ns),
            None => self.ended = true,
        }
    }

    /// Why it ended, where it broke, and at which byte.
    pub(super) fn failure(&mut self) -> Option<(u64, io::Error)> {
        Some((self.read, self.failed.take()?))
    }

    /// Ends it: how many lines were read and not used.
    pub(super) fn abandon(&mut self) -> u64 {
        self.chunks.close();
        self.take(usize::MAX, 0);
        let half = self.bytes.last().is_some_and(|&last| last != b'\n');
        let lines = memchr_iter(b'\n', &self.bytes).count() as u64 + u64::from(half);
        self.bytes.clear();
        lines
    }

    fn put(&mut self, chunk: io::Result<Vec<u8>>, now_ns: u64) {
        match chunk {
            Ok(chunk) => {
                self.bytes.extend_from_slice(&chunk);
                self.read += chunk.len() as u64;
                self.changed_ns = now_ns;
            }
            Err(error) => (self.failed, self.ended) = (Some(error), true),
        }
    }
}
