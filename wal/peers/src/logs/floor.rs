//! No log at all: a checksum, a `pwrite`, and what syncs the promise asks for, on a file of zeros that never grows.
//!
//! It writes round and round in its one file. With several writers that are to be synced, one thread writes and syncs
//! what all of them would hand over at once: *W / f*, the most that any sharing of syncs can reach.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::Outcome;
use crate::log::{Level, Log, Replayed, Setup, Writer, Writers};
use crate::ticker::Ticker;

const FILE: &str = "floor";
/// Length and checksum in front of each append.
const HEAD: usize = 8;
/// Zeros written at a time. Written in pieces of more than 256 KiB they lie in the page cache in pieces as large, and
/// then every small write to them takes longer (ext4, Linux 6.18).
const ZEROS_BYTES: usize = 64 << 10;
/// What *Buffered* collects before it writes.
const BUFFER_BYTES: usize = 256 << 10;

pub struct Floor {
    shared: Arc<Shared>,
    level: Level,
    _ticker: Option<Ticker>,
}

struct Shared {
    file: File,
    capacity: u64,
    end: AtomicU64,
    buffer: Mutex<Vec<u8>>,
}

impl Shared {
    /// Writes at the end, or at the beginning when the end of the file is near.
    fn write(&self, bytes: &[u8]) -> Outcome<()> {
        let len = bytes.len() as u64;
        let at = self.end.fetch_add(len, Ordering::Relaxed) % self.capacity;
        let at = if at + len > self.capacity { 0 } else { at };
        Ok(self.file.write_all_at(bytes, at)?)
    }
}

impl Writers for Floor {
    type Writer<'log> = Handle;

    fn writer(&self, _: usize) -> Outcome<Handle> {
        Ok(Handle { shared: Arc::clone(&self.shared), level: self.level, bytes: Vec::new() })
    }
}

impl Log for Floor {
    fn open(dir: &Path, setup: &Setup) -> Outcome<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(dir.join(FILE))?;
        let zeros = [0; ZEROS_BYTES];
        let mut at = file.metadata()?.len();
        while at < setup.segment_bytes {
            let n = zeros.len().min(usize::try_from(setup.segment_bytes - at)?);
            file.write_all_at(&zeros[..n], at)?;
            at += n as u64;
        }
        file.sync_all()?;
        let shared = Arc::new(Shared {
            file,
            capacity: at,
            end: AtomicU64::new(0),
            buffer: Mutex::new(Vec::with_capacity(BUFFER_BYTES)),
        });
        let ticker = (setup.level == Level::Interval).then(|| {
            let shared = Arc::clone(&shared);
            Ticker::start(move || shared.file.sync_data().expect("a disk that syncs"))
        });
        Ok(Self { shared, level: setup.level, _ticker: ticker })
    }

    fn crew(setup: &Setup) -> (usize, usize) {
        match setup.level {
            Level::Synced => (1, setup.writers * setup.batch),
            _ => (setup.writers, setup.batch),
        }
    }

    /// Reads the file once, a stretch at a time, and checks the sums. What was one append is cut into records by
    /// their length, which is not in the file.
    fn replay(dir: &Path, setup: &Setup) -> Outcome<Replayed> {
        let file = File::open(dir.join(FILE))?;
        let mut replayed = Replayed::default();
        let mut window = vec![0; 1 << 20];
        let (mut from, mut filled, mut at) = (0, 0, 0);
        loop {
            let left = window.get(from..filled).unwrap_or_default();
            let body = left.first_chunk::<HEAD>().map(|head| {
                let [len, sum] = [&head[..4], &head[4..]]
                    .map(|four| u32::from_le_bytes(four.try_into().expect("four bytes")));
                (len as usize, sum)
            });
            match body {
                Some((0, _)) => return Ok(replayed),
                Some((len, sum)) if left.len() >= HEAD + len => {
                    let body = &left[HEAD..HEAD + len];
                    if crc32fast::hash(body) != sum {
                        return Err("the floor itself is damaged".into());
                    }
                    body.chunks(setup.record_bytes).for_each(|record| replayed.see(record));
                    from += HEAD + len;
                }
                _ => {
                    let needed = HEAD + body.map_or(0, |(len, _)| len);
                    window.copy_within(from..filled, 0);
                    filled -= from;
                    from = 0;
                    window.resize(window.len().max(needed), 0);
                    match file.read_at(&mut window[filled..], at)? {
                        0 => return Ok(replayed),
                        n => (filled, at) = (filled + n, at + n as u64),
                    }
                }
            }
        }
    }
}

pub struct Handle {
    shared: Arc<Shared>,
    level: Level,
    bytes: Vec<u8>,
}

impl Writer for Handle {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        if self.level == Level::Buffered {
            let mut buffer = self.shared.buffer.lock().expect("nobody panics with it");
            frame(&mut buffer, records)?;
            if buffer.len() >= BUFFER_BYTES {
                self.shared.write(&buffer)?;
                buffer.clear();
            }
            return Ok(());
        }
        self.bytes.clear();
        frame(&mut self.bytes, records)?;
        self.shared.write(&self.bytes)?;
        if self.level == Level::Synced {
            self.shared.file.sync_data()?;
        }
        Ok(())
    }
}

/// One length and one checksum for all of them.
fn frame(to: &mut Vec<u8>, records: &[&[u8]]) -> Outcome<()> {
    let from = to.len();
    to.extend_from_slice(&[0; HEAD]);
    records.iter().for_each(|record| to.extend_from_slice(record));
    let body = &to[from + HEAD..];
    let (len, sum) = (u32::try_from(body.len())?, crc32fast::hash(body));
    to[from..from + 4].copy_from_slice(&len.to_le_bytes());
    to[from + 4..from + HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}
