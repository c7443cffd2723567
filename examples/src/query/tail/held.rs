//! Lines that came and are not sent yet, in order of time, each once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::{Answered, Batch, nanoseconds};
use crate::labels::Labels;
use crate::query::merge::{Found, Identity};

/// Lines that are held at the most; beyond it none waits.
const MOST_HELD: usize = 10_000;
/// Bytes of them, with metadata.
const MOST_HELD_BYTES: usize = 16 << 20;
/// Bytes of a batch, with metadata, before the next one is begun.
const BATCH_BYTES: usize = 1 << 20;
/// Lines that are remembered, and for how long: a replica that takes longer for a push has failed.
const MOST_SEEN: usize = 1 << 17;
const SEEN_FOR_NS: u64 = 60_000_000_000;
/// How long one replica's dropped line is waited for from another.
const DROPPED_AFTER: Duration = Duration::from_secs(1);
/// Dropped lines that are told of at once.
const MOST_DROPPED: usize = 1024;

/// A stream and a time.
type Place = (Labels, i64);

/// See the module.
#[derive(Debug)]
pub(super) struct Held {
    delay_ns: u64,
    /// By time, then as they came.
    lines: BTreeMap<(i64, u64), (Labels, Found)>,
    bytes: usize,
    /// When those that wait are due, and their place, as they came.
    due: VecDeque<(u64, (i64, u64))>,
    came: u64,
    seen: HashSet<(Place, Identity), foldhash::quality::RandomState>,
    /// How many of them there are of each place.
    places: HashMap<Place, u32, foldhash::quality::RandomState>,
    /// What `seen` holds, as it came.
    remembered: VecDeque<(u64, Place, Identity)>,
    dropped: BTreeSet<Place>,
    dropped_due_ns: Option<u64>,
}

impl Held {
    /// Nothing; lines wait for `delay`.
    pub(super) fn new(delay: Duration) -> Self {
        Self {
            delay_ns: nanoseconds(delay),
            lines: BTreeMap::new(),
            bytes: 0,
            due: VecDeque::new(),
            came: 0,
            seen: HashSet::default(),
            places: HashMap::default(),
            remembered: VecDeque::new(),
            dropped: BTreeSet::new(),
            dropped_due_ns: None,
        }
    }

    /// Adds a line that came at `now_ns`, unless it came before.
    pub(super) fn add(&mut self, labels: Labels, found: Found, now_ns: u64) {
        self.forget(now_ns);
        if !self.remember(&labels, &found, now_ns) {
            return;
        }
        self.put(now_ns.saturating_add(self.delay_ns), labels, found);
    }

    /// Adds a line that was there before, and need not wait.
    pub(super) fn add_due(&mut self, labels: Labels, found: Found) {
        let now_ns = forebay_agent::clock::monotonic_ns();
        self.forget(now_ns);
        if self.remember(&labels, &found, now_ns) {
            self.put(0, labels, found);
        }
    }

    /// Adds a line that one replica dropped.
    pub(super) fn miss(&mut self, labels: Labels, timestamp_ns: i64, now_ns: u64) {
        if self.dropped.len() < MOST_DROPPED {
            self.dropped.insert((labels, timestamp_ns));
            let wait_ns = self.delay_ns.max(nanoseconds(DROPPED_AFTER));
            self.dropped_due_ns.get_or_insert(now_ns.saturating_add(wait_ns));
        }
    }

    /// When there is something to take.
    pub(super) fn due_ns(&self) -> Option<u64> {
        if self.is_full() {
            return Some(0);
        }
        self.due.front().map(|(due_ns, _)| *due_ns).into_iter().chain(self.dropped_due_ns).min()
    }

