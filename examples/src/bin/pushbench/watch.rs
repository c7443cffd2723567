//! How a server's memory and processor time went, while it was pushed to.

use std::fmt::Write;
use std::time::Duration;

use forebay_agent::clock::monotonic_ns;
use parking_lot::Mutex;

use crate::load::Progress;
use crate::process::Server;

/// How it stood at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Since the start.
    pub(crate) elapsed: Duration,
    pub(crate) rss_bytes: u64,
    /// Since the server was started.
    pub(crate) cpu: Duration,
    /// Lines that went through.
    pub(crate) lines: u64,
}

/// Looks every so often, for ever, and keeps what it saw in `samples`.
pub(crate) async fn watch(
    server: &Server,
    progress: &Progress,
    every: Duration,
    samples: &Mutex<Vec<Sample>>,
) -> anyhow::Error {
    let started_ns = monotonic_ns();
    let mut turns = tokio::time::interval(every);
    loop {
        turns.tick().await;
        let usage = match server.usage().await {
            Ok(Some(usage)) => usage,
            Ok(None) => std::future::pending().await,
            Err(error) => return error,
        };
        samples.lock().push(Sample {
            elapsed: Duration::from_nanos(monotonic_ns() - started_ns),
            rss_bytes: usage.rss_bytes,
            cpu: usage.cpu,
            lines: progress.lines(),
        });
    }
}

/// One line a sample, under a header.
pub(crate) fn csv(samples: &[Sample]) -> String {
    let mut out = "seconds,rss_bytes,cpu_seconds,lines\n".to_owned();
    for Sample { elapsed, rss_bytes, cpu, lines } in samples {
        let (elapsed, cpu) = (elapsed.as_secs_f64(), cpu.as_secs_f64());
        // To a string it cannot fail.
        let _ = writeln!(out, "{elapsed:.3},{rss_bytes},{cpu:.2},{lines}");
    }
    out
}

/// The mean resident megabytes of the second and of the last quarter: the same, where memory is flat. The first is left
/// out, in which everything fills.
pub(crate) fn quarters(samples: &[Sample]) -> Option<(f64, f64)> {
    let end = samples.last()?.elapsed;
    let mean = |from: u32, to: u32| {
        let within = |sample: &&Sample| sample.elapsed > end * from / 4 && sample.elapsed <= end * to / 4;
        let sizes: Vec<f64> = samples.iter().filter(within).map(|s| s.rss_bytes as f64 / 1e6).collect();
        (!sizes.is_empty()).then(|| sizes.iter().sum::<f64>() / sizes.len() as f64)
    };
    Some((mean(1, 2)?, mean(3, 4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, megabytes: u64) -> Sample {
        Sample {
            elapsed: Duration::from_secs(seconds),
            rss_bytes: megabytes * 1_000_000,
            cpu: Duration::from_millis(1_500),
            lines: seconds * 10,
        }
    }

    #[test]
    fn samples_are_a_table_for_other_programs() {
        let expected = "seconds,rss_bytes,cpu_seconds,lines\n0.000,1000000,1.50,0\n7.000,2000000,1.50,70\n";
        assert_eq!(csv(&[sample(0, 1), sample(7, 2)]), expected);
    }

    #[test]
    fn memory_is_compared_between_the_second_and_the_last_quarter() {
        let sizes = [0, 99, 10, 20, 7, 8, 30, 50];
        let samples: Vec<Sample> = (1..).zip(sizes).map(|(seconds, size)| sample(seconds, size)).collect();
        assert_eq!(quarters(&samples), Some((15.0, 40.0)));
        assert_eq!(quarters(&[]), None);
        assert_eq!(quarters(&samples[..1]), None);
    }
}
