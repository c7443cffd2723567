//! A read that is left and gone on with gives what one read gives, wherever it was left and whatever became of the
//! blocks in between.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, Cursor, Direction, Entry, EntryIter, Error,
    Format, Limits, Profile, TimeRange,
};
use proptest::prelude::*;

#[path = "support/owned.rs"]
mod owned;
use owned::{Owned, collect, directed};

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

/// The first entries, and where they end, over the bytes of a cursor.
fn page(mut entries: EntryIter, size: usize) -> (Vec<Owned>, Cursor) {
    let mut page = Vec::new();
    while page.len() < size {
        let Some(entry) = entries.next().unwrap() else { break };
        page.push(entry.into());
    }
    assert_eq!(entries.stats().entries, page.len() as u64);
    (page, Cursor::from_bytes(&entries.cursor().to_bytes()).unwrap())
}

fn kinds() -> [BuilderOptions; 2] {
    let loki = BuilderOptions { codec: Codec::None, block_size: 100, ..BuilderOptions::default() };
    [loki, BuilderOptions { block_size: 8 * 64, ..BuilderOptions::columnar(Profile::Fast) }]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_read_goes_on_where_its_cursor_was_taken(
        times in prop::collection::vec(prop_oneof![9 => 0i64..6, 1 => Just(i64::MIN), 1 => Just(i64::MAX)], 0..50),
        size in 1usize..6,
        (from, through) in (-1i64..7, -1i64..7),
        whole: bool,
    ) {
        let range = if whole { TimeRange::ALL } else { TimeRange::from(from..=through) };
        for options in kinds() {
            let mut builder = Builder::new(options).unwrap();
            let entries: Vec<Owned> = (0..).zip(&times).map(|(n, &time)| {
                Owned::new(time, format!("entry {n} of some length").as_bytes())
            }).collect();
            for entry in &entries {
                entry.lend(|entry| builder.append(entry)).unwrap();
            }
            let mut sorted = entries;
            sorted.retain(|entry| range.contains(entry.timestamp_ns));
            sorted.sort_by_key(|entry| entry.timestamp_ns);
            let snapshot = builder.snapshot(..);
            let part = builder.snapshot(range);
            let Some(encoded) = builder.finish() else { continue };
            let chunk = Chunk::open(encoded.bytes, &Limits::default()).unwrap();
            for direction in DIRECTIONS {
                let expected = directed(sorted.clone(), direction);
                let (mut all, mut cursor) = page(part.entries(direction), size);
                // From the builder to the chunk, to a snapshot of another range, and round again.
                for turn in 0..100 {
                    let rest = match turn % 3 {
                        0 => chunk.resume(range, cursor),
                        1 => snapshot.resume_in(range, cursor),
                        _ => part.resume(cursor),
                    };
                    let (next, after) = page(rest, size);
                    if next.is_empty() {
                        prop_assert_eq!(after, cursor, "at the end it stays");
                        break;
                    }
                    all.extend(next);
                    cursor = after;
                    prop_assert_eq!(cursor.direction(), direction);
                }
                prop_assert_eq!(&all, &expected);
            }
        }
    }
}

/// All entries behind a cursor by batches, and where each of these ends.
fn batches(mut entries: EntryIter) -> Vec<(Vec<Owned>, Cursor)> {
    let mut batches = Vec::new();
    while let Some(batch) = entries.next_batch().unwrap() {
        let batch = batch.map(Owned::from).collect();
        batches.push((batch, entries.cursor()));
    }
    batches
}

#[test]
fn a_batch_begins_behind_the_cursor_and_ends_where_it_says() {
    for options in kinds() {
        let mut builder = Builder::new(options).unwrap();
        for n in 0i64..200 {
            // Late ones, so that blocks overlap, and many of one time.
            let time = if n % 7 == 0 { n / 20 } else { n / 10 };
            builder.append(Entry::new(time, &format!("entry {n} of some length"))).unwrap();
        }
        let chunk = Chunk::open(builder.finish().unwrap().bytes, &Limits::default()).unwrap();
        for direction in DIRECTIONS {
            let all = collect(&mut chunk.entries(.., direction)).unwrap();
            for size in [0, 1, 5, 42, 199, 200] {
                let (_, mut cursor) = page(chunk.entries(.., direction), size);
                let mut read = size;
                for (batch, behind) in batches(chunk.resume(.., cursor)) {
                    assert_eq!(batch, all[read..read + batch.len()]);
                    read += batch.len();
                    cursor = behind;
                    assert_eq!(page(chunk.resume(.., cursor), 3).0, all[read..all.len().min(read + 3)]);
                }
                assert_eq!(read, all.len(), "{direction:?} behind {size}");
            }
        }
    }
}

#[test]
fn entries_that_came_behind_the_cursor_are_read_and_none_twice() {
    for options in kinds() {
        let mut builder = Builder::new(options).unwrap();
        let append = |builder: &mut Builder, time: i64, line: &str| {
            Owned::new(time, line.as_bytes()).lend(|entry| builder.append(entry)).unwrap();
        };
        for line in ["a", "b"] {
            append(&mut builder, 5, line);
        }
        let (first, cursor) = page(builder.snapshot(..).entries(Direction::Forward), 9);
        assert_eq!((first.len(), cursor.timestamp_ns()), (2, 5));
        append(&mut builder, 5, "c");
        append(&mut builder, 4, "too early to be seen");
        append(&mut builder, 6, "d");
        let (rest, _) = page(builder.snapshot(..).resume(cursor), 9);
        let lines: Vec<&[u8]> = rest.iter().map(|entry| &entry.line[..]).collect();
        assert_eq!(lines, [b"c", b"d"]);
    }
}

#[test]
fn only_what_is_behind_the_cursor_is_decompressed() {
    for options in kinds() {
        let mut builder = Builder::new(options).unwrap();
        for n in 0..200 {
            Owned::new(n, b"a line of some length").lend(|entry| builder.append(entry)).unwrap();
        }
        let chunk = Chunk::open(builder.finish().unwrap().bytes, &Limits::default()).unwrap();
        let blocks = chunk.blocks().len() as u64;
        assert!(blocks > 10);
        for direction in DIRECTIONS {
            let (_, cursor) = page(chunk.entries(.., direction), 150);
            let mut rest = chunk.resume(.., cursor);
            assert_eq!(collect(&mut rest).unwrap().len(), 50);
            assert!(rest.stats().blocks_decoded <= blocks / 4 + 2);
            assert_eq!(rest.stats().entries, 50);
        }
    }
}

/// An error on the way to the cursor is an error of the read.
#[test]
fn a_block_that_is_damaged_before_the_cursor_is_not_passed_over() {
    let options = BuilderOptions {
        format: Format::LokiV3,
        codec: Codec::None,
        block_size: 30,
        ..BuilderOptions::default()
    };
    let mut builder = Builder::new(options).unwrap();
    for line in ["first line of all", "second line of all", "third line of all"] {
        Owned::new(7, line.as_bytes()).lend(|entry| builder.append(entry)).unwrap();
    }
    let bytes = builder.finish().unwrap().bytes;
    let chunk = Chunk::open(bytes.clone(), &Limits::default()).unwrap();
    let (_, cursor) = page(chunk.entries(.., Direction::Forward), 2);
    let limits = Limits { max_line_bytes: 17, ..Limits::default() };
    let chunk = Chunk::open_with(bytes, &limits, CorruptionPolicy::Fail).unwrap();
    let mut rest = chunk.resume(.., cursor);
    for _ in 0..2 {
        assert!(matches!(rest.next(), Err(Error::LimitExceeded { limit: "max_line_bytes", .. })));
    }
}