    /// The lines whose time has come at `now_ns`, and all that are to come before one of them, as far as one batch goes.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<Batch> {
        self.due_ns().filter(|due_ns| *due_ns <= now_ns)?;
        let mut last = self.is_full().then_some((i64::MAX, u64::MAX));
        for (_, place) in self.due.iter().take_while(|(due_ns, _)| *due_ns <= now_ns) {
            last = last.max(Some(*place));
        }
        let mut batch = Batch::default();
        if let Some(last) = last {
            let (mut taken, mut bytes) = (None, 0);
            let mut numbers: HashMap<Labels, usize> = HashMap::new();
            while bytes < BATCH_BYTES
                && let Some(next) = self.lines.first_entry().filter(|next| *next.key() <= last)
            {
                let (place, (labels, found)) = next.remove_entry();
                taken = Some(place);
                bytes += found.size();
                self.bytes -= found.size();
                let next = numbers.len();
                let stream = *numbers.entry(labels.clone()).or_insert(next);
                if stream == batch.streams.len() {
                    batch.streams.push(labels);
                }
                batch.entries.push(Answered { stream, found });
            }
            self.due.retain(|(_, place)| Some(*place) > taken);
        }
        if self.dropped_due_ns.is_some_and(|due_ns| due_ns <= now_ns) {
            self.dropped_due_ns = None;
            let dropped = std::mem::take(&mut self.dropped).into_iter();
            batch.dropped = dropped.filter(|place| !self.places.contains_key(place)).collect();
        }
        (!batch.entries.is_empty() || !batch.dropped.is_empty()).then_some(batch)
    }

    fn put(&mut self, due_ns: u64, labels: Labels, found: Found) {
        let place = (found.timestamp_ns, self.came);
        self.came += 1;
        self.bytes += found.size();
        self.due.push_back((due_ns, place));
        self.lines.insert(place, (labels, found));
    }

    fn is_full(&self) -> bool {
        self.lines.len() > MOST_HELD || self.bytes > MOST_HELD_BYTES
    }

    /// Whether it is new.
    fn remember(&mut self, labels: &Labels, found: &Found, now_ns: u64) -> bool {
        let place = (labels.clone(), found.timestamp_ns);
        if !self.seen.insert((place.clone(), found.identity)) {
            return false;
        }
        *self.places.entry(place.clone()).or_default() += 1;
        self.remembered.push_back((now_ns, place, found.identity));
        true
    }

    fn forget(&mut self, now_ns: u64) {
        while self.remembered.len() >= MOST_SEEN
            || self.remembered.front().is_some_and(|(at, ..)| at.saturating_add(SEEN_FOR_NS) < now_ns)
        {
            let Some((_, place, identity)) = self.remembered.pop_front() else { return };
            if let Some(count) = self.places.get_mut(&place) {
                *count -= 1;
                if *count == 0 {
                    self.places.remove(&place);
                }
            }
            self.seen.remove(&(place, identity));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn labels() -> Labels {
        Labels::from_sorted(&[("app", "a")])
    }

    fn found(timestamp_ns: i64) -> Found {
        let line = Bytes::from(timestamp_ns.to_string());
        Found { stream: 0, timestamp_ns, identity: 7, line_bytes: 0, line, metadata: Vec::new() }
    }

    fn times(batch: Option<Batch>) -> Vec<i64> {
        batch.map_or_else(Vec::new, |batch| batch.entries.iter().map(|e| e.found.timestamp_ns).collect())
    }

    #[test]
    fn what_comes_late_finds_its_place_as_long_as_lines_wait() {
        let mut held = Held::new(Duration::from_secs(2));
        held.add(labels(), found(5), 0);
        held.add(labels(), found(3), SECOND);
        held.add(labels(), found(9), SECOND);
        assert_eq!(held.due_ns(), Some(2 * SECOND));
        assert!(held.take(2 * SECOND - 1).is_none());
        assert_eq!(times(held.take(2 * SECOND)), [3, 5]);
        assert_eq!(held.due_ns(), Some(3 * SECOND));
        assert_eq!(times(held.take(3 * SECOND)), [9]);
        assert_eq!((held.due_ns(), held.bytes), (None, 0));
    }

    #[test]
    fn a_line_comes_once_from_wherever_it_comes_until_it_is_forgotten() {
        let mut held = Held::new(Duration::ZERO);
        held.add_due(labels(), found(1));
        assert_eq!(times(held.take(u64::MAX)), [1]);
        let now = forebay_agent::clock::monotonic_ns();
        held.add(labels(), found(1), now);
        held.add(labels(), Found { identity: 8, ..found(1) }, now);
        held.add(Labels::from_sorted(&[("app", "b")]), found(1), now);
        held.add(labels(), Found { identity: 8, ..found(1) }, now + SECOND);
        assert_eq!(times(held.take(u64::MAX)), [1, 1]);
        held.add(labels(), found(1), now + SEEN_FOR_NS + 2 * SECOND);
        assert_eq!(times(held.take(u64::MAX)), [1]);
        assert_eq!((held.remembered.len(), held.seen.len(), held.places.len()), (1, 1, 1));
    }

    /// They were searched one by one, with each line that came.
    #[test]
    fn lines_of_one_time_are_told_apart_and_forgotten_one_by_one() {
        let mut held = Held::new(Duration::ZERO);
        let same = |identity| Found { identity, ..found(1) };
        let most = MOST_SEEN as u128 - 1;
        for round in 0..2 {
            for identity in 0..most {
                held.add(labels(), same(identity), 0);
                assert_eq!(held.take(0).is_some(), round == 0);
            }
        }
        held.miss(labels(), 1, 0);
        held.add(labels(), same(most), 0);
        held.add(labels(), same(most + 1), 0);
        assert_eq!(held.places.values().copied().collect::<Vec<_>>(), [u32::try_from(MOST_SEEN).unwrap()]);
        assert!(!held.seen.contains(&((labels(), 1), 0)) && held.seen.contains(&((labels(), 1), 1)));
        let batch = held.take(u64::MAX).unwrap();
        assert_eq!((batch.entries.len(), batch.dropped.len()), (2, 0));
        held.add(Labels::from_sorted(&[("app", "b")]), found(1), 2 * SEEN_FOR_NS);
        assert_eq!((held.remembered.len(), held.seen.len(), held.places.len()), (1, 1, 1));
    }

    #[test]
    fn a_line_that_one_replica_drops_is_missing_only_where_no_other_has_it() {
        let mut held = Held::new(Duration::ZERO);
        held.miss(labels(), 1, 0);
        held.miss(labels(), 2, 0);
        held.miss(labels(), 2, 0);
        held.add(labels(), found(1), SECOND / 2);
        assert_eq!(times(held.take(SECOND / 2)), [1]);
        assert_eq!(held.due_ns(), Some(SECOND));
        assert_eq!(held.take(SECOND).unwrap().dropped, [(labels(), 2)]);
        assert!(held.take(u64::MAX).is_none());
    }

    #[test]
    fn lines_that_are_due_come_in_batches_that_are_no_message_too_large() {
        let mut held = Held::new(Duration::from_secs(5));
        for n in 0..40 {
            held.add_due(labels(), Found { line: Bytes::from(vec![b'x'; 200_000]), ..found(n) });
        }
        held.add(labels(), found(-1), 0);
        let mut all = Vec::new();
        while let Some(batch) = held.take(0) {
            let sizes = batch.entries.iter().map(|entry| entry.found.size());
            assert!(sizes.sum::<usize>() < 2 << 20);
            all.extend(times(Some(batch)));
        }
        assert_eq!(all, (-1..40).collect::<Vec<_>>());
        assert_eq!((held.bytes, held.due.len(), held.lines.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_held_and_remembered_is_bounded() {
        let mut held = Held::new(Duration::from_secs(5));
        for n in 0..MOST_SEEN as i64 + 10 {
            held.add(labels(), found(n), 0);
            if held.lines.len() > MOST_HELD {
                assert_eq!(times(held.take(0)).len(), MOST_HELD + 1);
            }
        }
        assert_eq!(held.remembered.len(), MOST_SEEN);
        let long = Found { line: Bytes::from(vec![b'x'; MOST_HELD_BYTES + 1]), ..found(-1) };
        held.add(labels(), long, 0);
        assert_eq!(times(held.take(0)), [-1]);
        assert!(held.take(0).is_none() && held.take(u64::MAX).is_some());
        assert_eq!((held.lines.len(), held.due.len(), held.bytes), (0, 0, 0));
        let metadata = vec![("k".to_owned(), "v".repeat(64 << 10))];
        for n in 0..256 {
            assert_ne!(held.due_ns(), Some(0), "after {n}");
            held.add(labels(), Found { metadata: metadata.clone(), ..found(-2 - n) }, SECOND);
        }
        assert_eq!(held.due_ns(), Some(0));
    }
}
