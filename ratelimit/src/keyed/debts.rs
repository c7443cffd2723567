//! What keys owe that had to go long ago: a count-min sketch that keeps, instead of a sum, the latest instant at which
//! a bucket that fell on a cell is full. Such a debt pays itself off without anybody touching the cell.
//!
//! Invariant: [`recall`](Debts::recall) is never earlier than what was [remembered](Debts::remember) for the
//! same hash (Cormode and Muthukrishnan, "An improved data stream summary", 2005: the minimum over the rows).

use std::sync::atomic::{AtomicU64, Ordering};

const ROWS: usize = 4;
const COLUMN_BITS: u32 = 10;

pub(super) struct Debts {
    /// Row after row.
    cells: Box<[AtomicU64]>,
}

impl Debts {
    pub(super) fn new() -> Self {
        Self { cells: (0..ROWS << COLUMN_BITS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The bucket of the key with this hash is full at `full_at_ns`.
    pub(super) fn remember(&self, hash: u64, full_at_ns: u64) {
        for cell in self.cells_of(hash) {
            cell.fetch_max(full_at_ns, Ordering::Relaxed);
        }
    }

    /// An instant at which the bucket of the key with this hash is full for sure.
    pub(super) fn recall(&self, hash: u64) -> u64 {
        self.cells_of(hash).map(|cell| cell.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// One cell of each row, chosen by bits that a multiplication has spread.
    fn cells_of(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - COLUMN_BITS * 4);
        let columns = 1 << COLUMN_BITS;
        self.cells.chunks(columns).enumerate().filter_map(move |(row, cells)| {
            let column = usize::try_from(spread >> (row * COLUMN_BITS as usize)).unwrap_or(0) % columns;
            cells.get(column)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_debt_is_recalled_as_less_than_it_was(
            debts in prop::collection::vec((any::<u64>(), any::<u64>()), 1..3_000),
        ) {
            let sketch = Debts::new();
            for &(hash, full_at_ns) in &debts {
                sketch.remember(hash, full_at_ns);
            }
            for &(hash, full_at_ns) in &debts {
                prop_assert!(sketch.recall(hash) >= full_at_ns);
            }
        }
    }

    #[test]
    fn strangers_pay_for_nobody_while_few_are_away() {
        let sketch = Debts::new();
        let hash = |key: u64| key.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29) ^ key;
        (0..300).for_each(|key| sketch.remember(hash(key), 7));
        let paying = (1_000..11_000).filter(|&key| sketch.recall(hash(key)) > 0).count();
        // A quarter of each row is taken: a quarter to the fourth of strangers, 0.4 %.
        assert!(paying < 100, "{paying} of 10,000");
    }
}
