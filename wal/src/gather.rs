//! How long a leader waits for others to join its group: when a group was synced, all its writers come back at
//! nearly the same time, and whoever leads the moment the first is there leaves the rest to wait for a sync more.

/// Syncs that are shorter are over before waiting could gain anything.
const WORTH_NS: u64 = 100_000;
/// No wait is longer.
const MOST_NS: u64 = 200_000;

/// For how long to wait, at most, until as many wait for a sync as the last one served: an eighth of what a sync
/// takes. `None` is not at all, as where there was only one, who comes back after his own answer.
#[inline]
pub(crate) fn window_ns(sync_ns: u64, last: usize, waiting: usize) -> Option<u64> {
    let worth = sync_ns > WORTH_NS && last > 1 && waiting < last;
    worth.then(|| (sync_ns / 8).min(MOST_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_waits_where_that_gains_something() {
        const MS: u64 = 1_000_000;
        let table = [
            // A single writer never waits.
            (MS, 1, 1, None),
            (MS, 0, 1, None),
            (MS, 64, 1, Some(125_000)),
            (MS, 64, 63, Some(125_000)),
            (MS, 64, 64, None),
            (MS, 64, 90, None),
            (10 * MS, 64, 1, Some(200_000)),
            // A sync that costs next to nothing, or has no measure yet.
            (100_000, 64, 1, None),
            (100_008, 64, 1, Some(12_501)),
            (0, 64, 1, None),
        ];
        for (sync_ns, last, waiting, window) in table {
            assert_eq!(window_ns(sync_ns, last, waiting), window, "{sync_ns} {last} {waiting}");
        }
    }
}
