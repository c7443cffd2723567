//! raft-engine: each writer has a group of its own, a batch of records is one `LogBatch`.

use std::path::Path;
use std::sync::Arc;

use ::raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use protobuf::descriptor::UninterpretedOption;

use crate::Outcome;
use crate::log::{Codec, Level, Log, Replayed, Setup, Writer, Writers};
use crate::ticker::Ticker;

/// Where the syncs of *Interval* are written, and what moves the engine to its first file of zeros.
const SPARE_GROUP: u64 = u64::MAX;

pub struct RaftEngine {
    engine: Arc<Engine>,
    sync: bool,
    _ticker: Option<Ticker>,
}

/// Its entries are messages of protobuf that know their number. Of those that come with that crate this one has a
/// number and bytes, and as little else as one of raft's own.
struct Numbered;

impl MessageExt for Numbered {
    type Entry = UninterpretedOption;

    fn index(entry: &UninterpretedOption) -> u64 {
        entry.get_positive_int_value()
    }
}

/// Compressed only where that is asked for, from its own threshold on. Where it syncs, all files after the first are made ahead, full of zeros; where it does not, that
/// would only cost it time.
fn config(dir: &Path, setup: &Setup) -> Outcome<Config> {
    let size = ReadableSize(setup.segment_bytes);
    Ok(Config {
        dir: dir.to_str().ok_or("a directory whose name is UTF-8")?.to_owned(),
        target_file_size: size,
        purge_threshold: ReadableSize(setup.keep_bytes.max(setup.segment_bytes)),
        batch_compression_threshold: match setup.codec {
            Codec::None => ReadableSize(0),
            _ => Config::default().batch_compression_threshold,
        },
        prefill_for_recycle: prefilled(setup),
        prefill_limit: prefilled(setup).then_some(ReadableSize(2 * setup.segment_bytes)),
        ..Config::default()
    })
}

fn prefilled(setup: &Setup) -> bool {
    setup.level == Level::Synced
}

impl Writers for RaftEngine {
    type Writer<'log> = Handle;

    fn writer(&self, number: usize) -> Outcome<Handle> {
        let group = number as u64 + 1;
        Ok(Handle {
            engine: Arc::clone(&self.engine),
            sync: self.sync,
            group,
            next: self.engine.last_index(group).unwrap_or(0) + 1,
            batch: LogBatch::default(),
            entries: Vec::new(),
        })
    }
}

impl Log for RaftEngine {
    fn open(dir: &Path, setup: &Setup) -> Outcome<Self> {
        let engine = Arc::new(Engine::open(config(dir, setup)?)?);
        if prefilled(setup) && engine.is_empty() {
            // The first file is the one that is not full of zeros: a large record fills it.
            let mut batch = LogBatch::default();
            batch.put(SPARE_GROUP, b"fill".to_vec(), vec![0; usize::try_from(setup.segment_bytes)?])?;
            engine.write(&mut batch, true)?;
            batch.delete(SPARE_GROUP, b"fill".to_vec());
            engine.write(&mut batch, true)?;
        }
        let ticker = (setup.level == Level::Interval).then(|| {
            // `Engine::sync` writes nothing and therefore syncs nothing.
            let engine = Arc::clone(&engine);
            let mut batch = LogBatch::default();
            Ticker::start(move || {
                batch.put(SPARE_GROUP, b"tick".to_vec(), Vec::new()).expect("a small batch");
                engine.write(&mut batch, true).expect("a disk that syncs");
            })
        });
        Ok(Self { engine, sync: setup.level == Level::Synced, _ticker: ticker })
    }

    /// Opening indexes the entries, and each is then read from its file.
    fn replay(dir: &Path, setup: &Setup) -> Outcome<Replayed> {
        let engine = Engine::open(config(dir, setup)?)?;
        let mut replayed = Replayed::default();
        let mut entries = Vec::new();
        for group in engine.raft_groups() {
            let Some((first, last)) = engine.first_index(group).zip(engine.last_index(group)) else {
                continue;
            };
            for from in (first..=last).step_by(1_000) {
                engine.fetch_entries_to::<Numbered>(
                    group,
                    from,
                    (from + 1_000).min(last + 1),
                    None,
                    &mut entries,
                )?;
                entries.drain(..).for_each(|entry| replayed.see(entry.get_string_value()));
            }
        }
        std::mem::forget(engine);
        Ok(replayed)
    }

    fn truncate(&self, before: u64) -> Outcome<()> {
        self.engine.compact_to(1, before + 1);
        self.engine.purge_expired_files()?;
        Ok(())
    }
}

pub struct Handle {
    engine: Arc<Engine>,
    sync: bool,
    group: u64,
    next: u64,
    batch: LogBatch,
    entries: Vec<UninterpretedOption>,
}

impl Writer for Handle {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        // Entries and their buffers are used again, as far as its interface allows.
        self.entries.resize_with(records.len(), UninterpretedOption::default);
        for ((entry, record), number) in self.entries.iter_mut().zip(records).zip(self.next..) {
            entry.set_positive_int_value(number);
            let bytes = entry.mut_string_value();
            bytes.clear();
            bytes.extend_from_slice(record);
        }
        self.next += records.len() as u64;
        self.batch.add_entries::<Numbered>(self.group, &self.entries)?;
        self.engine.write(&mut self.batch, self.sync)?;
        Ok(())
    }
}
