//! The open block: entries in the order they came, with an index by time that is made only if they came out
//! of order. Appending takes amortised constant time whatever the order; an exact duplicate of an entry that
//! is in the block is recognised by its hash and dropped. An entry newer than all others is none, so as long as
//! time moves on nothing is hashed.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::entry::{Entry, Metadata, PAIR_BYTES, SymbolPair};
use crate::symbols::SymbolTable;

/// The entries of one block, in memory.
///
/// A *row* is an entry by order of arrival, a *rank* is an entry by order of time; entries of one timestamp
/// are ranked by arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    lines: Vec<u8>,
    pairs: Vec<SymbolPair>,
    rows: Vec<Row>,
    bounds: Option<(i64, i64)>,
    in_order: InOrder,
    raw_bytes: usize,
    /// The first rows by hash: all of them, once an entry came that was not the newest.
    seen: HashTable<u32>,
    hasher: RandomState,
    /// Rows by rank, once somebody asks; unused while the rows are in order.
    order: OnceLock<Box<[u32]>>,
}

/// Whether no row is older than the one before it.
#[derive(Debug, Clone, Copy)]
struct InOrder(bool);

impl Default for InOrder {
    fn default() -> Self {
        Self(true)
    }
}

#[derive(Debug, Clone, Copy)]
struct Row {
    timestamp_ns: i64,
    line: (u32, u32),
    pairs: (u32, u32),
}

impl Head {
    /// Adds an entry, unless the block holds it already. Tells whether it was added.
    ///
    /// The caller keeps lines and pairs of a block below 2^32.
    pub(crate) fn append(&mut self, timestamp_ns: i64, line: &[u8], pairs: &[SymbolPair]) -> bool {
        if let Some((_, newest)) = self.bounds {
            if timestamp_ns <= newest && self.holds(timestamp_ns, line, pairs) {
                return false;
            }
            self.in_order.0 &= newest <= timestamp_ns;
        }
        self.bounds = Some(match self.bounds {
            None => (timestamp_ns, timestamp_ns),
            Some((min, max)) => (min.min(timestamp_ns), max.max(timestamp_ns)),
        });
        self.order.take();
        let starts = (offset(self.lines.len()), offset(self.pairs.len()));
        self.lines.extend_from_slice(line);
        self.pairs.extend_from_slice(pairs);
        let ends = (offset(self.lines.len()), offset(self.pairs.len()));
        self.rows.push(Row { timestamp_ns, line: (starts.0, ends.0), pairs: (starts.1, ends.1) });
        self.raw_bytes += line.len() + PAIR_BYTES * pairs.len();
        true
    }

    /// Whether the block has this entry; takes up the rows that came since it was last asked.
    fn holds(&mut self, timestamp_ns: i64, line: &[u8], pairs: &[SymbolPair]) -> bool {
        let Self { seen, hasher, rows, lines, pairs: all_pairs, .. } = self;
        let entry = |row| resolve(rows, lines, all_pairs, row).unwrap_or_default();
        // The hashes are not kept: to compute them again when the table grows takes less than to store them.
        let hash_of = |&row: &u32| {
            let (timestamp_ns, line, pairs) = entry(row);
            hash(hasher, timestamp_ns, line, pairs)
        };
        for row in offset(seen.len())..offset(rows.len()) {
            seen.insert_unique(hash_of(&row), row, hash_of);
        }
        let wanted = hash(hasher, timestamp_ns, line, pairs);
        seen.find(wanted, |&row| entry(row) == (timestamp_ns, line, pairs)).is_some()
    }

    /// Gives back the memory that only appending needs.
    pub(crate) fn seal(&mut self) {
        self.seen = HashTable::new();
        self.lines.shrink_to_fit();
        self.pairs.shrink_to_fit();
        self.rows.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Lines and 8 for each metadata pair.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// The most bytes that the entries take when encoded: 20 for time and length, 20 for the size and number
    /// of the pairs, 20 for each pair.
    pub(crate) fn encoded_bound(&self) -> usize {
        self.lines.len() + 40 * self.rows.len() + 20 * self.pairs.len()
    }

    /// The times of the oldest and the newest entry.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        self.bounds
    }

