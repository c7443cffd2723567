//! What one process has measured, as it hands it to the one that asked.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// Goes before the sample on the process's standard output; peers may print what they like.
const MARK: &str = "sample: ";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    pub records: u64,
    pub payload_bytes: u64,
    pub elapsed_ns: u64,
    /// Processor time of all threads, in the kernel too.
    pub cpu_ns: u64,
    /// System calls that write, but for those of an io_uring.
    pub writes: u64,
    pub syncs: u64,
    /// What the disk took for the syncs, without waiting on purpose.
    pub sync_ns: u64,
    /// What lies in the files, up to the last byte that is not zero.
    pub stored_bytes: u64,
    /// How often a call took how many nanoseconds.
    pub latencies: Vec<(u64, u64)>,
    /// Operations asked of the file system, by name.
    pub calls: BTreeMap<String, u64>,
}

impl Sample {
    pub fn to_line(&self) -> Outcome<String> {
        Ok(format!("{MARK}{}", serde_json::to_string(self)?))
    }

    pub fn find(output: &str) -> Option<Self> {
        let line = output.lines().rev().find_map(|line| line.strip_prefix(MARK))?;
        serde_json::from_str(line).ok()
    }
}

/// From a nanosecond to ten minutes, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("bounds that are in order")
}

/// Those of all samples together.
pub fn latencies<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Histogram<u64> {
    let mut all = histogram();
    for (nanoseconds, count) in samples.into_iter().flat_map(|sample| &sample.latencies) {
        all.saturating_record_n(*nanoseconds, *count);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_among_what_others_print() {
        let sample = Sample { records: 7, latencies: vec![(1_000, 3)], ..Sample::default() };
        let output = format!("[flush] scheduling\n{}\nbye\n", sample.to_line().unwrap());
        let found = Sample::find(&output).unwrap();
        assert_eq!((found.records, found.latencies), (7, vec![(1_000, 3)]));
        assert!(Sample::find("nothing").is_none());
    }
}
