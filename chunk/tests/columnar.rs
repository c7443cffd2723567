//! Columnar chunks as a whole: what they hold is the same in every format and profile, objects say whose they are,
//! and a read opens no more than it needs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use forebay_chunk::columnar::{Index, Tail};
use forebay_chunk::loki::{Envelope, Object, Schema};
use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, Direction, EncodedChunk, Error, Format, Limits,
    Profile,
};
use proptest::prelude::*;

#[path = "support/owned.rs"]
mod owned;
use owned::{Owned, collect};

const PROFILES: [Profile; 3] = [Profile::Fast, Profile::Balanced, Profile::Archive];

fn built(options: BuilderOptions, entries: &[Owned]) -> EncodedChunk {
    let mut builder = Builder::new(options).unwrap();
    for entry in entries {
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    builder.finish().unwrap()
}

fn open(chunk: &EncodedChunk) -> Chunk {
    Chunk::open(chunk.bytes.clone(), &Limits::default()).unwrap()
}

/// Five thousand lines, five a second, with metadata on some.
fn service() -> Vec<Owned> {
    let entry = |n: i64| {
        let line = format!(
            "level=info method=GET path=/api/v1/items/{} status=200 took={}ms",
            n % 97,
            n * 7919 % 1000
        );
        let mut entry = Owned::new(1_700_000_000_000_000_000 + n * 200_000_000, line.as_bytes());
        if n % 3 == 0 {
            entry.metadata.push((b"pod".to_vec(), format!("web-{}", n % 5).into_bytes()));
        }
        entry
    };
    (0..5000).map(entry).collect()
}

#[test]
fn the_content_hash_is_that_of_the_entries_and_of_nothing_else() {
    let entries = service();
    let hash = open(&built(BuilderOptions::default(), &entries)).content_hash().unwrap();
    for profile in PROFILES {
        for block_size in [1 << 14, 1 << 16, 1 << 23] {
            let options = BuilderOptions { block_size, ..BuilderOptions::columnar(profile) };
            let chunk = open(&built(options, &entries));
            assert_eq!(chunk.content_hash(), Ok(hash));
            assert_eq!(chunk.stored_content_hash(), Some(hash));
        }
    }
    for format in [Format::LokiV3, Format::LokiV4] {
        let options = BuilderOptions { format, codec: Codec::None, ..BuilderOptions::default() };
        let bare: Vec<Owned> =
            entries.iter().map(|entry| Owned { metadata: Vec::new(), ..entry.clone() }).collect();
        assert_ne!(open(&built(options, &bare)).content_hash(), Ok(hash));
    }
    let other = [&entries[1..], &entries[..1]].concat();
    assert_eq!(open(&built(BuilderOptions::default(), &other)).content_hash(), Ok(hash), "time orders them");
}

#[test]
fn chunks_whose_groups_overlap_do_not_say_their_hash_but_have_it() {
    let mut entries = service();
    entries.truncate(600);
    let whole = open(&built(BuilderOptions::columnar(Profile::Fast), &entries));
    let (late, early) = entries.split_at(1);
    let options = BuilderOptions { block_size: 1 << 13, ..BuilderOptions::columnar(Profile::Fast) };
    let chunk = open(&built(options, &[early, late].concat()));
    assert!(chunk.blocks().len() > 1);
    assert_eq!(chunk.stored_content_hash(), None);
    assert_eq!(chunk.content_hash(), Ok(whole.stored_content_hash().unwrap()));
}

#[test]
fn an_object_says_whose_chunk_it_is_and_leaves_its_groups_alone() {
    let chunk = built(BuilderOptions::columnar(Profile::Balanced), &service());
    let mut envelope = Envelope::new("tenant-a", &[("app", "web"), ("env", "\u{fc}")], &chunk);
    for ingested_at_ms in [0, 1_700_000_001_000] {
        envelope.ingested_at_ms = ingested_at_ms;
        let object = envelope.encode(&chunk.bytes).unwrap();
        let opened = Object::open_keyed(object.bytes.clone(), &object.key, &Limits::default()).unwrap();
        assert_eq!(opened.envelope, envelope);
        assert_eq!(opened.key(), object.key);
        assert_eq!(opened.chunk.format(), Format::Columnar);
        let (plain, found) = (open(&chunk), opened.chunk);
        assert_eq!(found.blocks(), plain.blocks());
        let end = plain.blocks().last().map(|block| block.offset + block.size_bytes).unwrap();
        let end = usize::try_from(end).unwrap();
        assert!(object.bytes[..end] == chunk.bytes[..end]);
        assert_eq!(found.content_hash(), plain.content_hash());
        // Once more with another owner: nothing of the first stays.
        let other = Envelope { tenant: "b".into(), ..envelope.clone() };
        assert_eq!(other.encode(&object.bytes).unwrap(), other.encode(&chunk.bytes).unwrap());
        assert!(object.key.text(Schema::V13).starts_with("tenant-a/"));
    }
}

#[test]
fn an_object_whose_description_and_times_differ_is_not_written_and_one_without_owner_not_opened() {
    let chunk = built(BuilderOptions::columnar(Profile::Balanced), &service());
    let envelope = Envelope::new("t", &[], &chunk);
    let late = Envelope { through_ms: envelope.through_ms + 1, ..envelope };
    assert!(matches!(late.encode(&chunk.bytes), Err(Error::WrongMetadata { field: "through_ms", .. })));
    let error = Object::open(chunk.bytes, &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("without identity"), "{error}");
}

#[test]
fn any_flipped_bit_of_a_columnar_object_is_noticed_by_its_key() {
    let chunk = built(BuilderOptions::columnar(Profile::Balanced), &service()[..5]);
    let object = Envelope::new("t", &[("app", "x")], &chunk).encode(&chunk.bytes).unwrap();
    for bit in 0..object.bytes.len() * 8 {
        let mut broken = object.bytes.to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(Object::open_keyed(broken.clone(), &object.key, &Limits::default()).is_err());
        let _ = Object::open(broken, &Limits::default());
    }
}

#[test]
fn times_alone_are_read_without_the_lines() {
    let chunk = open(&built(BuilderOptions::columnar(Profile::Balanced), &service()));
    // Past the last entry of the only group, but not past what its index could say of any.
    let first = chunk.bounds().unwrap().0;
    let mut entries = chunk.entries(first + 1..first + 2, Direction::Forward);
    assert_eq!(entries.next(), Ok(None));
    let stats = entries.stats();
    assert_eq!((stats.blocks_decoded, stats.entries), (1, 0));
    assert!(stats.decoded_bytes < 1000, "{stats:?}");
}

#[test]
fn a_backward_read_makes_only_the_lines_at_the_end() {
    let entries = service();
    let chunk = open(&built(BuilderOptions::columnar(Profile::Balanced), &entries));
    let mut backward = chunk.entries(.., Direction::Backward);
    for expected in entries.iter().rev().take(3000) {
        assert_eq!(&Owned::from(backward.next().unwrap().unwrap()), expected);
    }
}

#[test]
fn an_object_is_read_by_its_end_and_the_groups_that_are_wanted() {
    let options = BuilderOptions { block_size: 1 << 16, ..BuilderOptions::columnar(Profile::Balanced) };
    let entries = service();
    let chunk = built(options, &entries);
    let envelope = Envelope::new("t", &[("app", "x")], &chunk);
    let object = envelope.encode(&chunk.bytes).unwrap().bytes;
    let (len, limits) = (object.len(), Limits::default());
    let Ok(Tail::More { size_bytes }) = Index::read(&object[len - 30..], len as u64, &limits) else {
        panic!("an index of 30 bytes");
    };
    let tail = &object[len - usize::try_from(size_bytes).unwrap()..];
    let Tail::Index(index) = Index::read(tail, len as u64, &limits).unwrap() else {
        panic!("still not enough")
    };
    let small = Limits { max_object_bytes: len - 1, ..limits };
    let refused = Index::read(tail, len as u64, &small);
    assert!(matches!(refused, Err(Error::LimitExceeded { limit: "max_object_bytes", .. })), "{refused:?}");
    assert_eq!(index.envelope(), Some(envelope));
    assert_eq!(index.content_hash(), open(&chunk).stored_content_hash());
    assert_eq!(index.groups(), open(&chunk).blocks());

    let bytes_of = |number: usize| {
        let group = index.groups()[number];
        let start = usize::try_from(group.offset).unwrap();
        object.slice(start..start + usize::try_from(group.size_bytes).unwrap())
    };
    let (first, last) = (index.groups()[1], index.groups()[3]);
    let part = index.open([3, 1].map(|number| (number, bytes_of(number))), &limits, CorruptionPolicy::Fail);
    let found = collect(&mut part.unwrap().entries(.., Direction::Forward)).unwrap();
    let times = |entry: &&Owned| {
        [first, last].iter().any(|group| (group.min_ns..=group.max_ns).contains(&entry.timestamp_ns))
    };
    assert!(found.iter().eq(entries.iter().filter(times)));

    // Another group's bytes, no bytes, a number too high.
    for (number, bytes) in [(1, bytes_of(2)), (1, Bytes::new()), (index.groups().len(), bytes_of(0))] {
        assert!(index.open([(number, bytes)], &limits, CorruptionPolicy::Fail).is_err());
    }
    let skipped = index.open([(1, bytes_of(2).slice(..50))], &limits, CorruptionPolicy::SkipBlock).unwrap();
    assert_eq!(skipped.damage().iter().map(|damage| damage.entries_lost()).sum::<u64>(), first.entries);
}

/// It compared the hash of all groups with that of the groups at hand.
#[test]
fn some_groups_of_a_chunk_are_verified_as_those_groups() {
    let options = BuilderOptions { block_size: 1 << 16, ..BuilderOptions::columnar(Profile::Balanced) };
    let bytes = built(options, &service()).bytes;
    let (index, bytes_of) = index_and_groups(&bytes);
    for numbers in [&[1][..], &[0, 2], &[]] {
        let groups = numbers.iter().map(|&number| (number, bytes_of(number)));
        let part = index.open(groups, &Limits::default(), CorruptionPolicy::Fail).unwrap();
        assert_eq!(part.verify(), Ok(()), "{numbers:?}");
    }
}

/// It gave the entries of such a group twice.
#[test]
fn no_group_is_opened_twice() {
    let options = BuilderOptions { block_size: 1 << 16, ..BuilderOptions::columnar(Profile::Balanced) };
    let bytes = built(options, &service()).bytes;
    let (index, bytes_of) = index_and_groups(&bytes);
    for policy in [CorruptionPolicy::Fail, CorruptionPolicy::SkipBlock] {
        let twice = [1, 2, 1].map(|number| (number, bytes_of(number)));
        let error = index.open(twice, &Limits::default(), policy).unwrap_err();
        assert!(error.to_string().contains("given twice"), "{error}");
    }
}

/// The builder counted the bytes of the streams, the reader 260 for each UUID.
#[test]
fn what_a_builder_writes_a_reader_with_its_limits_reads() {
    let limits = Limits { max_block_bytes: 4 << 20, ..Limits::default() };
    let options = BuilderOptions { limits, ..BuilderOptions::columnar(Profile::Fast) };
    let mut builder = Builder::new(options).unwrap();
    let mut state = 1u128;
    for n in 0..17_000 {
        state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
        let hex = format!("{:032x}", state ^ state >> 64);
        let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let line = format!("GET /items/{uuid} answered 200");
        builder.append(forebay_chunk::Entry::new(n, &line)).unwrap();
    }
    let chunk = Chunk::open(builder.finish().unwrap().bytes, &limits).unwrap();
    assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)).map(|all| all.len()), Ok(17_000));
}

