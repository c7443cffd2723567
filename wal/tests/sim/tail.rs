//! G14: a tail sees each record once, in order, whole, and not before it is as safe as was asked for; rotation and
//! truncation are events.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use crate::harness::watched::{Watch, Watched};
use crate::harness::{DIR, options, path, record};
use forebay_wal::Durability::{Buffered, Synced, Written};
use forebay_wal::fs::Fs;
use forebay_wal::fs::sim::{Fault, Op, SimFs, SyncModel};
use forebay_wal::{AppendError, Durability, Event, Lsn, Options, ReadError, Tail, Wal};
use proptest::prelude::*;

fn log() -> (SimFs, Wal<SimFs>) {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    (disk, wal)
}

/// What there is of a tail: records by their number, other events in short.
fn drain<F: Fs>(tail: &mut Tail<F>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(event) = tail.try_next().unwrap() {
        all.push(match event {
            Event::Record(record) => record.lsn.to_string(),
            Event::Rotated { segment } => format!("segment {segment}"),
            Event::Gap { from, to } => format!("{from}..{to} gone"),
            Event::Closed => "closed".to_owned(),
            other => panic!("{other:?}"),
        });
        if all.last().is_some_and(|last| last == "closed") {
            break;
        }
    }
    all
}

#[test]
fn a_record_is_seen_when_it_is_as_safe_as_asked_for() {
    let (_, wal) = log();
    let mut tails = [Buffered, Written, Synced].map(|level| wal.tail(Lsn::FIRST, level));
    let mut seen = || tails.each_mut().map(|tail| drain(tail).join(" "));
    wal.append_with("a", Buffered).unwrap();
    assert_eq!(seen(), ["", "", ""], "it is not in the file");
    wal.append_with("b", Written).unwrap();
    assert_eq!(seen(), ["1 2", "1 2", ""]);
    wal.append("c").unwrap();
    assert_eq!(seen(), ["3", "3", "1 2 3"]);
    assert_eq!(seen(), ["", "", ""]);
}

/// A tail that looks again whenever segments go.
#[derive(Default)]
struct Overtaken {
    tail: Mutex<Option<Tail<Watched<Self>>>>,
    seen: Mutex<Vec<String>>,
}

impl Watch for Overtaken {
    fn before(&self, op: Op) {
        if let (Op::Remove | Op::Rename | Op::SyncDir, Some(tail)) = (op, &mut *self.tail.lock().unwrap()) {
            self.seen.lock().unwrap().extend(drain(tail));
        }
    }
}

/// It stood at the end of a segment when those behind went, and took the next that there was for damage.
#[test]
fn a_tail_that_is_overtaken_while_segments_go_is_told_of_a_gap() {
    let watch = Arc::new(Overtaken::default());
    let (wal, _) = Wal::open_in(Watched::new(SimFs::new(0), watch.clone()), DIR, options()).unwrap();
    let mut tail = wal.tail(Lsn(1), Synced).detached();
    wal.append("x").unwrap();
    let mut seen = drain(&mut tail);
    for _ in 0..3 {
        wal.rotate().unwrap();
        wal.append("x").unwrap();
    }
    *watch.tail.lock().unwrap() = Some(tail);
    wal.truncate_before(Lsn(4)).unwrap();
    let tail = watch.tail.lock().unwrap().take();
    seen.append(&mut watch.seen.lock().unwrap());
    seen.extend(drain(&mut tail.unwrap()));
    assert_eq!(seen, ["1", "2..4 gone", "segment 4", "4"]);
}

#[test]
fn rotation_is_an_event_between_records_and_truncation_one_in_their_place() {
    let (_, wal) = log();
    for _ in 0..2 {
        wal.append("x").unwrap();
    }
    let mut pinned = wal.tail(Lsn(2), Synced);
    let mut free = wal.tail(Lsn(1), Synced).detached();
    wal.rotate().unwrap();
    wal.append("x").unwrap();
    wal.rotate().unwrap();
    assert_eq!(wal.truncate_before(Lsn(4)).unwrap().low, Lsn(2), "pinned");
    assert_eq!(drain(&mut pinned), ["2", "segment 2", "3", "segment 3"]);
    assert_eq!(wal.truncate_before(Lsn(4)).unwrap().low, Lsn(4), "the tail is there");
    assert_eq!(drain(&mut free), ["1..4 gone", "segment 3"]);
    let mut late = wal.tail(Lsn(3), Synced);
    assert_eq!(late.next_lsn(), Lsn(3));
    assert_eq!(drain(&mut late), ["3..4 gone"], "what is gone already is told first");
    assert_eq!(wal.usage().pinned_by.unwrap().name.as_ref(), "tail");
    wal.append("x").unwrap();
    wal.rotate().unwrap();
    for tail in [&mut pinned, &mut free, &mut late] {
        assert_eq!(drain(tail), ["4", "segment 4"], "although nothing came behind it");
        assert_eq!(tail.next_lsn(), Lsn(5));
    }
    drop((free, late));
    wal.append("x").unwrap();
    wal.rotate().unwrap();
    assert!(matches!(pinned.next(), Ok(Event::Record(_))));
    assert!(matches!(pinned.next(), Ok(Event::Rotated { segment: 5 })));
    assert_eq!(
        wal.truncate_before(Lsn(6)).unwrap().low,
        Lsn(6),
        "nothing holds what was before the rotation"
    );
}

