//! The partition ring: N1 to N5, one file for each kind of evidence.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crossing;
mod lives;
mod lookups;
mod records;

use forebay_ring::partition::{Lock, Partition, PartitionState, Partitions};
use forebay_ring::{TokenSet, random_tokens};

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

/// The documented tokens of a partition.
fn tokens(number: u32) -> TokenSet {
    random_tokens(&format!("partition-{number}"), "", 0, 512, &TokenSet::default()).unwrap()
}