    /// What the block takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.capacity()
            + self.pairs.capacity() * size_of::<SymbolPair>()
            + self.rows.capacity() * size_of::<Row>()
            + self.seen.allocation_size()
            + self.order.get().map_or(0, |order| size_of_val(&**order))
    }

    /// Time, line and metadata of the entry of that rank.
    pub(crate) fn ranked(&self, rank: usize) -> Option<(i64, &[u8], &[SymbolPair])> {
        self.row(self.row_of(rank)?)
    }

    /// The entry of that rank.
    pub(crate) fn entry<'a>(&'a self, rank: usize, symbols: &'a SymbolTable) -> Option<Entry<'a>> {
        let (timestamp_ns, line, pairs) = self.ranked(rank)?;
        Some(Entry { timestamp_ns, line, metadata: Metadata::interned(symbols, pairs) })
    }

    /// The time of the entry of that rank.
    pub(crate) fn timestamp(&self, rank: usize) -> Option<i64> {
        let row = usize::try_from(self.row_of(rank)?).ok()?;
        self.rows.get(row).map(|row| row.timestamp_ns)
    }

    fn row_of(&self, rank: usize) -> Option<u32> {
        if self.in_order.0 { u32::try_from(rank).ok() } else { self.order().get(rank).copied() }
    }

    fn row(&self, number: u32) -> Option<(i64, &[u8], &[SymbolPair])> {
        resolve(&self.rows, &self.lines, &self.pairs, number)
    }

    /// Sorts on first use, which is when the block is encoded or read, never when it is appended to.
    fn order(&self) -> &[u32] {
        self.order.get_or_init(|| {
            let mut timed: Vec<(i64, u32)> = self.rows.iter().map(|row| row.timestamp_ns).zip(0..).collect();
            timed.sort_unstable();
            timed.into_iter().map(|(_, row)| row).collect()
        })
    }
}

fn resolve<'a>(
    rows: &[Row],
    lines: &'a [u8],
    pairs: &'a [SymbolPair],
    number: u32,
) -> Option<(i64, &'a [u8], &'a [SymbolPair])> {
    let row = rows.get(usize::try_from(number).ok()?)?;
    let range = |(start, end): (u32, u32)| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?);
    Some((row.timestamp_ns, lines.get(range(row.line)?)?, pairs.get(range(row.pairs)?)?))
}

fn hash(hasher: &RandomState, timestamp_ns: i64, line: &[u8], pairs: &[SymbolPair]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_i64(timestamp_ns);
    state.write(line);
    for pair in pairs {
        state.write_u64(u64::from(pair.name) << 32 | u64::from(pair.value));
    }
    state.finish()
}

fn offset(length: usize) -> u32 {
    u32::try_from(length).expect("the builder seals a head long before it has 2^32 of anything")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(head: &Head) -> Vec<(i64, &[u8])> {
        (0..head.len()).map(|rank| head.ranked(rank).unwrap()).map(|(ts, line, _)| (ts, line)).collect()
    }

    #[test]
    fn entries_are_ranked_by_time_and_then_by_arrival() {
        let mut head = Head::default();
        for (ts, line) in [(3, "a"), (1, "b"), (3, "c"), (i64::MIN, "d"), (1, "e"), (i64::MAX, "f")] {
            assert!(head.append(ts, line.as_bytes(), &[]));
        }
        let expected: [(i64, &[u8]); 6] =
            [(i64::MIN, b"d"), (1, b"b"), (1, b"e"), (3, b"a"), (3, b"c"), (i64::MAX, b"f")];
        assert_eq!(ranks(&head), expected);
        assert_eq!(head.bounds(), Some((i64::MIN, i64::MAX)));
        assert!(head.append(2, b"g", &[]));
        assert_eq!(ranks(&head)[3], (2, &b"g"[..]));
    }

    #[test]
    fn only_an_exact_duplicate_is_dropped() {
        let pair = |name, value| SymbolPair { name, value };
        let mut head = Head::default();
        assert!(head.append(1, b"x", &[pair(0, 1)]));
        assert!(head.append(1, b"x", &[pair(0, 2)]));
        assert!(head.append(1, b"x", &[]));
        assert!(head.append(2, b"x", &[]));
        assert!(head.append(1, b"", &[]));
        assert!(!head.append(1, b"x", &[pair(0, 1)]));
        assert!(!head.append(1, b"", &[]));
        assert_eq!((head.len(), head.raw_bytes()), (5, 4 + 2 * PAIR_BYTES));
    }

    #[test]
    fn duplicates_are_found_after_the_table_has_grown() {
        let mut head = Head::default();
        for n in 0..5000i64 {
            assert!(head.append(n / 50, &n.to_le_bytes(), &[]));
        }
        for n in 0..5000i64 {
            assert!(!head.append(n / 50, &n.to_le_bytes(), &[]));
        }
    }

    #[test]
    fn duplicates_of_entries_that_came_while_time_moved_on_are_found_too() {
        let mut head = Head::default();
        for round in 0..20i64 {
            for n in 0..50 {
                assert!(head.append(round * 50 + n, &n.to_le_bytes(), &[]));
            }
            for earlier in 0..=round {
                assert!(!head.append(earlier * 50 + 7, &7i64.to_le_bytes(), &[]));
                assert!(!head.append(earlier * 50 + 49, &49i64.to_le_bytes(), &[]));
            }
        }
        assert_eq!(head.len(), 1000);
    }
}