#[test]
fn a_tail_from_the_future_waits_for_it() {
    let (_, wal) = log();
    let mut tail = wal.tail(Lsn(4), Written);
    for _ in 0..3 {
        wal.append("x").unwrap();
        wal.rotate().unwrap();
    }
    assert_eq!(drain(&mut tail), Vec::<String>::new(), "the log had no segment yet");
    wal.append("x").unwrap();
    assert_eq!(drain(&mut tail), ["4"]);
}

#[test]
fn a_tail_ends_when_the_log_is_closed_or_let_go_and_not_before_all_was_seen() {
    let (_, wal) = log();
    let mut tail = wal.tail(Lsn::FIRST, Synced);
    wal.append_with("a", Buffered).unwrap();
    wal.close().unwrap();
    assert_eq!(drain(&mut tail), ["1", "closed"]);
    assert_eq!(tail.next().unwrap(), Event::Closed, "every later answer is the same");
    let (_, wal) = log();
    let (other, mut tail) = (wal.clone(), wal.tail(Lsn::FIRST, Written));
    wal.append_with("a", Buffered).unwrap();
    drop(wal);
    assert_eq!(drain(&mut tail), Vec::<String>::new());
    drop(other);
    assert_eq!(drain(&mut tail), ["1", "closed"], "what was in memory is written when the last handle goes");
}

/// Kernels may show the old bytes again after a sync that failed.
#[test]
fn a_log_that_broke_ends_its_tails_with_the_reason() {
    for model in [SyncModel::KeepCache, SyncModel::RevertCache] {
        let (disk, wal) = log();
        disk.set_sync_model(model);
        wal.append("a").unwrap();
        wal.append_with("b", Written).unwrap();
        let mut tails = [Written, Written, Synced].map(|level| wal.tail(Lsn::FIRST, level));
        assert_eq!(drain(&mut tails[0]), ["1", "2"]);
        let early = tails[1].next().unwrap();
        assert!(matches!(early, Event::Record(record) if record.lsn == Lsn(1)));
        disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
        assert!(matches!(wal.sync(), Err(AppendError::Indeterminate(_))));
        let mut late = wal.tail(Lsn::FIRST, Written);
        assert!(matches!(late.next(), Ok(Event::Record(record)) if record.lsn == Lsn(1)));
        assert!(matches!(late.next(), Err(ReadError::Poisoned(_))), "nobody knows what is left of record 2");
        assert!(
            matches!(tails[2].next().unwrap(), Event::Record(record) if record.lsn == Lsn(1)),
            "it is durable"
        );
        for (tail, next) in tails.iter_mut().zip([3, 2, 2]) {
            while let Ok(event) = tail.next() {
                assert!(
                    matches!(event, Event::Record(record) if record.lsn == Lsn(2)),
                    "read ahead of the failure"
                );
            }
            assert!(tail.next_lsn().0 >= next);
            for _ in 0..2 {
                let error = tail.next().unwrap_err();
                let ReadError::Poisoned(failure) = error else { panic!("{error}") };
                assert_eq!(failure.operation, "syncing a segment");
            }
        }
    }
}

/// A tail that knows of a record which the sync takes back before the tail has read it.
#[test]
fn bytes_that_a_failed_sync_took_back_are_no_damage() {
    let disk = SimFs::new(0);
    disk.set_sync_model(SyncModel::RevertCache);
    let options = Options { segment_bytes: 1 << 20, max_frame: 256 << 10, ..options() };
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options).unwrap();
    wal.append("a").unwrap();
    wal.append_with(vec![7; 200_000], Written).unwrap();
    let mut tail = wal.tail(Lsn::FIRST, Written);
    assert!(matches!(tail.next(), Ok(Event::Record(record)) if record.lsn == Lsn(1)));
    disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
    assert!(wal.sync().is_err());
    assert!(matches!(tail.next(), Err(ReadError::Poisoned(_))));
}