/// The values of each name were held against those of that name alone: the group was larger than any reader takes.
#[test]
fn values_that_many_names_share_are_not_copied_for_each_of_them() {
    let limits = Limits { max_block_bytes: 4 << 20, ..Limits::default() };
    let options = BuilderOptions { limits, ..BuilderOptions::columnar(Profile::Balanced) };
    let entry = |n: i64| {
        let mut value = format!("{n} ").into_bytes();
        value.resize(690, b'x');
        let metadata = (0..120).map(|name| (format!("name {name}").into_bytes(), value.clone())).collect();
        Owned { metadata, ..Owned::new(n, b"a line") }
    };
    let entries: Vec<Owned> = (0..120).map(entry).collect();
    let chunk = Chunk::open(built(options, &entries).bytes, &limits).unwrap();
    assert_eq!(chunk.blocks().len(), 1);
    assert!(collect(&mut chunk.entries(.., Direction::Forward)).unwrap() == entries);
}

fn index_and_groups(bytes: &Bytes) -> (Index, impl Fn(usize) -> Bytes) {
    let Ok(Tail::Index(index)) = Index::read(bytes, bytes.len() as u64, &Limits::default()) else {
        panic!("the whole chunk has its index")
    };
    let (groups, bytes) = (index.groups().to_vec(), bytes.clone());
    let bytes_of = move |number: usize| {
        let start = usize::try_from(groups[number].offset).unwrap();
        bytes.slice(start..start + usize::try_from(groups[number].size_bytes).unwrap())
    };
    (index, bytes_of)
}

