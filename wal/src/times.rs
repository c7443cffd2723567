//! How often something took how long, counted by powers of two.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Less than a microsecond, less than 2, less than 4, and so on; the last counts all above.
pub(crate) const CLASSES: usize = 24;

#[derive(Debug, Default)]
pub(crate) struct Times([AtomicU64; CLASSES]);

impl Times {
    pub(crate) fn took(&self, ns: u64) {
        self.0[class(ns)].fetch_add(1, Relaxed);
    }

    pub(crate) fn counts(&self) -> [u64; CLASSES] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

fn class(ns: u64) -> usize {
    let bits = u64::BITS - (ns / 1000).leading_zeros();
    (bits as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_below_the_next_power_of_two_microseconds() {
        let table =
            [(0, 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (3999, 2), (4000, 3), (1_000_000, 10)];
        for (ns, expected) in table {
            assert_eq!(class(ns), expected, "{ns} ns");
        }
        assert_eq!(class(u64::MAX), CLASSES - 1);
    }
}