#[test]
fn a_tail_whose_read_fails_tries_again_from_the_same_place() {
    let (disk, wal) = log();
    for id in 1..=30 {
        wal.append(record(id, usize::try_from(id * 13 % 900).unwrap())).unwrap();
    }
    let reads = disk.count(Op::Read);
    drain(&mut wal.tail(Lsn::FIRST, Synced));
    let reads = disk.count(Op::Read) - reads;
    for nth in 0..reads {
        disk.fail_next(Op::Read, nth, Fault::Error(ErrorKind::Other));
        let mut tail = wal.tail(Lsn::FIRST, Synced);
        let (mut next, mut failures) = (1, 0);
        loop {
            match tail.try_next() {
                Ok(Some(Event::Record(found))) => {
                    assert_eq!((found.lsn.0, tail.next_lsn().0), (next, next + 1));
                    next += 1;
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(ReadError::Io { .. }) => failures += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((next, failures), (31, 1), "read {nth}");
    }
}

#[test]
fn bytes_that_changed_end_a_tail_with_the_damage() {
    let (disk, wal) = log();
    for id in 1..=5 {
        wal.append(record(id, 100)).unwrap();
    }
    let mut bytes = disk.peek(path(1)).unwrap();
    bytes[4096 + 96 + 2 * 144 + 50] ^= 1;
    disk.plant(path(1), &bytes).unwrap();
    let mut tail = wal.tail(Lsn::FIRST, Written);
    let mut seen = 0;
    let damage = loop {
        match tail.next() {
            Ok(_) => seen += 1,
            Err(ReadError::Corrupt(damage)) => break damage,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((seen, damage.segment, damage.lsns.start), (2, 1, Lsn(3)));
    assert!(matches!(tail.try_next(), Err(ReadError::Corrupt(again)) if again == damage));
}

/// A tail, and what it must see.
#[derive(Debug)]
struct Watcher {
    tail: Tail<SimFs>,
    level: Durability,
    is_detached: bool,
    next: u64,
    segment: Option<u64>,
    /// Records, rotations and gaps that it has seen.
    seen: [u64; 3],
}

type Acked = BTreeMap<u64, Vec<u8>>;

impl Watcher {
    fn new(wal: &Wal<SimFs>, level: Durability, from: u64, is_detached: bool) -> Self {
        let tail = wal.tail(Lsn(from), level);
        let tail = if is_detached { tail.detached() } else { tail };
        Self { tail, level, is_detached, next: from.max(1), segment: None, seen: [0; 3] }
    }

    /// Takes up to so many events; whether the tail has ended.
    fn take(
        &mut self,
        (disk, wal, acked): (&SimFs, &Wal<SimFs>, &Acked),
        most: usize,
    ) -> Result<bool, ReadError> {
        for _ in 0..most {
            let marks = wal.watermarks();
            let visible = if self.level == Synced { marks.durable.0 } else { marks.written.0 };
            let Some(event) = self.tail.try_next()? else {
                self.misses_nothing(acked, visible);
                return Ok(false);
            };
            match event {
                Event::Record(found) => {
                    let lsn = found.lsn.0;
                    self.misses_nothing(acked, lsn);
                    assert!((self.next..visible).contains(&lsn), "{lsn} of {}..{visible}", self.next);
                    assert_eq!(acked.get(&lsn), Some(&found.bytes.to_vec()), "record {lsn}");
                    self.next = lsn + 1;
                    self.seen[0] += 1;
                }
                Event::Rotated { segment } => {
                    let (before, first) = (self.segment.replace(segment), self.segment.is_none());
                    assert!(first || before < self.segment, "{before:?}, then {segment}");
                    if let Some(base) = base_of(disk, segment) {
                        self.misses_nothing(acked, base);
                    }
                    self.seen[1] += 1;
                }
                Event::Gap { from, to } => {
                    assert!(self.is_detached || self.seen == [0; 3], "{from}..{to} of a log that is pinned");
                    assert!(from < to && from.0 >= self.next && to <= marks.low);
                    self.misses_nothing(acked, from.0);
                    self.next = to.0;
                    self.seen[2] += 1;
                }
                Event::Closed => {
                    self.misses_nothing(acked, u64::MAX);
                    return Ok(true);
                }
                other => panic!("{other:?}"),
            }
        }
        Ok(false)
    }

    fn misses_nothing(&self, acked: &Acked, upto: u64) {
        if let Some((lsn, _)) = acked.range(self.next.min(upto)..upto).next() {
            panic!("{:?}, {}: {lsn} was not seen before {upto}", self.level, self.is_detached);
        }
    }
}

/// LSN of a segment's first record, where its file has a start frame.
fn base_of(disk: &SimFs, segment: u64) -> Option<u64> {
    let bytes = disk.peek(path(segment)).ok()?;
    let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (bytes[4096 + 20] == 3 && field(4096 + 32) == segment).then(|| field(4096 + 40))
}

#[derive(Debug, Clone)]
enum Act {
    Append(Durability, Vec<usize>),
    Sync,
    Rotate,
    Reserve,
    Truncate(u64),
    Checkpoint,
    /// The write this far ahead fails.
    Fail(u64, Fault),
    /// Another tail, from this share of the log in percent.
    Tail(Durability, u64, bool),
    /// So many events of one of the tails.
    Take(prop::sample::Index, usize),
    Drop(prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    let level = prop_oneof![Just(Buffered), Just(Written), Just(Synced)];
    let len = prop_oneof![6 => 0..60_usize, 2 => 0..900_usize, 1 => 0..9000_usize];
    let fault = prop_oneof![
        Just(Fault::Partial(ErrorKind::Other)),
        Just(Fault::Error(ErrorKind::StorageFull)),
        Just(Fault::Late(ErrorKind::Other)),
        Just(Fault::Short),
    ];
    prop_oneof![
        12 => (level.clone(), prop::collection::vec(len, 1..5)).prop_map(|(level, lens)| Act::Append(level, lens)),
        1 => Just(Act::Sync),
        2 => Just(Act::Rotate),
        1 => Just(Act::Reserve),
        3 => (0..=100_u64).prop_map(Act::Truncate),
        1 => Just(Act::Checkpoint),
        2 => (0..3_u64, fault).prop_map(|(ahead, fault)| Act::Fail(ahead, fault)),
        3 => (level, 0..=110_u64, any::<bool>()).prop_map(|(level, share, free)| Act::Tail(level, share, free)),
        8 => (any::<prop::sample::Index>(), 1..20_usize).prop_map(|(tail, most)| Act::Take(tail, most)),
        1 => any::<prop::sample::Index>().prop_map(Act::Drop),
    ]
}

/// Does all of it; how the log ends is told by `breaks`. Answers what all tails have seen.
fn follow(acts: Vec<Act>, breaks: bool, model: SyncModel) -> [u64; 3] {
    let disk = SimFs::new(1);
    disk.set_sync_model(model);
    let options = Options { max_spare_segments: 2, ..options() };
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options).unwrap();
    let _witness = crate::harness::Witness(disk.clone());
    let (mut acked, mut tails, mut id) = (Acked::new(), Vec::new(), 0);
    let mut seen = [0; 3];
    let mut done = |tail: &Watcher| seen.iter_mut().zip(tail.seen).for_each(|(all, seen)| *all += seen);
    for act in acts {
        match act {
            Act::Append(level, lens) => {
                let batch: Vec<_> = lens.iter().zip(id..).map(|(len, id)| record(id, *len)).collect();
                id += lens.len() as u64;
                if let Ok(lsns) = wal.append_batch_with(batch.clone(), level) {
                    acked.extend((lsns.start.0..).zip(batch));
                }
            }
            Act::Sync => drop(wal.sync()),
            Act::Rotate => drop(wal.rotate()),
            Act::Reserve => drop(wal.reserve()),
            Act::Truncate(share) => {
                drop(wal.truncate_before(Lsn(wal.next_lsn().0 * share / 100)));
            }
            Act::Checkpoint => drop(wal.checkpoint(Lsn(1), b"here")),
            Act::Fail(ahead, fault) => disk.fail_next(Op::Write, ahead, fault),
            Act::Tail(level, share, free) => {
                tails.push(Watcher::new(&wal, level, wal.next_lsn().0 * share / 100, free));
            }
            Act::Take(tail, most) if !tails.is_empty() => {
                let index = tail.index(tails.len());
                tails[index].take((&disk, &wal, &acked), most).unwrap();
            }
            Act::Drop(tail) if !tails.is_empty() => done(&tails.swap_remove(tail.index(tails.len()))),
            Act::Take(..) | Act::Drop(_) => {}
        }
        // The write that takes another back failed as well.
        if wal.poisoned().is_some() {
            break;
        }
    }
    // A fault that waits for a write shall not strike at the end.
    for _ in 0..3 {
        drop(wal.append_with("", Written).map(|lsn| acked.insert(lsn.0, Vec::new())));
    }
    if breaks {
        drop(wal.append_with("lost", Written).map(|lsn| acked.insert(lsn.0, b"lost".to_vec())));
        disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
        drop(wal.sync());
    } else {
        drop(wal.close());
    }
    let broke = wal.poisoned().is_some();
    assert!(broke || !breaks);
    for tail in &mut tails {
        let ended = match tail.take((&disk, &wal, &acked), usize::MAX) {
            Ok(ended) => ended,
            Err(ReadError::Poisoned(_)) => false,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(ended, !broke);
        tail.misses_nothing(&acked, wal.watermarks().durable.0);
        done(tail);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_record_is_seen_once_in_order_and_whole(
        acts in prop::collection::vec(act(), 1..80),
        breaks: bool,
        revert: bool,
    ) {
        let model = if revert { SyncModel::RevertCache } else { SyncModel::KeepCache };
        follow(acts, breaks, model);
    }
}

/// The test above sees what it is meant to see.
#[test]
fn random_logs_have_rotations_and_gaps() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = [0; 3];
    for _ in 0..50 {
        let acts = prop::collection::vec(act(), 60..80).new_tree(&mut runner).unwrap().current();
        let more = follow(acts, false, SyncModel::KeepCache);
        seen.iter_mut().zip(more).for_each(|(all, more)| *all += more);
    }
    assert!(seen[0] > 2000 && seen[1] > 200 && seen[2] > 20, "{seen:?}");
}

/// What a thread does that follows a log: how many records it saw and how many were gone.
fn watch<F: Fs>(mut tail: Tail<F>, mut rotated: impl FnMut(Lsn)) -> (u64, u64) {
    let (mut records, mut gone, mut next) = (0, 0, 1);
    let mut of_each = [0; 3];
    loop {
        match tail.next().unwrap() {
            Event::Record(record) => {
                assert_eq!(record.lsn.0, next, "each once, in order");
                let [writer, low, high] = record.bytes[..3] else { panic!("{record:?}") };
                let number = u64::from(low) | u64::from(high) << 8;
                let last = &mut of_each[usize::from(writer)];
                assert!(number > *last || gone > 0, "the order of each writer");
                assert!(record.bytes[3..].iter().all(|byte| *byte == writer), "whole");
                *last = number;
                (records, next) = (records + 1, next + 1);
            }
            Event::Rotated { .. } => rotated(Lsn(next)),
            Event::Gap { from, to } => {
                assert_eq!(from.0, next);
                (gone, next) = (gone + to.0 - next, to.0);
            }
            Event::Closed => return (records, gone),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tails_follow_threads_that_write_to_the_files_of_the_operating_system() {
    const EACH: u64 = 2000;
    let scratch = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, max_frame: 2048, ..Options::default() };
    let (wal, _) = Wal::open(scratch.path(), options).unwrap();
    let tails = [wal.tail(Lsn(0), Synced), wal.tail(Lsn(0), Written), wal.tail(Lsn(0), Synced).detached()];
    std::thread::scope(|scope| {
        let (log, [first, second, free]) = (&wal, tails);
        // Gives back what all have seen but the one that pins nothing.
        let first = scope.spawn(move || watch(first, |lsn| drop(log.truncate_before(lsn))));
        let second = scope.spawn(|| watch(second, |_| {}));
        let free = scope.spawn(|| watch(free, |_| {}));
        let writers = [0_u8, 1, 2].map(|writer| {
            scope.spawn(move || {
                for number in 1..=EACH {
                    let [low, high, ..] = number.to_le_bytes();
                    let mut record = vec![writer, low, high];
                    let len = if number % 100 == 0 { 5000 } else { usize::from(low) };
                    record.resize(3 + len, writer);
                    let level = match number % 50 {
                        0 => Synced,
                        1..10 => Written,
                        _ => Buffered,
                    };
                    log.append_with(record, level).unwrap();
                }
            })
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        log.close().unwrap();
        assert_eq!(first.join().unwrap(), (3 * EACH, 0));
        assert_eq!(second.join().unwrap(), (3 * EACH, 0));
        let (records, gone) = free.join().unwrap();
        assert_eq!(records + gone, 3 * EACH);
    });
    assert!(wal.stats().rotations > 10);
}
