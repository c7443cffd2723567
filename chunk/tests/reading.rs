//! How a chunk is read: which blocks are touched, how blocks that overlap are merged, what is counted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::{Chunk, Direction, Limits, ReadStats, TimeRange};

#[path = "support/handmade.rs"]
mod handmade;
#[path = "support/owned.rs"]
mod owned;
use handmade::{Block, Handmade, NONE, line};
use owned::{Owned, collect, directed};

/// A chunk of version 3 with a block for each list of times; a line is its block and its place.
fn chunk(blocks: &[&[i64]]) -> Chunk {
    let block = |(number, times): (usize, &&[i64])| {
        let lines: Vec<u8> =
            times.iter().enumerate().flat_map(|(n, &ts)| line(ts, text(number, n).as_bytes())).collect();
        let (min, max) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        Block::new(times.len() as u64, min, max, 100, lines)
    };
    let blocks = blocks.iter().enumerate().map(block).collect();
    Chunk::open(Handmade::new(3, NONE, blocks).bytes(), &Limits::default()).unwrap()
}

fn text(block: usize, place: usize) -> String {
    format!("{block}.{place}")
}

fn lines(chunk: &Chunk, range: impl Into<TimeRange>, direction: Direction) -> Vec<String> {
    let entries = collect(&mut chunk.entries(range, direction)).unwrap();
    entries.into_iter().map(|entry| String::from_utf8(entry.line).unwrap()).collect()
}

#[test]
fn blocks_that_overlap_are_merged_and_ties_go_to_the_earlier_block() {
    let chunk = chunk(&[&[1, 5, 5, 9], &[5, 6, 9, 9], &[2, 5, 20]]);
    let forward = lines(&chunk, .., Direction::Forward);
    let expected = ["0.0", "2.0", "0.1", "0.2", "1.0", "2.1", "1.1", "0.3", "1.2", "1.3", "2.2"];
    assert_eq!(forward, expected);
    let mut backward = lines(&chunk, .., Direction::Backward);
    backward.reverse();
    assert_eq!(backward, expected);
    assert_eq!(lines(&chunk, 5..=6, Direction::Forward), ["0.1", "0.2", "1.0", "2.1", "1.1"]);
}

#[test]
fn batches_have_the_entries_one_after_the_other() {
    let chunk = chunk(&[&[1, 5, 5, 9], &[5, 6, 9, 9], &[2, 5, 20]]);
    for direction in [Direction::Forward, Direction::Backward] {
        let mut entries = chunk.entries(2..10, direction);
        let first = Owned::from(entries.next().unwrap().unwrap());
        let (mut found, mut batches) = (vec![first], 0);
        while let Some(batch) = entries.next_batch().unwrap() {
            assert!(batch.len() > 0);
            found.extend(batch.map(Owned::from));
            batches += 1;
        }
        assert_eq!(found, collect(&mut chunk.entries(2..10, direction)).unwrap());
        assert!((2..found.len()).contains(&batches), "{batches}");
        assert_eq!(entries.stats().entries, found.len() as u64);
    }
}

#[test]
fn blocks_outside_the_range_are_not_decoded() {
    let chunk = chunk(&[&[1, 2], &[3, 4], &[5, 6], &[7, 8]]);
    let mut entries = chunk.entries(4..6, Direction::Forward);
    assert_eq!(collect(&mut entries).unwrap().len(), 2);
    let stats = entries.stats();
    assert_eq!((stats.blocks_skipped, stats.blocks_decoded, stats.entries), (2, 2, 2));
    assert_eq!(stats.decoded_bytes, stats.stored_bytes);
    assert_eq!(chunk.entries(9.., Direction::Forward).stats().blocks_skipped, 4);
    assert_eq!(chunk.entries(TimeRange::EMPTY, Direction::Forward).stats().blocks_skipped, 4);
}

#[test]
fn a_block_is_decoded_when_its_turn_comes() {
    let chunk = chunk(&[&[1, 2], &[3, 4], &[5, 6], &[7, 8]]);
    let mut entries = chunk.entries(.., Direction::Backward);
    assert_eq!(entries.stats(), ReadStats::default());
    let newest: Vec<i64> = (0..2).map(|_| entries.next().unwrap().unwrap().timestamp_ns).collect();
    assert_eq!(newest, [8, 7]);
    assert_eq!(entries.stats().blocks_decoded, 1);
}

#[test]
fn a_block_that_is_not_sorted_is_sorted() {
    let chunk = chunk(&[&[3, 1, 2, 1]]);
    assert_eq!(lines(&chunk, .., Direction::Forward), ["0.1", "0.3", "0.2", "0.0"]);
    assert_eq!(lines(&chunk, 2.., Direction::Backward), ["0.0", "0.2"]);
}

#[test]
fn the_end_is_the_end_however_often_one_asks() {
    let chunk = chunk(&[&[1]]);
    let mut entries = chunk.entries(.., Direction::Forward);
    assert!(entries.next().unwrap().is_some());
    for _ in 0..3 {
        assert!(entries.next().unwrap().is_none());
    }
}

#[test]
fn a_thousand_blocks_that_overlap_are_read_in_order() {
    let times: Vec<Vec<i64>> =
        (0..1000).map(|block| (0..10).map(|n| n * 1000 + (block * 7) % 1000).collect()).collect();
    let slices: Vec<&[i64]> = times.iter().map(Vec::as_slice).collect();
    let chunk = chunk(&slices);
    let entries = collect(&mut chunk.entries(.., Direction::Forward)).unwrap();
    assert_eq!(entries.len(), 10_000);
    assert!(entries.is_sorted_by_key(|entry| entry.timestamp_ns));
    let backward: Vec<Owned> = collect(&mut chunk.entries(.., Direction::Backward)).unwrap();
    assert!(backward == directed(entries, Direction::Backward));
}

#[test]
#[cfg(feature = "gzip")]
fn version_1_is_read() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&[line(-5, b"a"), line(i64::MAX, b"")].concat()).unwrap();
    let block = Block::new(2, -5, i64::MAX, 0, gzip.finish().unwrap());
    let chunk = Chunk::open(Handmade::new(1, 1, vec![block]).bytes(), &Limits::default()).unwrap();
    assert_eq!(chunk.format(), forebay_chunk::Format::LokiV1);
    assert_eq!(chunk.codec(), forebay_chunk::Codec::Gzip);
    let expected = vec![Owned::new(-5, b"a"), Owned::new(i64::MAX, b"")];
    assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)), Ok(expected));
}
