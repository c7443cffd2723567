//! What a builder promises about its blocks, its sizes and its snapshots.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::{
    Append, Builder, BuilderOptions, Chunk, Codec, Direction, Entry, Error, Format, Limits, Profile, Snapshot,
};

#[path = "support/owned.rs"]
mod owned;
use owned::{Owned, collect};

fn builder(options: BuilderOptions) -> Builder {
    Builder::new(options).unwrap()
}

fn small() -> BuilderOptions {
    BuilderOptions { codec: Codec::None, block_size: 100, target_size: 1000, ..BuilderOptions::default() }
}

fn append(builder: &mut Builder, timestamp_ns: i64, line: &str) {
    assert_eq!(builder.append(Entry::new(timestamp_ns, line)), Ok(Append::Stored));
}

fn times(snapshot: &Snapshot) -> Vec<i64> {
    let entries = collect(&mut snapshot.entries(Direction::Forward)).unwrap();
    entries.into_iter().map(|entry| entry.timestamp_ns).collect()
}

#[test]
fn blocks_and_snapshots_may_be_sent_to_other_threads() {
    fn sent<T: Send + Sync>() {}
    sent::<Builder>();
    sent::<forebay_chunk::PendingBlock>();
    sent::<forebay_chunk::EncodedBlock>();
    sent::<Snapshot>();
    sent::<Chunk>();
    sent::<forebay_chunk::EntryIter>();
    sent::<Error>();
}

#[test]
fn a_block_is_handed_out_once_when_it_is_full_and_taken_back_once() {
    let mut one = builder(small());
    let mut other = builder(small());
    for n in 0..7 {
        append(&mut one, n, &"x".repeat(30));
        append(&mut other, n, &"x".repeat(30));
    }
    // Of 30 bytes the fourth line fills a block.
    let block = one.take_full().unwrap();
    assert_eq!((block.entries(), block.raw_bytes()), (4, 120));
    assert!(one.take_full().is_none());
    assert_eq!(one.cut().unwrap().entries(), 3);
    assert!(one.cut().is_none());
    let encoded = block.encode();
    assert!(encoded.size_bytes() > 120);
    assert!(!other.attach(encoded), "a block of another builder");
    assert_eq!(one.finish().unwrap().entries, 7);
}

#[test]
fn a_reader_between_cut_and_attach_sees_every_entry() {
    let mut builder = builder(small());
    for n in 0..10 {
        append(&mut builder, n, &"x".repeat(30));
    }
    let all: Vec<i64> = (0..10).collect();
    assert_eq!(times(&builder.snapshot(..)), all);
    let pending = builder.take_full().unwrap();
    assert_eq!(times(&builder.snapshot(..)), all);
    let encoded = pending.encode();
    assert_eq!(times(&builder.snapshot(..)), all);
    assert!(builder.attach(encoded));
    assert_eq!(times(&builder.snapshot(..)), all);
    let part = builder.snapshot(3..6);
    assert_eq!(times(&part), [3, 4, 5]);
    assert_eq!(part.bounds(), Some((0, 7)), "those of the blocks, of which none is outside");
    let mut rest = part.entries_in(5.., Direction::Forward);
    assert_eq!(collect(&mut rest), Ok(vec![Owned::new(5, "x".repeat(30).as_bytes())]));
}

#[test]
fn a_snapshot_sees_nothing_of_what_comes_later() {
    let mut builder = builder(small());
    let pairs = [("name", "value")];
    builder.append(Entry::new(5, "a").with_metadata(&pairs)).unwrap();
    let before = builder.snapshot(..);
    append(&mut builder, 1, "older");
    append(&mut builder, 9, "newer");
    assert_eq!(times(&before), [5]);
    assert_eq!(times(&builder.snapshot(..)), [1, 5, 9]);
    drop(builder);
    assert_eq!(times(&before), [5]);
}

#[test]
fn a_snapshot_that_is_kept_changes_nothing_of_what_a_block_takes() {
    let memory = |is_kept: bool| {
        let mut builder = builder(BuilderOptions::default());
        append(&mut builder, 0, "a line");
        let kept = is_kept.then(|| builder.snapshot(..));
        append(&mut builder, 1, "another line");
        let open = builder.memory_bytes();
        assert!(builder.cut().is_some());
        drop(kept);
        (open, builder.memory_bytes())
    };
    assert_eq!(memory(true), memory(false));
}

