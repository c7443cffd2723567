//! The open block: entries in the order they came, with an index by time that is made only if they came out
//! of order. Appending takes amortised constant time whatever the order; an exact duplicate of an entry that
//! is in the block is recognised by its hash and dropped. An entry newer than all others is none, so as long as
//! time moves on nothing is hashed. A clone shares all pages but for the last few entries, and appending next to it copies
//! one.

mod seen;

use std::sync::{Arc, OnceLock};

use crate::entry::{Entry, Metadata, PAIR_BYTES, SymbolPair};
use crate::pages::Pages;
use crate::symbols::SymbolTable;

use seen::{Item, Seen};

/// The entries of one block, in memory.
///
/// A *row* is an entry by order of arrival, a *rank* is an entry by order of time; entries of one timestamp
/// are ranked by arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    lines: Pages<u8, 15>,
    pairs: Pages<SymbolPair, 12>,
    rows: Pages<Row, 10>,
    len: usize,
    line_bytes: usize,
    pair_count: usize,
    bounds: Option<(i64, i64)>,
    in_order: InOrder,
    seen: Seen,
    /// Rows by rank, once somebody asks; unused while the rows are in order. Clones share it until either is
    /// appended to.
    order: Arc<OnceLock<Box<[u32]>>>,
}

/// Whether no row is older than the one before it.
#[derive(Debug, Clone, Copy)]
struct InOrder(bool);

impl Default for InOrder {
    fn default() -> Self {
        Self(true)
    }
}

/// An entry by the places of its parts.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    timestamp_ns: i64,
    line: u32,
    line_len: u32,
    pairs: u32,
    pairs_len: u32,
}

impl Head {
    /// Adds an entry, unless the block holds it already. Tells whether it was added.
    ///
    /// The caller keeps lines and pairs of a block below 2^32, and stops when it is [full](Self::is_full).
    pub(crate) fn append(&mut self, timestamp_ns: i64, line: &[u8], pairs: &[SymbolPair]) -> bool {
        let is_newest = self.bounds.is_none_or(|(_, newest)| newest < timestamp_ns);
        if !is_newest && self.holds((timestamp_ns, line, pairs)) {
            return false;
        }
        self.push(timestamp_ns, line, pairs);
        true
    }

    /// Adds an entry, whether the block holds it or not; otherwise as [`append`](Self::append).
    pub(crate) fn push(&mut self, timestamp_ns: i64, line: &[u8], pairs: &[SymbolPair]) {
        self.bounds = Some(match self.bounds {
            None => (timestamp_ns, timestamp_ns),
            Some((min, max)) => {
                self.in_order.0 &= max <= timestamp_ns;
                (min.min(timestamp_ns), max.max(timestamp_ns))
            }
        });
        if !self.in_order.0 {
            forget(&mut self.order);
        }
        let row = Row {
            timestamp_ns,
            line: self.lines.push(line),
            line_len: length(line.len()),
            pairs: self.pairs.push(pairs),
            pairs_len: length(pairs.len()),
        };
        self.rows.push(&[row]);
        self.len += 1;
        self.line_bytes += line.len();
        self.pair_count += pairs.len();
    }

    /// Whether the block has this entry; takes up the rows that came since it was last asked.
    fn holds(&mut self, wanted: Item<'_>) -> bool {
        let Self { seen, rows, lines, pairs, len, .. } = self;
        seen.holds(wanted, *len, |row| resolve(rows, lines, pairs, row).unwrap_or_default())
    }

    /// Gives back the memory that only appending needs.
    pub(crate) fn seal(&mut self) {
        self.seen = Seen::default();
        self.lines.shrink();
        self.pairs.shrink();
        self.rows.shrink();
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether any entry has metadata.
    pub(crate) fn has_metadata(&self) -> bool {
        self.pair_count > 0
    }

    /// Whether it can take no other entry: after some gibibytes of them.
    pub(crate) fn is_full(&self) -> bool {
        self.lines.is_full() || self.pairs.is_full() || self.rows.is_full()
    }

    /// Lines and 8 for each metadata pair.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.line_bytes + PAIR_BYTES * self.pair_count
    }

    /// The most bytes that the entries take when encoded: 20 for time and length, 20 for the size and number
    /// of the pairs, 20 for each pair.
    pub(crate) fn encoded_bound(&self) -> usize {
        self.line_bytes + 40 * self.len + 20 * self.pair_count
    }