/// The hash was that of what was left, and nobody was told.
#[test]
fn a_chunk_of_which_entries_are_lost_has_no_content_hash() {
    let options = BuilderOptions { block_size: 1 << 16, ..BuilderOptions::columnar(Profile::Balanced) };
    let chunk = built(options, &service());
    let second = open(&chunk).blocks()[1];
    let mut broken = chunk.bytes.to_vec();
    // In its middle there is a stream of its lines.
    broken[usize::try_from(second.offset + second.size_bytes / 2).unwrap()] ^= 1;
    for policy in [CorruptionPolicy::SkipBlock, CorruptionPolicy::Salvage] {
        let chunk = Chunk::open_with(broken.clone(), &Limits::default(), policy).unwrap();
        assert!(matches!(chunk.content_hash(), Err(Error::ChecksumMismatch { .. })));
        assert!(chunk.verify().is_err());
    }
    // Nor one of which a group is known to be lost from the start.
    broken[usize::try_from(second.offset).unwrap()] ^= 1;
    let chunk = Chunk::open_with(broken, &Limits::default(), CorruptionPolicy::SkipBlock).unwrap();
    assert_eq!(chunk.damage().len(), 1);
    assert!(chunk.content_hash().is_err());
    assert_eq!(chunk.verify(), Ok(()), "what is left is as it was written");
}

