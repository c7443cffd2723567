//! okaywal: every commit is synced, and a batch is one entry of many chunks.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ::okaywal::{
    Configuration, Entry, EntryId, LogManager, LogVoid, ReadChunkResult, SegmentReader, WriteAheadLog,
};

use crate::Outcome;
use crate::log::{Log, Replayed, Setup, Writer, Writers};

pub struct OkayWal {
    log: WriteAheadLog,
}

/// Its own sizes (1 MiB, a checkpoint after 768 KiB) would make it rotate all the time.
fn configuration(dir: &Path, setup: &Setup) -> Outcome<Configuration> {
    Ok(Configuration::default_for(dir)
        .preallocate_bytes(u32::try_from(setup.segment_bytes)?)
        .checkpoint_after_bytes(setup.segment_bytes)
        .buffer_bytes(64 << 10))
}

impl Writers for OkayWal {
    type Writer<'log> = Handle<'log>;

    fn writer(&self, _: usize) -> Outcome<Handle<'_>> {
        Ok(Handle { log: &self.log })
    }
}

impl Log for OkayWal {
    fn open(dir: &Path, setup: &Setup) -> Outcome<Self> {
        Ok(Self { log: configuration(dir, setup)?.open(LogVoid)? })
    }

    fn replay(dir: &Path, setup: &Setup) -> Outcome<Replayed> {
        let seen = Arc::new(Mutex::new(Replayed::default()));
        let recovering = Recovering { seen: Arc::clone(&seen), record: Vec::new() };
        std::mem::forget(configuration(dir, setup)?.open(recovering)?);
        let replayed = *seen.lock().expect("nobody panics with it");
        Ok(replayed)
    }

    /// Its manager decides what opening does; one that reads nothing would lose the records.
    fn recover(dir: &Path, setup: &Setup) -> Outcome<()> {
        Self::replay(dir, setup).map(drop)
    }

    fn close(self) -> Outcome<()> {
        Ok(self.log.shutdown()?)
    }
}

pub struct Handle<'log> {
    log: &'log WriteAheadLog,
}

impl Writer for Handle<'_> {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        let mut entry = self.log.begin_entry()?;
        for record in records {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }
}

/// Looks at every chunk of every entry and checks its sum, as whoever restores from it has to. What is torn is left
/// out.
#[derive(Debug)]
struct Recovering {
    seen: Arc<Mutex<Replayed>>,
    record: Vec<u8>,
}

impl LogManager for Recovering {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut seen = self.seen.lock().expect("nobody panics with it");
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            self.record.clear();
            chunk.read_to_end(&mut self.record)?;
            if !chunk.check_crc()? {
                return Ok(());
            }
            seen.see(&self.record);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}
