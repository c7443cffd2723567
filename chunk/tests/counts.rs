//! Entries counted by steps, against a count of each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Direction, Entry, Error, Limits, Profile, StepCount, TimeRange,
};
use proptest::prelude::*;

#[path = "support/owned.rs"]
mod owned;
#[path = "support/shapes.rs"]
mod shapes;
use owned::{Owned, collect};
use shapes::{all, built, each_kind, kind, name, opened, skipping};

fn step(step_ns: u64) -> NonZeroU64 {
    NonZeroU64::new(step_ns).unwrap()
}

fn naive(entries: &[Owned], range: TimeRange, step_ns: u64) -> Vec<StepCount> {
    let mut steps = BTreeMap::<i64, u64>::new();
    for time in entries.iter().map(|entry| entry.timestamp_ns).filter(|time| range.contains(*time)) {
        let start = i128::from(time).div_euclid(step_ns.into()) * i128::from(step_ns);
        *steps.entry(i64::try_from(start).unwrap_or(i64::MIN)).or_default() += 1;
    }
    steps.into_iter().map(|(start_ns, entries)| StepCount { start_ns, entries }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn steps_have_as_many_entries_as_a_read_gives(
        options in kind(),
        entries in prop::collection::vec(shapes::entry(false), 1..80),
        from in shapes::time(),
        through in shapes::time(),
        step_ns in prop_oneof![4 => 1u64..8, 1 => any::<u64>().prop_map(|step| step.max(1))],
    ) {
        let chunk = built(options, &entries).unwrap();
        for range in [TimeRange::ALL, TimeRange::from(from..=through), TimeRange::EMPTY] {
            let found = chunk.counts(range, step(step_ns)).unwrap();
            prop_assert_eq!(found.steps, naive(&all(&chunk), range, step_ns));
            prop_assert_eq!(found.damage, vec![]);
            if found.overlap.is_none() {
                // No two blocks have the same entry. One block has none twice: the builder drops it.
                let mut seen = std::collections::HashSet::new();
                let twice = all(&chunk).into_iter().filter(|entry| range.contains(entry.timestamp_ns))
                    .any(|entry| !seen.insert(entry));
                prop_assert!(!twice);
            }
        }
    }
}

/// Blocks of these entries each.
fn blocks(options: BuilderOptions, blocks: &[&[(i64, &str)]]) -> Chunk {
    let mut builder = Builder::new(options).unwrap();
    for block in blocks {
        for (time, line) in *block {
            builder.append(Entry::new(*time, line)).unwrap();
        }
        let block = builder.cut().unwrap().encode();
        assert!(builder.attach(block));
    }
    opened(builder.finish().unwrap().bytes)
}

#[test]
fn blocks_that_have_time_in_common_are_told() {
    for options in each_kind() {
        let overlap = |of: &[&[(i64, &str)]]| blocks(options, of).counts(.., step(10)).unwrap().overlap;
        assert_eq!(overlap(&[&[(1, "a"), (5, "b")], &[(6, "a"), (9, "b")]]), None);
        assert_eq!(overlap(&[&[(1, "a"), (5, "b")], &[(5, "c"), (9, "b")]]), None, "{}", name(&options));
        assert_eq!(overlap(&[&[(1, "a"), (5, "b")], &[(5, "b"), (9, "b")]]), Some(1));
        assert_eq!(overlap(&[&[(1, "a"), (5, "b")], &[(6, "b"), (9, "b")], &[(4, "x")]]), Some(2));
        // Not of the range.
        let chunk = blocks(options, &[&[(1, "a"), (5, "b")], &[(5, "b"), (9, "b")]]);
        assert_eq!(chunk.counts(6.., step(10)).unwrap().overlap, None);
    }
}

/// Of fifty blocks of one time each one was compared with all others, with all the bytes that a read may take.
#[test]
fn blocks_of_one_time_are_compared_once_and_within_the_limits() {
    for options in each_kind() {
        let lines: Vec<String> = (0..50).map(|n| format!("line {n} {}", "x".repeat(n * 7))).collect();
        let all: Vec<Vec<(i64, &str)>> = lines.iter().map(|line| vec![(9, &**line)]).collect();
        let all: Vec<&[(i64, &str)]> = all.iter().map(|block| &**block).collect();
        let chunk = blocks(options, &all);
        let overlap = |max_decoded_bytes| {
            let limits = Limits { max_decoded_bytes, ..Limits::default() };
            let chunk = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
            let found = chunk.counts(.., step(10)).unwrap();
            assert_eq!(found.steps, [StepCount { start_ns: 0, entries: 50 }]);
            found.overlap
        };
        // What it takes to read all of them once is enough, and with less nobody knows.
        let (mut low, mut high) = (0, 1 << 24);
        while low < high {
            let middle = low + (high - low) / 2;
            let limits = Limits { max_decoded_bytes: middle, ..Limits::default() };
            let chunk = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
            let is_enough = collect(&mut chunk.entries(.., Direction::Forward)).is_ok();
            if is_enough { high = middle } else { low = middle + 1 }
        }
        assert_eq!(overlap(low), None, "{}", name(&options));
        assert_eq!(overlap(low - 1), Some(1), "{}", name(&options));

        // Two times that blocks have in common, which share what may be decoded.
        let twice: Vec<[(i64, &str); 2]> =
            (0..).zip(&lines).take(3).map(|(n, line)| [(n, &**line), (n + 1, &**line)]).collect();
        let twice: Vec<&[(i64, &str)]> = twice.iter().map(|block| &block[..]).collect();
        let chunk = blocks(options, &twice);
        let few = |max_decoded_bytes| {
            let limits = Limits { max_decoded_bytes, ..Limits::default() };
            let chunk = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
            chunk.counts(.., step(10)).unwrap().overlap
        };
        let least_of = |wanted: Option<usize>| (0..1 << 20).step_by(64).find(|max| few(*max) == wanted);
        let (one, both) = (least_of(Some(2)).unwrap(), least_of(None).unwrap());
        assert!(both > one + one / 2, "{}: {one} and {both}", name(&options));
    }
}

#[test]
fn only_times_are_read_and_of_a_block_in_one_step_not_even_these() {
    let entries: Vec<Owned> =
        (0..5000).map(|n| Owned::new(n, format!("line {n} of {}", n * n).as_bytes())).collect();
    let chunk = built(BuilderOptions::columnar(Profile::Fast), &entries).unwrap();
    let limits = Limits { max_decoded_bytes: 5000 * 8 + 5000, ..Limits::default() };
    let few = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
    assert!(collect(&mut few.entries(.., Direction::Forward)).is_err(), "it takes more to read lines");
    assert_eq!(few.counts(.., step(7)).unwrap().steps, naive(&entries, TimeRange::ALL, 7));
    let none = Chunk::open(chunk.bytes().clone(), &Limits { max_decoded_bytes: 0, ..limits }).unwrap();
    assert_eq!(none.counts(.., step(5000)).unwrap().steps, [StepCount { start_ns: 0, entries: 5000 }]);
    assert!(matches!(none.counts(.., step(7)), Err(Error::LimitExceeded { limit: "max_decoded_bytes", .. })));
}

#[test]
fn a_block_whose_times_are_damaged_is_an_error_or_told() {
    for options in each_kind() {
        let entries: Vec<Owned> =
            (0..60).map(|n| Owned::new(n * n, format!("line {n} of sixty").as_bytes())).collect();
        let chunk = built(options, &entries).unwrap();
        let block = chunk.blocks()[1];
        let start = usize::try_from(block.offset).unwrap();
        // A byte each time, until one is that of the times.
        let mut told = 0;
        for at in start..start + usize::try_from(block.size_bytes).unwrap() {
            let mut bytes = chunk.bytes().to_vec();
            bytes[at] ^= 1;
            let fails = match Chunk::open(bytes.clone(), &Limits::default()) {
                Ok(chunk) => chunk.counts(.., step(3)).is_err(),
                Err(_) => true,
            };
            let chunk = skipping(bytes);
            let found = chunk.counts(.., step(3)).unwrap();
            let lost: u64 =
                chunk.damage().iter().chain(&found.damage).map(|damage| damage.entries_lost()).sum();
            let counted: u64 = found.steps.iter().map(|step| step.entries).sum();
            assert_eq!((counted + lost, lost > 0), (60, fails), "{}, byte {at}", name(&options));
            told += u64::from(lost > 0);
        }
        assert!(told > 0);
    }
}
