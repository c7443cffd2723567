//! Small files that would become large ones. Each limit refuses, and names itself, before its memory is
//! taken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::loki::{Envelope, Object};
use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, Direction, EncodedChunk, Entry, Error, Limits,
};

#[path = "support/handmade.rs"]
mod handmade;
#[path = "support/owned.rs"]
mod owned;
use handmade::{Block, FLATE, GZIP, Handmade, LZ4, NONE, SNAPPY, ZSTD, line};
use owned::collect;

/// Compressed by somebody else.
fn compressed(codec: u8, plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    match codec {
        #[cfg(feature = "gzip")]
        GZIP => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(plain).unwrap();
            gzip.finish().unwrap()
        }
        #[cfg(feature = "gzip")]
        FLATE => {
            let mut flate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            flate.write_all(plain).unwrap();
            flate.finish().unwrap()
        }
        #[cfg(feature = "lz4")]
        LZ4 => {
            // One block of 4 MiB in a frame, again and again.
            let frame = |plain: &[u8]| {
                let block = lz4_flex::block::compress(plain);
                let header = [4, 0x22, 0x4D, 0x18, 0x60, 0x70, 0x73];
                [&header[..], &u32::try_from(block.len()).unwrap().to_le_bytes(), &block, &[0; 4]].concat()
            };
            plain.chunks(4 << 20).flat_map(frame).collect()
        }
        #[cfg(feature = "zstd")]
        ZSTD => zstd::bulk::compress(plain, 1).unwrap(),
        SNAPPY => {
            let mut snappy = snap::write::FrameEncoder::new(Vec::new());
            snappy.write_all(plain).unwrap();
            snappy.into_inner().unwrap()
        }
        _ => plain.to_vec(),
    }
}

fn codecs() -> impl Iterator<Item = u8> {
    [GZIP, SNAPPY, LZ4, FLATE, ZSTD]
        .into_iter()
        .filter(|&codec| Codec::from_byte(codec).unwrap().is_supported())
}

fn limit_of<T>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::LimitExceeded { limit, value, max }) => {
            assert!(value > max, "{value} does not exceed {max}");
            limit
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused"),
    }
}

fn read(bytes: Vec<u8>, limits: &Limits) -> Result<usize, Error> {
    // A limit is not damage: it is an error whatever the policy.
    let chunk = Chunk::open_with(bytes, limits, CorruptionPolicy::SkipBlock)?;
    collect(&mut chunk.entries(.., Direction::Forward)).map(|entries| entries.len())
}

#[test]
fn a_block_that_grows_is_stopped() {
    let zeros = vec![0; 8 << 20];
    for codec in codecs() {
        let stored = compressed(codec, &zeros);
        let bomb = |version, raw_bytes| {
            Handmade::new(version, codec, vec![Block::new(4 << 20, 0, 0, raw_bytes, stored.clone())]).bytes()
        };
        let limits = Limits::default();
        let small = Limits { max_block_bytes: 1 << 20, ..limits };
        let tight = Limits { max_ratio: 10, ..limits };
        assert_eq!(limit_of(read(bomb(2, 0), &small)), "max_block_bytes");
        if codec != ZSTD {
            assert_eq!(limit_of(read(bomb(2, 0), &tight)), "max_ratio times the compressed size");
        }
        // The index says how long the lines are, which bounds what the block can be.
        let block = Block::new(1, 0, 0, 5, stored.clone());
        let bytes = Handmade::new(3, codec, vec![block]).bytes();
        assert_eq!(limit_of(read(bytes, &limits)), "the raw size that the index names");
        assert_eq!(limit_of(read(bomb(3, u64::MAX), &small)), "max_block_bytes");
        let many = Limits { max_entries_per_block: 1000, ..limits };
        assert_eq!(limit_of(read(bomb(2, 0), &many)), "max_entries_per_block");
    }
}

