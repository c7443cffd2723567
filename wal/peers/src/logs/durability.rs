//! durability: its thread-safe writer, raw bytes. A batch is appended under one lock and flushed once; what a crash
//! leaves of it may be a part.

use std::path::Path;
use std::sync::Arc;

use ::durability::storage::{Directory, FlushPolicy, FsDirectory};
use ::durability::walog::{SyncWalWriter, WalMaintenance, WalReader, WalWriter};

use crate::Outcome;
use crate::log::{Level, Log, Replayed, Setup, Writer, Writers};
use crate::ticker::Ticker;

/// What *Buffered* collects before it writes; its own default.
const BUFFER_BYTES: usize = 64 << 10;

pub struct Durability {
    log: Arc<SyncWalWriter<()>>,
    directory: Arc<dyn Directory>,
    level: Level,
    _ticker: Option<Ticker>,
}

impl Writers for Durability {
    type Writer<'log> = Handle<'log>;

    fn writer(&self, _: usize) -> Outcome<Handle<'_>> {
        Ok(Handle { log: &self.log, level: self.level })
    }
}

impl Log for Durability {
    fn open(dir: &Path, setup: &Setup) -> Outcome<Self> {
        let directory = FsDirectory::arc(dir)?;
        let buffer_bytes = if setup.batch > 1 || setup.level == Level::Buffered { BUFFER_BYTES } else { 0 };
        let policy = match setup.level {
            _ if setup.batch > 1 => FlushPolicy::Manual,
            Level::Buffered => FlushPolicy::Manual,
            _ => FlushPolicy::PerAppend,
        };
        let exists = directory.exists("wal");
        let mut writer = if exists {
            WalWriter::resume_after_crash(Arc::clone(&directory))?
        } else {
            WalWriter::with_options(Arc::clone(&directory), policy, buffer_bytes)
        };
        writer.set_segment_size_limit_bytes(setup.segment_bytes);
        writer.set_preallocate_bytes(setup.segment_bytes);
        let log = Arc::new(SyncWalWriter::from_writer(writer));
        let ticker = (setup.level == Level::Interval).then(|| {
            let log = Arc::clone(&log);
            Ticker::start(move || log.flush_and_sync().expect("a disk that syncs"))
        });
        Ok(Self { log, directory, level: setup.level, _ticker: ticker })
    }

    fn replay(dir: &Path, _: &Setup) -> Outcome<Replayed> {
        let mut replayed = Replayed::default();
        WalReader::<()>::new(FsDirectory::arc(dir)?).replay_bytes_each_best_effort(|record| {
            replayed.see(&record.payload);
            Ok(())
        })?;
        Ok(replayed)
    }

    fn truncate(&self, before: u64) -> Outcome<()> {
        // Its first record has the number 1.
        WalMaintenance::new(Arc::clone(&self.directory)).truncate_prefix(before)?;
        Ok(())
    }
}

pub struct Handle<'log> {
    log: &'log SyncWalWriter<()>,
    level: Level,
}

impl Writer for Handle<'_> {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        match (records, self.level) {
            ([record], Level::Synced) => self.log.append_bytes_durable(record).map(drop)?,
            ([record], _) => self.log.append_bytes(record).map(drop)?,
            (records, level) => {
                let mut answer = Ok(());
                self.log.configure(|log| {
                    answer = records
                        .iter()
                        .try_for_each(|record| log.append_bytes(record).map(drop))
                        .and_then(|()| match level {
                            Level::Buffered => Ok(()),
                            Level::Written | Level::Interval => log.flush(),
                            Level::Synced => log.flush_and_sync(),
                        });
                })?;
                answer?;
            }
        }
        Ok(())
    }
}
