//! mrecordlog 0.4: one queue, one lock, and a runtime because its files are tokio's. It never syncs.

use std::path::Path;
use std::time::Duration;

use ::mrecordlog::{MultiRecordLog, SyncPolicy};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

use crate::Outcome;
use crate::log::{Level, Log, Replayed, Setup, Writer, Writers};

const QUEUE: &str = "records";
/// Its policy for not flushing at each append.
const NEVER: Duration = Duration::from_secs(86_400);

pub struct MRecordLog {
    runtime: Runtime,
    log: Mutex<MultiRecordLog>,
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).build()?)
}

impl Writers for MRecordLog {
    type Writer<'log> = Handle<'log>;

    fn writer(&self, _: usize) -> Outcome<Handle<'_>> {
        Ok(Handle { log: self })
    }
}

impl Log for MRecordLog {
    fn open(dir: &Path, setup: &Setup) -> Outcome<Self> {
        let policy = match setup.level {
            Level::Buffered => SyncPolicy::OnDelay(NEVER),
            _ => SyncPolicy::OnAppend,
        };
        let runtime = runtime()?;
        let log = runtime.block_on(async {
            let mut log = MultiRecordLog::open_with_prefs(dir, policy).await?;
            if !log.queue_exists(QUEUE) {
                log.create_queue(QUEUE).await?;
            }
            Outcome::Ok(log)
        })?;
        Ok(Self { runtime, log: Mutex::new(log) })
    }

    fn replay(dir: &Path, _: &Setup) -> Outcome<Replayed> {
        let runtime = runtime()?;
        let log = runtime.block_on(MultiRecordLog::open(dir))?;
        let mut replayed = Replayed::default();
        let records = log.range(QUEUE, ..).map_err(|_| "its queue is not there any more")?;
        records.for_each(|(_, record)| replayed.see(&record));
        std::mem::forget((log, runtime));
        Ok(replayed)
    }

    fn truncate(&self, before: u64) -> Outcome<()> {
        if let Some(last) = before.checked_sub(1) {
            self.runtime.block_on(async { self.log.lock().await.truncate(QUEUE, last).await })?;
        }
        Ok(())
    }
}

pub struct Handle<'log> {
    log: &'log MRecordLog,
}

impl Writer for Handle<'_> {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        self.log.runtime.block_on(async {
            self.log.log.lock().await.append_records(QUEUE, None, records.iter().copied()).await
        })?;
        Ok(())
    }
}
