//! What a writer was promised, held against what an opening finds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use forebay_wal::{Lsn, RecoveryReport, Wal};

use crate::writer::{Key, options};

#[derive(Debug, Clone, Default)]
pub(crate) struct Promises {
    /// First LSN of every batch that was acknowledged, or seen after an opening.
    acked: BTreeMap<u64, Key>,
    /// Acknowledged in this life, at a level that does not outlive what happens, and not known to be synced.
    weak: BTreeMap<u64, Key>,
    /// Asked for and not answered, or with `unknown`.
    open: BTreeSet<Key>,
    /// Rejected, or found missing after an opening.
    never: BTreeSet<Key>,
    /// The low watermark is at least, and at most, here.
    low: (u64, u64),
    /// Lines of a kind, in all lives.
    counts: BTreeMap<String, u64>,
    /// What came of the appends, in order.
    answers: Vec<String>,
}

impl Promises {
    /// Takes in what the writer said; `strong`: its acknowledgements hold whatever happens.
    pub(crate) fn hear(&mut self, line: &str, strong: bool) {
        let mut words = line.split_whitespace();
        let Some(kind) = words.next() else { return };
        let first = words.next().unwrap_or_default();
        let lsn = first.parse().unwrap_or(0);
        let key = words.next().and_then(Key::parse);
        match (kind, Key::parse(first), key) {
            ("trying", Some(key), _) => drop(self.open.insert(key)),
            ("acked", _, Some(key)) => {
                assert!(self.open.remove(&key), "{key} was acknowledged and not asked for");
                let map = if strong { &mut self.acked } else { &mut self.weak };
                assert_eq!(map.insert(lsn, key), None, "an LSN is given once");
            }
            ("rejected", Some(key), _) => {
                self.open.remove(&key);
                self.never.insert(key);
            }
            ("synced", ..) => {
                let behind = self.weak.split_off(&lsn);
                self.acked.append(&mut self.weak);
                self.weak = behind;
            }
            ("cutting", ..) => self.low.1 = self.low.1.max(lsn),
            ("cut", ..) => self.low.0 = self.low.0.max(lsn),
            _ => {}
        }
        if ["acked", "rejected", "unknown"].contains(&kind) {
            self.answers.push(kind.to_owned());
        }
        *self.counts.entry(kind.to_owned()).or_default() += 1;
    }

    pub(crate) fn hear_all(&mut self, said: &str) {
        said.lines().for_each(|line| self.hear(line, true));
    }

    /// How many lines of this kind there were.
    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or(0)
    }

    pub(crate) fn answers(&self) -> &[String] {
        &self.answers
    }

    /// Opens the log and holds it against the promises: G1 to G5 and G11. What is there is a promise from then on, and
    /// what is not never comes.
    pub(crate) fn check(&mut self, dir: &Path, what: &str) -> RecoveryReport {
        let (wal, report) = Wal::open(dir, options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        self.hold_against(&wal, &report, what);
        report
    }

    pub(crate) fn hold_against(&mut self, wal: &Wal, report: &RecoveryReport, what: &str) {
        let (first, next) = (report.first_lsn.0, report.next_lsn.0);
        let (low, high) = (self.low.0.max(1), self.low.1.max(1));
        assert!((low..=high.max(low)).contains(&first), "{what}: G11: {first} of {:?}", self.low);
        let batches = batches(wal, first..next, what);
        for (lsn, key) in self.acked.iter().filter(|(lsn, key)| **lsn + key.records > first) {
            assert_eq!(batches.get(lsn), Some(key), "{what}: G1: acknowledged at {lsn}");
        }
        for (lsn, key) in &batches {
            assert!(!self.never.contains(key), "{what}: G3: {key} was rejected and is at {lsn}");
            let told = self.acked.get(lsn).or_else(|| self.weak.get(lsn));
            let known = told.map_or_else(|| self.open.contains(key), |told| told == key);
            assert!(known, "{what}: {key} at {lsn} is neither acknowledged nor undecided");
        }
        let found: BTreeSet<Key> = batches.values().copied().collect();
        assert_eq!(found.len(), batches.len(), "{what}: no batch appears twice");
        let mut last = BTreeMap::new();
        for key in batches.values() {
            let before = last.insert((key.life, key.thread), key.batch);
            assert!(before < Some(key.batch), "{what}: the batches of a thread are in its order");
        }
        let gone = self.open.iter().chain(self.weak.values()).filter(|key| !found.contains(key));
        self.never.extend(gone);
        self.open.clear();
        self.weak.clear();
        self.acked.extend(batches);
        self.low = (first, first);
    }
}

/// All batches of a log by their first LSN: contiguous, and each whole but where the low watermark is in one.
fn batches(wal: &Wal, lsns: std::ops::Range<u64>, what: &str) -> BTreeMap<u64, Key> {
    let mut batches = BTreeMap::new();
    let mut expected: Option<(Key, u64)> = None;
    let mut at = lsns.start;
    for record in wal.reader(Lsn(0)) {
        let record = record.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(record.lsn.0, at, "{what}: G2: one contiguous run");
        let found = Key::of(&record.bytes).unwrap_or_else(|| panic!("{what}: {at} is no record of ours"));
        let (key, index) = found;
        let begins = index == 0 || at == lsns.start;
        assert!(
            expected.map_or(begins, |expected| expected == found),
            "{what}: G4: {found:?} for {expected:?}"
        );
        batches.insert(at - index, key);
        expected = (index + 1 < key.records).then_some((key, index + 1));
        at += 1;
    }
    assert_eq!(
        (at, expected),
        (lsns.end, None),
        "{what}: G2, G4: up to the end, and the last batch is whole"
    );
    batches
}