/// The copy had the hash of the part, and took the place of the whole.
#[test]
fn a_chunk_of_some_groups_is_not_taken_for_all() {
    let options = BuilderOptions { block_size: 1 << 16, ..BuilderOptions::columnar(Profile::Balanced) };
    let chunk = built(options, &service());
    let (index, bytes_of) = index_and_groups(&chunk.bytes);
    let numbers = 0..index.groups().len();
    assert!(numbers.len() > 1);
    let of = |numbers: std::ops::Range<usize>| {
        let groups = numbers.map(|number| (number, bytes_of(number)));
        index.open(groups, &Limits::default(), CorruptionPolicy::Fail).unwrap()
    };
    let (part, all) = (of(1..numbers.end), of(numbers));
    let expected = Error::Truncated {
        section: forebay_chunk::Section::Group(0),
        offset: index.groups()[0].offset,
        need: index.groups()[0].size_bytes,
        have: 0,
    };
    assert_eq!(part.recompress(options).map(|_| ()), Err(expected.clone()));
    assert_eq!(forebay_chunk::merge([&part], options).map(|_| ()), Err(expected));
    assert_eq!(all.recompress(options).unwrap().unwrap().entries, all.entry_count());
    assert_eq!(forebay_chunk::merge([&all], options).unwrap().chunk.unwrap().entries, all.entry_count());
}

/// Identifiers that differ in each entry take about the bits that they have.
#[test]
fn metadata_of_many_values_takes_what_its_values_have() {
    let bare: Vec<Owned> =
        service().into_iter().map(|entry| Owned { metadata: Vec::new(), ..entry }).collect();
    let mut state = 1u64;
    let traced = bare.iter().map(|entry| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let trace = u128::from(state).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        Owned { metadata: vec![(b"trace".to_vec(), format!("{trace:032x}").into_bytes())], ..entry.clone() }
    });
    let traced: Vec<Owned> = traced.collect();
    let options = BuilderOptions::columnar(Profile::Balanced);
    let (without, with) = (built(options, &bare), built(options, &traced));
    assert!(with.bytes.len() - without.bytes.len() < traced.len() * 17);
    for direction in [Direction::Forward, Direction::Backward] {
        let found = collect(&mut open(&with).entries(.., direction)).unwrap();
        assert!(found == owned::directed(traced.clone(), direction));
    }
    open(&with).verify().unwrap();
}

#[test]
fn readers_can_be_sent_and_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Chunk>();
    shared::<forebay_chunk::EntryIter>();
    shared::<forebay_chunk::PendingBlock>();
}

fn noise() -> impl Strategy<Value = Vec<Owned>> {
    let line = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "(GET|PUT) /[a-c]{1,3} [0-9]{1,5} took [0-9]{1,3}ms".prop_map(String::into_bytes),
        Just(b"one line repeated".to_vec()),
    ];
    let pairs = prop::collection::vec(("[a-c]", "[0-9a-f]{0,8}"), 0..3);
    let entry = (0i64..1 << 40, line, pairs).prop_map(|(timestamp_ns, line, pairs)| Owned {
        timestamp_ns,
        line,
        metadata: pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    });
    prop::collection::vec(entry, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// And what comes back does not depend on the profile.
    #[test]
    fn the_same_entries_make_the_same_bytes(entries in noise(), block_size in 500usize..20_000) {
        for profile in PROFILES {
            let options = BuilderOptions { block_size, ..BuilderOptions::columnar(profile) };
            let (one, other) = (built(options, &entries), built(options, &entries));
            prop_assert_eq!(&one.bytes, &other.bytes);
            let chunk = open(&one);
            let mut sorted = entries.clone();
            sorted.sort_by_key(|entry| entry.timestamp_ns);
            prop_assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)), Ok(sorted));
            if let Some(stored) = chunk.stored_content_hash() {
                prop_assert_eq!(chunk.content_hash(), Ok(stored));
            }
        }
    }
}
