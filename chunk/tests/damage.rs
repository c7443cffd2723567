//! Chunks with bits flipped, ends cut off and numbers that lie. A read gives the lines that were written, or
//! says what it cannot give; it never gives others and never panics.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::loki::{Envelope, Object};
use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, Damage, DamageKind, Direction, EncodedChunk,
    Error, Format, Limits, Profile, Section,
};
use proptest::prelude::*;

#[path = "support/handmade.rs"]
mod handmade;
#[path = "support/owned.rs"]
mod owned;
use handmade::{Block, Handmade, NONE, crc, line, line_with};
use owned::{Owned, collect};

const POLICIES: [CorruptionPolicy; 2] = [CorruptionPolicy::Fail, CorruptionPolicy::SkipBlock];

fn small(options: BuilderOptions) -> (EncodedChunk, Vec<Owned>) {
    let format = options.format;
    let mut builder = Builder::new(options).unwrap();
    let entries: Vec<Owned> = (0..9i64)
        .map(|n| {
            let pairs = if format.has_metadata() && n % 2 == 0 { 1 } else { 0 };
            let metadata = vec![(b"pod".to_vec(), n.to_string().into_bytes()); pairs];
            Owned { timestamp_ns: 1_700_000_000_000 + n, line: b"a line, a line ".to_vec(), metadata }
        })
        .collect();
    for entry in &entries {
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    let chunk = builder.finish().unwrap();
    assert!(Chunk::open(chunk.bytes.clone(), &Limits::default()).unwrap().blocks().len() >= 3);
    (chunk, entries)
}

/// Three or more blocks of the entries of [`small`], in every format and codec.
fn each_kind() -> impl Iterator<Item = BuilderOptions> {
    let codecs = Codec::ALL.into_iter().filter(|codec| codec.is_supported());
    let loki = codecs.flat_map(|codec| [(Format::LokiV3, codec), (Format::LokiV4, codec)]);
    let columnar = [Profile::Fast, Profile::Archive].map(|profile| BuilderOptions {
        // Three entries, or fewer if their lines are long.
        block_size: 3 * 64,
        ..BuilderOptions::columnar(profile)
    });
    loki.map(|(format, codec)| options(format, codec)).chain(columnar)
}

fn options(format: Format, codec: Codec) -> BuilderOptions {
    BuilderOptions { format, codec, block_size: 40, ..BuilderOptions::default() }
}

/// What it is, for messages.
fn name(options: &BuilderOptions) -> String {
    match options.format {
        Format::Columnar => format!("{:?}", options.profile),
        format => format!("{format} {}", options.codec),
    }
}

/// What can be read, with what is reported to be lost.
fn read(bytes: &[u8], policy: CorruptionPolicy) -> Result<(Vec<Owned>, Vec<Damage>), Error> {
    let chunk = Chunk::open_with(bytes.to_vec(), &Limits::default(), policy)?;
    let mut entries = chunk.entries(.., Direction::Forward);
    let found = collect(&mut entries)?;
    if policy == CorruptionPolicy::Fail {
        chunk.verify()?;
    }
    Ok((found, [chunk.damage(), entries.damage()].concat()))
}

/// Asserts that `bytes`, a damaged form of a chunk of `entries`, are refused or read without a wrong line,
/// and every line that is missing is reported.
fn assert_honest(bytes: &[u8], entries: &[Owned], what: &str) {
    for policy in POLICIES {
        let Ok((found, damage)) = read(bytes, policy) else { continue };
        let lost: u64 = damage.iter().map(Damage::entries_lost).sum();
        assert_eq!(found.len() as u64 + lost, entries.len() as u64, "{what}, {policy:?}");
        let lost_ranges = || damage.iter().filter(|damage| damage.entries_lost() > 0);
        let kept: Vec<&Owned> = entries
            .iter()
            .filter(|entry| !lost_ranges().any(|d| (d.min_ns..=d.max_ns).contains(&entry.timestamp_ns)))
            .collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), kept, "{what}, {policy:?}");
        assert!(policy == CorruptionPolicy::SkipBlock || lost == 0, "{what}");
    }
}

