//! The partition ring: one file for each kind of evidence.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lives;
mod records;

use forebay_ring::partition::{Lock, Partition, PartitionState, Partitions};

const SECOND_NS: i64 = 1_000_000_000;

fn partition(number: u32, state: PartitionState) -> Partition {
    Partition { state, ..Partition::new(number, SECOND_NS) }
}

fn locked(partition: Partition) -> Partition {
    Partition { lock: Lock { locked: true, changed_at_ns: SECOND_NS, version: 1 }, ..partition }
}

fn view(partitions: impl IntoIterator<Item = Partition>) -> Partitions {
    let mut view = Partitions::default();
    partitions.into_iter().for_each(|partition| assert!(view.observe(partition).unwrap()));
    view
}
