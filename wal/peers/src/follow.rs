//! How long it takes from the call that appends a record until a reader that follows the log has it.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::drive::nanoseconds;
use crate::log::{Writer, Writers};
use crate::sample::{Sample, histogram};

/// Between two appends: the reader has seen the one before, and waits.
const PAUSE: Duration = Duration::from_micros(200);

/// A log that can be read while it is written.
pub trait Follow: Writers {
    /// Shows each record of the first writer, in order, until `see` says that it was the last.
    fn follow(&self, see: impl FnMut(&[u8]) -> bool) -> Outcome<()>;
}

/// Appends records, one each [`PAUSE`], for as long as `time`, while another thread follows. Each says when the call
/// that appended it was made.
pub fn lag<L: Follow>(
    log: &L,
    record_bytes: usize,
    time: Duration,
    settle: impl FnOnce() -> Outcome<()>,
) -> Outcome<Sample> {
    log.settle()?;
    settle()?;
    let records = nanoseconds(time) / nanoseconds(PAUSE);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut lags, mut sum_ns, mut seen) = (histogram(), 0, 0);
            let followed = log.follow(|record| {
                let appended_ns = record.first_chunk().map_or(0, |stamp| u64::from_le_bytes(*stamp));
                let lag_ns = nanoseconds(begun.elapsed()).saturating_sub(appended_ns);
                lags.saturating_record(lag_ns);
                sum_ns += lag_ns;
                seen += 1;
                seen < records
            });
            // Nothing of it goes over to another thread but what is plain.
            followed.map_err(|error| error.to_string()).map(|()| (lags, sum_ns))
        });
        let mut writer = log.writer(0)?;
        let mut record = vec![1; record_bytes.max(size_of::<u64>())];
        for _ in 0..records {
            std::thread::sleep(PAUSE);
            if let Some(stamp) = record.first_chunk_mut() {
                *stamp = nanoseconds(begun.elapsed()).to_le_bytes();
            }
            writer.append(&[&record])?;
        }
        let (lags, elapsed_ns) = reader.join().map_err(|_| "the thread that follows has panicked")??;
        Ok(Sample {
            records,
            payload_bytes: records * record.len() as u64,
            elapsed_ns,
            latencies: lags
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
            ..Sample::default()
        })
    })
}