#[test]
fn any_flipped_bit_is_an_error_or_is_reported() {
    for kind in each_kind() {
        let (chunk, entries) = small(kind);
        let mut refused = 0;
        for bit in 0..chunk.bytes.len() * 8 {
            let mut broken = chunk.bytes.to_vec();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_honest(&broken, &entries, &format!("{}, bit {bit}", name(&kind)));
            refused += usize::from(read(&broken, CorruptionPolicy::Fail).is_err());
        }
        // Every bit of a chunk means something, but for those that make one lz4 of another in Loki's header, whose
        // frames say themselves how large their blocks are.
        let is_lz4 = |byte: u8| matches!(byte, 3 | 5 | 6 | 7);
        let alike = match kind.format {
            Format::Columnar => 0,
            _ => (0..8).filter(|bit| is_lz4(chunk.bytes[5]) && is_lz4(chunk.bytes[5] ^ (1 << bit))).count(),
        };
        assert_eq!(refused, chunk.bytes.len() * 8 - alike, "{}", name(&kind));
    }
}

/// The lines of the small chunks are stored whole; these are split.
#[test]
fn any_flipped_bit_of_a_column_costs_its_group_and_no_other() {
    let options = BuilderOptions { block_size: 16 * 64, ..BuilderOptions::columnar(Profile::Balanced) };
    let mut builder = Builder::new(options).unwrap();
    let entries: Vec<Owned> = (0..32i64)
        .map(|n| {
            let line =
                format!("2026-11-30 06:{n:02}:00 user {} took {} ms, trace {:012x}", n % 4, n * 71, n * n);
            Owned::new(n * 60, line.as_bytes())
        })
        .collect();
    for entry in &entries {
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    let bytes = builder.finish().unwrap().bytes;
    assert!(bytes.len() < 32 * 25, "{} bytes", bytes.len());
    let chunk = Chunk::open(bytes.clone(), &Limits::default()).unwrap();
    assert!(chunk.blocks().len() >= 2);
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&broken, CorruptionPolicy::Fail).is_err(), "bit {bit}");
        let hit = chunk
            .blocks()
            .iter()
            .find(|block| (block.offset..block.offset + block.size_bytes).contains(&(bit as u64 / 8)));
        let found = read(&broken, CorruptionPolicy::SkipBlock);
        let Some(hit) = hit else { continue };
        let (found, damage) = found.unwrap();
        if damage.is_empty() {
            // In the filter, which no read of all entries asks.
            assert!(found == entries, "bit {bit}");
            continue;
        }
        let kept = entries.iter().filter(|entry| !(hit.min_ns..=hit.max_ns).contains(&entry.timestamp_ns));
        assert!(found.iter().eq(kept), "bit {bit}");
        assert_eq!(damage.iter().map(Damage::entries_lost).sum::<u64>(), hit.entries, "bit {bit}");
    }
}

/// A group is opened bit by bit: what was handed out before the damage is good, and the rest is counted.
#[test]
fn damage_in_the_middle_of_a_group_is_told_to_the_entry() {
    let mut state = 1u64;
    let mut line = || -> Vec<u8> {
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[7]
        };
        (0..100).map(|_| byte()).collect()
    };
    let entries: Vec<Owned> = (0..8000).map(|n| Owned::new(n, &line())).collect();
    let mut builder = Builder::new(BuilderOptions::columnar(Profile::Fast)).unwrap();
    for entry in &entries {
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    let mut bytes = builder.finish().unwrap().bytes.to_vec();
    let chunk = Chunk::open(bytes.clone(), &Limits::default()).unwrap();
    assert_eq!(chunk.blocks().len(), 1);
    // In the second of four pages of lines.
    let middle = bytes.len() * 2 / 5;
    bytes[middle] ^= 1;

    let chunk = Chunk::open_with(bytes.clone(), &Limits::default(), CorruptionPolicy::SkipBlock).unwrap();
    for direction in [Direction::Forward, Direction::Backward] {
        let mut iter = chunk.entries(.., direction);
        let found = collect(&mut iter).unwrap();
        let [damage] = iter.damage() else { panic!("{:?}", iter.damage()) };
        assert!(found.len() > 1000 && found.len() < 7000, "{}", found.len());
        assert_eq!(found.len() as u64 + damage.entries_lost(), 8000);
        let all = owned::directed(entries.clone(), direction);
        assert!(found == all[..found.len()]);
        let kept = |entry: &&Owned| !(damage.min_ns..=damage.max_ns).contains(&entry.timestamp_ns);
        assert_eq!(all.iter().filter(kept).count(), found.len());
        let DamageKind::Lost { cause, .. } = &damage.kind else { panic!("{damage:?}") };
        assert!(matches!(
            cause,
            Error::ChecksumMismatch { section: Section::Stream { group: 0, kind: 10 }, .. }
        ));
    }
    // A range in a page that is whole does not meet it.
    let mut iter = chunk.entries(7000..7010, Direction::Forward);
    assert_eq!(collect(&mut iter).unwrap(), entries[7000..7010]);
    assert_eq!(iter.damage(), []);

    let chunk = Chunk::open(bytes, &Limits::default()).unwrap();
    let mut iter = chunk.entries(.., Direction::Forward);
    let error = collect(&mut iter).unwrap_err();
    assert_eq!(iter.next().unwrap_err(), error, "the iterator stays at the error");
    assert_eq!(chunk.verify().unwrap_err(), error);
}