#[test]
fn an_entry_may_be_there_twice_once_one_is_no_newer_than_a_block_before_its_own() {
    for (late, may_repeat) in [(4, false), (3, true), (1, true)] {
        let mut builder = builder(BuilderOptions::default());
        for time in [2, 1, 3] {
            append(&mut builder, time, "late, and in the same block");
        }
        assert!(!builder.may_repeat());
        assert!(builder.cut().is_some());
        append(&mut builder, 5, "newer than all of the block before");
        append(&mut builder, late, "late");
        assert_eq!(builder.may_repeat(), may_repeat, "{late}");
        let mut checkpoint = Vec::new();
        builder.checkpoint(&mut checkpoint);
        let restored = Builder::restore(&checkpoint, BuilderOptions::default()).unwrap();
        assert!(restored.may_repeat(), "of what was not appended it is not known");
    }
}

#[test]
fn nothing_stored_makes_no_chunk() {
    let mut builder = builder(small());
    assert!(builder.cut().is_none());
    assert_eq!((builder.bounds(), builder.is_empty(), builder.is_full()), (None, true, false));
    assert_eq!(times(&builder.snapshot(..)), [0i64; 0]);
    assert_eq!(builder.finish(), None);
}

#[test]
fn a_chunk_is_full_at_its_target_and_has_no_space_just_before() {
    let mut builder = builder(small());
    let line = "x".repeat(99);
    assert!(builder.space_for(&Entry::new(0, &"x".repeat(5000))), "an empty chunk takes anything");
    let mut n = 0;
    while builder.space_for(&Entry::new(n, &line)) {
        append(&mut builder, n, &line);
        n += 1;
        while let Some(block) = builder.take_full() {
            assert!(builder.attach(block.encode()));
        }
    }
    assert!(!builder.is_full());
    assert!(builder.utilization() > 0.85 && builder.utilization() < 1.0);
    append(&mut builder, n, &line);
    append(&mut builder, n + 1, &line);
    assert!(builder.is_full() && builder.utilization() >= 1.0);
}

/// The open block alone reached the target, at a fifth of the block that the profile is for.
#[test]
fn a_columnar_chunk_has_space_for_blocks_of_the_size_that_its_profile_is_for() {
    for profile in [Profile::Fast, Profile::Balanced, Profile::Archive] {
        let mut builder = builder(BuilderOptions::columnar(profile));
        let line = "x".repeat(16 << 10);
        let mut n = 0;
        let full = loop {
            let entry = Entry::new(n, &line);
            assert!(builder.space_for(&entry), "{profile:?} has none after {n} lines");
            builder.append(entry).unwrap();
            n += 1;
            if let Some(block) = builder.take_full() {
                break block;
            }
        };
        assert!(full.raw_bytes() >= profile.group_bytes(), "{profile:?}");
        assert!(builder.space_for(&Entry::new(n, &line)), "{profile:?}");
    }
}

#[test]
fn a_chunk_whose_blocks_are_attached_is_as_full_as_they_are_large() {
    let options = BuilderOptions { codec: Codec::Snappy, block_size: 1000, ..BuilderOptions::default() };
    let mut builder = builder(options);
    let mut encoded = 0;
    for n in 0..200 {
        append(&mut builder, n, &format!("{n:>64}"));
    }
    let open = builder.utilization();
    while let Some(block) = builder.cut() {
        let block = block.encode();
        encoded += block.size_bytes();
        assert!(builder.attach(block));
    }
    assert_eq!((builder.utilization() * 1_572_864.0).round().to_string(), encoded.to_string());
    assert!(builder.utilization() < open / 2.0);
}