#[test]
fn many_blocks_are_stopped_together() {
    let lines: Vec<u8> = (0..1000).flat_map(|_| line(5, b"")).collect();
    let block = Block::new(1000, 5, 5, 0, lines);
    let bytes = Handmade::new(2, NONE, vec![block; 50]).bytes();
    let limits = Limits { max_decoded_bytes: 1 << 20, ..Limits::default() };
    assert_eq!(read(bytes.clone(), &Limits::default()), Ok(50_000));
    assert_eq!(limit_of(read(bytes, &limits)), "max_decoded_bytes");
}

/// What was decompressed before a frame turned out to be damaged was free.
#[test]
#[cfg(feature = "zstd")]
fn blocks_that_are_decompressed_in_vain_are_stopped_together() {
    use std::io::Write;
    let mut frame = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    frame.include_checksum(true).unwrap();
    frame.write_all(&vec![0; 1 << 20]).unwrap();
    let mut stored = frame.finish().unwrap();
    *stored.last_mut().unwrap() ^= 1;
    let block = Block::new(1, 5, 5, 1 << 20, stored);
    let bytes = Handmade::new(3, ZSTD, vec![block; 40]).bytes();
    let limits = Limits { max_decoded_bytes: 8 << 20, ..Limits::default() };
    assert_eq!(read(bytes.clone(), &Limits::default()), Ok(0));
    assert_eq!(limit_of(read(bytes, &limits)), "max_decoded_bytes");
}

#[test]
fn blocks_are_counted() {
    let block = Block::new(0, 5, 5, 0, Vec::new());
    let bytes = Handmade::new(3, NONE, vec![block; 50]).bytes();
    let limits = Limits { max_blocks: 49, ..Limits::default() };
    assert_eq!(read(bytes.clone(), &Limits::default()), Ok(0));
    assert_eq!(limit_of(read(bytes, &limits)), "max_blocks");

    let options = BuilderOptions { block_size: 2, limits, ..BuilderOptions::default() };
    let mut builder = Builder::new(options).unwrap();
    for time in 0..49 {
        builder.append(Entry::new(time, "ab")).unwrap();
    }
    assert_eq!(limit_of(builder.append(Entry::new(49, "ab"))), "max_blocks");
    assert_eq!(read(builder.finish().unwrap().bytes.into(), &limits), Ok(49));
}

#[test]
fn symbols_are_stopped() {
    let list = |codec, count: usize, length: usize| {
        let mut list = Vec::new();
        for _ in 0..count {
            list.extend(handmade::uvarint(length as u64));
            list.extend(vec![b'a'; length]);
        }
        let mut chunk = Handmade::new(4, codec, Vec::new());
        chunk.symbols = (count as u64, compressed(codec, &list));
        chunk.bytes()
    };
    let limits = Limits { max_symbols: 100, max_symbol_bytes: 10_000, ..Limits::default() };
    for codec in codecs().chain([NONE]) {
        assert_eq!(read(list(codec, 100, 100), &limits), Ok(0));
        assert_eq!(limit_of(read(list(codec, 101, 0), &limits)), "max_symbols");
        assert_eq!(limit_of(read(list(codec, 100, 101), &limits)), "max_symbol_bytes");
        assert_eq!(limit_of(read(list(codec, 1, 1_000_000), &limits)), "max_symbol_bytes");
    }
    let mut claimed = Handmade::new(4, NONE, Vec::new());
    claimed.symbols = (u64::MAX, Vec::new());
    assert_eq!(limit_of(read(claimed.bytes(), &limits)), "max_symbols");
    claimed.symbols = (100, Vec::new());
    assert!(matches!(read(claimed.bytes(), &limits), Err(Error::Truncated { .. })));
}

#[test]
fn long_lines_and_large_objects_are_stopped() {
    let block = Block::new(1, 0, 0, 11, line(0, b"12345678901"));
    let bytes = Handmade::new(3, NONE, vec![block]).bytes();
    let limits = Limits { max_line_bytes: 10, ..Limits::default() };
    assert_eq!(limit_of(read(bytes.clone(), &limits)), "max_line_bytes");
    let limits = Limits { max_object_bytes: bytes.len() - 1, ..Limits::default() };
    assert_eq!(limit_of(read(bytes.clone(), &limits)), "max_object_bytes");
    assert_eq!(limit_of(Object::open(bytes, &limits)), "max_object_bytes");
}