    /// The times of the oldest and the newest entry.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        self.bounds
    }

    /// What the block takes in memory, pages that are shared included.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.memory_bytes()
            + self.pairs.memory_bytes()
            + self.rows.memory_bytes()
            + self.seen.memory_bytes()
            + self.order.get().map_or(0, |order| size_of_val(&**order))
    }

    /// Every entry by time.
    pub(crate) fn ranks(&self) -> impl Iterator<Item = Item<'_>> + Clone {
        (0..self.len).map(|rank| self.ranked(rank).expect("a rank below the length has an entry"))
    }

    /// Shows every entry by time. The same as [`ranks`](Self::ranks) in fewer steps.
    pub(crate) fn visit<'a>(&'a self, mut see: impl FnMut(Item<'a>)) {
        let mut see = |row: &Row| {
            let item = self.item(row).expect("a row names a line and pairs that are there");
            see(item);
        };
        if self.in_order.0 {
            return self.rows.iter().for_each(see);
        }
        for &number in self.order() {
            self.rows.get(number, 1).unwrap_or_default().iter().for_each(&mut see);
        }
    }

    fn item(&self, row: &Row) -> Option<Item<'_>> {
        let line = self.lines.get(row.line, row.line_len)?;
        Some((row.timestamp_ns, line, self.pairs.get(row.pairs, row.pairs_len)?))
    }

    /// Time, line and metadata of the entry of that rank.
    pub(crate) fn ranked(&self, rank: usize) -> Option<(i64, &[u8], &[SymbolPair])> {
        resolve(&self.rows, &self.lines, &self.pairs, self.row_of(rank)?)
    }

    /// The entry of that rank.
    pub(crate) fn entry<'a>(&'a self, rank: usize, symbols: &'a SymbolTable) -> Option<Entry<'a>> {
        let (timestamp_ns, line, pairs) = self.ranked(rank)?;
        Some(Entry { timestamp_ns, line, metadata: Metadata::interned(symbols, pairs) })
    }

    /// The time of the entry of that rank.
    pub(crate) fn timestamp(&self, rank: usize) -> Option<i64> {
        let row = self.rows.get(self.row_of(rank)?, 1)?;
        row.first().map(|row| row.timestamp_ns)
    }

    fn row_of(&self, rank: usize) -> Option<u32> {
        if self.in_order.0 { u32::try_from(rank).ok() } else { self.order().get(rank).copied() }
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

/// Empties an order, or leaves it to whoever shares it, who has the rows that it is of. They may be about to make it, so it
/// is asked once whether they are there.
fn forget(order: &mut Arc<OnceLock<Box<[u32]>>>) {
    match Arc::get_mut(order) {
        Some(order) => drop(order.take()),
        None => *order = Arc::default(),
    }
}

fn resolve<'a>(
    rows: &Pages<Row, 10>,
    lines: &'a Pages<u8, 15>,
    pairs: &'a Pages<SymbolPair, 12>,
    number: u32,
) -> Option<Item<'a>> {
    let &[row] = rows.get(number, 1)? else { return None };
    Some((row.timestamp_ns, lines.get(row.line, row.line_len)?, pairs.get(row.pairs, row.pairs_len)?))
}

fn length(length: usize) -> u32 {
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
    fn whoever_visits_all_sees_them_by_rank() {
        let mut head = Head::default();
        for n in 0..3000i64 {
            // In order, and then not.
            let time = if n < 2500 { n } else { n * 7919 % 1000 };
            assert!(head.append(time, format!("{n}").as_bytes(), &[]));
            if n % 500 == 7 || n == 2999 {
                let mut seen = Vec::new();
                head.visit(|(time, line, _)| seen.push((time, line)));
                assert_eq!(seen, ranks(&head));
            }
        }
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

    #[test]
    fn a_clone_keeps_its_entries_and_their_order_whatever_is_appended_next_to_it() {
        let mut head = Head::default();
        let mut clones = Vec::new();
        for n in 0..200i64 {
            let time = n * 7919 % 50;
            assert!(head.append(time, n.to_string().as_bytes(), &[]));
            let clone = head.clone();
            // Some are read at once, others when all has changed.
            if n % 3 == 0 {
                assert_eq!(ranks(&clone).len(), head.len());
            }
            clones.push(clone);
        }
        for (n, mut clone) in clones.into_iter().enumerate() {
            let mut expected: Vec<(i64, String)> =
                (0..=n as i64).map(|n| (n * 7919 % 50, n.to_string())).collect();
            expected.sort_by_key(|(time, _)| *time);
            let found: Vec<(i64, String)> = ranks(&clone)
                .into_iter()
                .map(|(time, line)| (time, String::from_utf8(line.to_vec()).unwrap()))
                .collect();
            assert_eq!(found, expected);
            assert!(!clone.append(0, b"0", &[]), "a clone knows what it holds");
        }
    }

    #[test]
    fn an_order_is_forgotten_by_one_and_kept_by_the_other() {
        let mut order = Arc::default();
        forget(&mut order);
        assert!(order.get().is_none());
        order.set(vec![0].into()).unwrap();
        forget(&mut order);
        assert!(order.get().is_none());
        let other = Arc::clone(&order);
        forget(&mut order);
        other.set(vec![0].into()).unwrap();
        assert!(order.get().is_none() && other.get().is_some());
    }
}