#[test]
fn any_cut_is_an_error() {
    for kind in each_kind() {
        let (chunk, _) = small(kind);
        for policy in POLICIES {
            for end in 0..chunk.bytes.len() {
                let error = read(&chunk.bytes[..end], policy).unwrap_err();
                assert_eq!(error == Error::Empty, end == 0, "{}, cut to {end}", name(&kind));
                assert!(read(&[&chunk.bytes[..end], &chunk.bytes[end + 1..]].concat(), policy).is_err());
            }
        }
    }
}

#[test]
fn any_flipped_bit_of_an_object_is_noticed_by_its_key() {
    let (chunk, _) = small(options(Format::LokiV4, Codec::None));
    let object = Envelope::new("t", &[("app", "x")], &chunk).encode(&chunk.bytes).unwrap();
    let limits = Limits::default();
    for bit in 0..object.bytes.len() * 8 {
        let mut broken = object.bytes.to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        let error = Object::open_keyed(broken.clone(), &object.key, &limits).unwrap_err();
        assert!(matches!(error, Error::ChecksumMismatch { section: Section::Object, .. }));
        let _ = Object::open(broken, &limits);
    }
    for end in 0..object.bytes.len() {
        assert!(Object::open(object.bytes.slice(..end), &limits).is_err(), "cut to {end}");
    }
}