#[test]
fn envelopes_are_stopped() {
    let mut builder = Builder::new(BuilderOptions::default()).unwrap();
    builder.append(Entry::new(0, "x")).unwrap();
    let chunk: EncodedChunk = builder.finish().unwrap();
    let names: Vec<String> = (0..20).map(|n| format!("name{n}")).collect();
    let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "value")).collect();
    let object = Envelope::new("t", &labels, &chunk).encode(&chunk.bytes).unwrap();
    let open = |limits: Limits| Object::open(object.bytes.clone(), &limits);
    assert_eq!(open(Limits::default()).unwrap().envelope.labels.len(), 21);
    assert_eq!(limit_of(open(Limits { max_labels: 20, ..Limits::default() })), "max_labels");
    assert_eq!(limit_of(open(Limits { max_envelope_bytes: 99, ..Limits::default() })), "max_envelope_bytes");
}

#[test]
fn a_line_that_compresses_as_well_as_can_be_is_written_and_read() {
    let line = vec![b'a'; 8 << 20];
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let mut builder = Builder::new(BuilderOptions { codec, ..BuilderOptions::default() }).unwrap();
        builder.append(Entry::new(0, &line)).unwrap();
        let chunk = Chunk::open(builder.finish().unwrap().bytes, &Limits::default()).unwrap();
        let mut entries = chunk.entries(.., Direction::Forward);
        assert!(entries.next().unwrap().is_some_and(|entry| entry.line == line));
    }
}

/// Lines that compress as well as logs hardly ever do.
fn repetitive(options: BuilderOptions) -> Builder {
    let mut builder = Builder::new(options).unwrap();
    for time in 0..2000 {
        let line = [b'a'; 1000];
        builder.append(Entry::new(time, &line[..])).unwrap();
    }
    builder
}

#[test]
fn a_ratio_that_the_codec_can_exceed_is_refused_before_anything_is_written() {
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let with = |max_ratio| {
            let limits = Limits { max_ratio, ..Limits::default() };
            BuilderOptions { codec, limits, ..BuilderOptions::default() }
        };
        let least = match Builder::new(with(10)) {
            Err(Error::InvalidOption { option: "max_ratio", value: 10, min, .. }) => min.try_into().unwrap(),
            Err(error) => panic!("{error}"),
            Ok(_) => 10,
        };
        assert_eq!(least == 10, [Codec::None, Codec::Zstd].contains(&codec), "{codec}");
        let options = with(least);
        let chunk = repetitive(options).finish().unwrap();
        assert_eq!(read(chunk.bytes.into(), &options.limits), Ok(2000), "{codec}");
        assert_eq!(
            collect(&mut repetitive(options).snapshot(..).entries(Direction::Forward)).unwrap().len(),
            2000
        );
    }
}

#[test]
fn a_builder_takes_no_more_than_one_reader_may_decode() {
    let limits = Limits { max_decoded_bytes: 20_000, ..Limits::default() };
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_supported()) {
        for line in ["", "a line that comes again and again", &"a".repeat(3000)] {
            let options = BuilderOptions { codec, limits, block_size: 5000, ..BuilderOptions::default() };
            let mut builder = Builder::new(options).unwrap();
            let mut taken = 0;
            let refused = loop {
                assert!(taken < 20_000, "{codec} is never refused");
                let entry = Entry::new(taken, line);
                let space = builder.space_for(&entry);
                let appended = builder.append(entry);
                assert_eq!(appended.is_ok(), space, "{codec}, entry {taken} of {} bytes", line.len());
                match appended {
                    Ok(_) => taken += 1,
                    refused => break refused,
                }
            };
            assert_eq!(limit_of(refused), "max_decoded_bytes");
            assert_eq!(read(builder.finish().unwrap().bytes.into(), &limits), Ok(taken.try_into().unwrap()));
        }
    }
}