#[test]
fn memory_is_counted_and_given_back_when_blocks_are_attached() {
    let mut builder =
        builder(BuilderOptions { block_size: 64 << 10, codec: Codec::Snappy, ..BuilderOptions::default() });
    let empty = builder.memory_bytes();
    assert!(empty < 1024, "{empty} bytes");
    for n in 0..2000 {
        append(&mut builder, n, &format!("{n:>64}"));
    }
    let full = builder.memory_bytes();
    assert!(full > 128_000 && full < 400_000, "{full} bytes");
    while let Some(block) = builder.cut() {
        assert!(builder.attach(block.encode()));
    }
    let encoded = builder.memory_bytes();
    assert!(encoded < full / 4, "{encoded} of {full} bytes");
}

#[test]
fn what_a_reader_would_refuse_is_not_written() {
    let limits = Limits {
        max_line_bytes: 10,
        max_symbols: 4,
        max_symbol_bytes: 20,
        max_block_bytes: 200,
        ..Limits::default()
    };
    let options = BuilderOptions { limits, ..small() };
    let mut builder = builder(options);
    let limit = |result| match result {
        Err(Error::LimitExceeded { limit, .. }) => limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(builder.append(Entry::new(0, "12345678901"))), "max_line_bytes");
    let five = [("a", "1"), ("b", "2"), ("c", "3")];
    assert_eq!(limit(builder.append(Entry::new(0, "").with_metadata(&five))), "max_symbols");
    let long = [("a", "12345678901234567890")];
    assert_eq!(limit(builder.append(Entry::new(0, "").with_metadata(&long))), "max_symbol_bytes");
    let many = [("a", "a"); 9];
    let loose = Limits { max_symbols: 1000, ..limits };
    let mut other = Builder::new(BuilderOptions { limits: loose, ..options }).unwrap();
    assert_eq!(limit(other.append(Entry::new(0, "").with_metadata(&many))), "max_block_bytes");

    // Blocks are cut where the next entry might make them longer than a reader takes.
    for n in 0..50 {
        append(&mut builder, i64::MAX - n, "1234567890");
    }
    let chunk = Chunk::open(builder.finish().unwrap().bytes, &limits).unwrap();
    assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)).unwrap().len(), 50);
}

#[test]
fn metadata_is_never_dropped_in_silence() {
    let mut builder = builder(BuilderOptions { format: Format::LokiV3, ..small() });
    let entry = Entry::new(0, "x");
    let refused = builder.append(entry.with_metadata(&[("a", "b")]));
    assert_eq!(refused, Err(Error::MetadataNotSupported { version: 3 }));
    assert!(builder.is_empty());
    assert_eq!(builder.append(entry), Ok(Append::Stored));
}

#[test]
fn options_that_cannot_work_are_refused() {
    let refused = |options| Builder::new(options).unwrap_err();
    for (format, version) in [(Format::LokiV1, 1), (Format::LokiV2, 2)] {
        assert_eq!(refused(BuilderOptions { format, ..small() }), Error::UnsupportedVersion { version });
    }
    for codec in Codec::ALL.into_iter().filter(|codec| !codec.is_supported()) {
        let unsupported = Error::UnsupportedCodec { codec: codec.byte() };
        assert_eq!(refused(BuilderOptions { codec, ..small() }), unsupported);
    }
    for options in [
        BuilderOptions { block_size: 0, ..small() },
        BuilderOptions { target_size: 0, ..small() },
        BuilderOptions { block_size: 65 << 20, ..small() },
    ] {
        assert!(matches!(refused(options), Error::InvalidOption { .. }));
    }
}

#[test]
fn an_entry_that_was_read_can_be_appended_to_another_chunk() {
    let mut from = builder(small());
    let pairs = [("name", "value"), ("other", "")];
    from.append(Entry::new(5, "a").with_metadata(&pairs)).unwrap();
    let chunk = Chunk::open(from.finish().unwrap().bytes, &Limits::default()).unwrap();
    let mut to = builder(small());
    let mut entries = chunk.entries(.., Direction::Forward);
    while let Some(entry) = entries.next().unwrap() {
        to.append(entry).unwrap();
    }
    let found = collect(&mut to.snapshot(..).entries(Direction::Forward)).unwrap();
    let metadata = pairs.map(|(name, value)| (name.into(), value.into())).to_vec();
    assert_eq!(found, [Owned { timestamp_ns: 5, line: b"a".to_vec(), metadata }]);
}