#[test]
fn an_object_that_is_not_the_one_of_its_key_is_refused() {
    let (chunk, _) = small(options(Format::LokiV4, Codec::None));
    let object = Envelope::new("t", &[("app", "x")], &chunk).encode(&chunk.bytes).unwrap();
    let field = |change: fn(&mut forebay_chunk::loki::Key)| {
        let mut key = object.key.clone();
        change(&mut key);
        match Object::open_keyed(object.bytes.clone(), &key, &Limits::default()).map(|_| ()) {
            Err(Error::WrongMetadata { field, expected, found }) if expected != found => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(|key| key.tenant.push('x')), "tenant");
    assert_eq!(field(|key| key.fingerprint += 1), "fingerprint");
    assert_eq!(field(|key| key.from_ms -= 1), "from_ms");
    assert_eq!(field(|key| key.through_ms += 1), "through_ms");
    let found = Object::open_keyed(object.bytes.clone(), &object.key, &Limits::default()).unwrap();
    assert_eq!(found.key(), object.key);
}

fn two_lines() -> Block {
    Block::new(2, 1, 2, 2, [line(1, b"a"), line(2, b"b")].concat())
}

/// The error of a chunk of version 3 with one block.
fn error_of(block: Block) -> String {
    read(&Handmade::new(3, NONE, vec![block]).bytes(), CorruptionPolicy::Fail).unwrap_err().to_string()
}

#[test]
fn an_index_that_lies_about_its_blocks_is_found_out() {
    assert!(read(&Handmade::new(3, NONE, vec![two_lines()]).bytes(), CorruptionPolicy::Fail).is_ok());
    type Lie = fn(&mut Block);
    let lies: [(&str, Lie); 7] = [
        ("2 entries, the index names 3", |block| block.entries = 3),
        ("more entries than the 1 that the index names", |block| block.entries = 1),
        ("entry at 1 ns in a block from 2 to 2 ns", |block| block.min_ns = 2),
        ("entry at 2 ns in a block from 0 to 1 ns", |block| (block.min_ns, block.max_ns) = (0, 1)),
        ("block 0 from 3 to 2 ns", |block| block.min_ns = 3),
        ("checksum", |block| block.size_error = -1),
        ("cut short", |block| block.size_error = i64::MAX / 2),
    ];
    for (expected, lie) in lies {
        let mut block = two_lines();
        lie(&mut block);
        let error = error_of(block);
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
    let mut counted = Handmade::new(3, NONE, vec![two_lines()]);
    for count_error in [1, u64::MAX, u64::MAX - 1, u64::MAX / 2] {
        counted.count_error = count_error;
        assert!(read(&counted.bytes(), CorruptionPolicy::SkipBlock).is_err());
    }
}

#[test]
fn entries_that_lie_about_themselves_are_found_out() {
    let v4 = |payload: Vec<u8>| {
        let mut chunk = Handmade::new(4, NONE, vec![Block::new(1, 1, 1, 1000, payload)]);
        chunk.symbols = (2, b"\x01a\x01b".to_vec());
        read(&chunk.bytes(), CorruptionPolicy::Fail).map(|(found, _)| found)
    };
    assert_eq!(v4(line_with(1, b"x", &[0, 1])).unwrap()[0].metadata, [(b"a".to_vec(), b"b".to_vec())]);
    let start = line(1, b"x");
    let lies: [(&str, Vec<u8>); 8] = [
        ("symbol 2 of a table of 2", line_with(1, b"x", &[0, 2])),
        ("metadata of 1 pairs in 2 bytes", [&start[..], &[2, 1, 0]].concat()),
        ("metadata of 1 pairs in 4 bytes", [&start[..], &[4, 1, 0, 0, 0]].concat()),
        ("metadata of 0 pairs in 2 bytes", [&start[..], &[2, 0, 0]].concat()),
        ("metadata without a number of pairs", [&start[..], &[0]].concat()),
        ("cut short", [&start[..], &[9, 0]].concat()),
        ("more than 64 bits", vec![0xFF; 10]),
        ("exceeded by 18446744073709551615", [&[2][..], &handmade::uvarint(u64::MAX)].concat()),
    ];
    for (expected, payload) in lies {
        let error = v4(payload).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

#[test]
fn a_block_that_does_not_decode_is_skipped_if_one_asks_and_then_reported() {
    let mut lying = two_lines();
    lying.entries = 3;
    let blocks = vec![two_lines(), lying, Block::new(1, 9, 9, 1, line(9, b"c"))];
    let bytes = Handmade::new(3, NONE, blocks).bytes();
    let chunk = Chunk::open_with(bytes.clone(), &Limits::default(), CorruptionPolicy::SkipBlock).unwrap();
    assert_eq!(chunk.damage(), []);
    let mut entries = chunk.entries(.., Direction::Forward);
    let found = collect(&mut entries).unwrap();
    assert_eq!(found.iter().map(|entry| entry.timestamp_ns).collect::<Vec<_>>(), [1, 2, 9]);
    let [damage] = entries.damage() else { panic!("{:?}", entries.damage()) };
    assert_eq!((damage.block, damage.min_ns, damage.max_ns, damage.entries_lost()), (1, 1, 2, 3));
    assert!(matches!(&damage.kind, DamageKind::Lost { cause: Error::Corrupt { .. }, .. }));

    // Without the wish to skip, the iterator stays at the error.
    let chunk = Chunk::open(bytes, &Limits::default()).unwrap();
    let mut entries = chunk.entries(.., Direction::Backward);
    assert_eq!(entries.next().unwrap().unwrap().line, b"c");
    let error = entries.next().unwrap_err();
    assert_eq!(entries.next().unwrap_err(), error);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Checksums keep damage from the parser; this hands it damage under checksums that are right.
    #[test]
    fn bytes_that_lie_under_right_checksums_do_not_make_it_panic(
        payload in prop::collection::vec(any::<u8>(), 0..60),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        version in 1u8..=4,
        codec in prop::sample::select(vec![0u8, 1, 4]),
        numbers in prop::array::uniform4(any::<u64>()),
        fix: bool,
    ) {
        let [entries, raw_bytes, min, max] = numbers;
        let mut chunk = Handmade::new(version, codec, vec![
            Block::new(entries % 30, min.cast_signed(), max.cast_signed(), raw_bytes % 5000, payload.clone()),
            two_lines(),
        ]);
        chunk.symbols = (raw_bytes % 7, payload);
        let mut bytes = chunk.bytes();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if fix && version < 4 {
            let index_end = bytes.len() - 12;
            let start: [u8; 8] = bytes[index_end + 4..].try_into().unwrap();
            let start = usize::try_from(u64::from_be_bytes(start)).unwrap_or(usize::MAX);
            if let Some(index) = bytes.get(start..index_end) {
                let sum = crc(index);
                bytes[index_end..index_end + 4].copy_from_slice(&sum);
            }
        }
        for policy in POLICIES {
            let _ = read(&bytes, policy);
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_make_it_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        version in 0u8..6,
    ) {
        let _ = Object::open(bytes.clone(), &Limits::default());
        let _ = read(&bytes, CorruptionPolicy::SkipBlock);
        if let Some(start) = bytes.first_chunk_mut::<5>() {
            *start = [0x01, 0x2E, 0xE5, 0x6A, version];
        }
        let _ = read(&bytes, CorruptionPolicy::SkipBlock);
    }
}

/// One flipped bit took a whole object from whoever asked for it by its key.
#[test]
fn a_flipped_bit_of_an_object_costs_a_block_and_is_told() {
    for kind in each_kind() {
        let (chunk, entries) = small(kind);
        let object = Envelope::new("tenant", &[("app", "web")], &chunk).encode(&chunk.bytes).unwrap();
        let (limits, key) = (Limits::default(), &object.key);
        let open = |bytes: Vec<u8>, policy| Object::open_keyed_with(bytes, key, &limits, policy);
        let whole = open(object.bytes.to_vec(), CorruptionPolicy::SkipBlock).unwrap();
        assert_eq!((whole.fault, whole.chunk.damage()), (None, &[][..]));

        let start = object.bytes.len() - chunk.bytes.len();
        let start = if kind.format == Format::Columnar { 0 } else { start };
        let inner = Chunk::open(chunk.bytes.clone(), &limits).unwrap();
        let second = inner.blocks()[1];
        // A byte of what the block holds, in a columnar one behind its head.
        let at = start + usize::try_from(second.offset + second.size_bytes).unwrap() - 2;
        let mut broken = object.bytes.to_vec();
        broken[at] ^= 1;
        let refused = open(broken.clone(), CorruptionPolicy::Fail).unwrap_err();
        assert!(matches!(refused, Error::ChecksumMismatch { section: Section::Object, .. }), "{refused}");
        for policy in [CorruptionPolicy::SkipBlock, CorruptionPolicy::Salvage] {
            let object = open(broken.clone(), policy).unwrap();
            assert_eq!(object.fault, Some(refused.clone()), "{}", name(&kind));
            let mut rest = object.chunk.entries(.., Direction::Forward);
            let found = collect(&mut rest).unwrap();
            let damage = [object.chunk.damage(), rest.damage()].concat();
            assert_eq!(damage.iter().map(|damage| damage.block).collect::<Vec<_>>(), [1], "{}", name(&kind));
            let lost = usize::try_from(damage[0].entries_lost()).unwrap();
            assert!(lost > 0);
            assert_eq!(found.len() + lost, entries.len(), "{}", name(&kind));
        }
        // Another stream's object is none of this key, whatever is tolerated.
        let other = Envelope::new("other", &[("app", "web")], &chunk).encode(&chunk.bytes).unwrap();
        let error = open(other.bytes.to_vec(), CorruptionPolicy::Salvage).unwrap_err();
        assert!(matches!(error, Error::WrongMetadata { field: "tenant", .. }), "{error}");
    }
}
