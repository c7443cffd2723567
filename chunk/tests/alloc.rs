//! How often memory is asked for, and for how much at once, by a counting allocator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use allocation_counter::measure;
use forebay_chunk::{Builder, BuilderOptions, Chunk, Codec, Direction, Entry, Error, Format, Limits};

#[path = "support/handmade.rs"]
mod handmade;
use handmade::{Block, Handmade};

fn codecs() -> impl Iterator<Item = Codec> {
    Codec::ALL.into_iter().filter(|codec| codec.is_supported())
}

fn lines(count: i64) -> Vec<String> {
    (0..count).map(|n| format!("level=info msg=\"request {n} done\" took={}ms", n * 7919 % 1000)).collect()
}

fn append_all(builder: &mut Builder, first: i64, lines: &[String]) {
    for (time, line) in (first..).zip(lines) {
        builder.append(Entry::new(time, line).with_metadata(&[("pod", "a-1")])).unwrap();
    }
}

#[test]
fn appending_asks_for_memory_by_the_page_and_not_by_the_line() {
    let lines = lines(20_000);
    let bytes: usize = lines.iter().map(String::len).sum();
    let mut builder =
        Builder::new(BuilderOptions { block_size: 64 << 20, ..BuilderOptions::default() }).unwrap();
    let info = measure(|| append_all(&mut builder, 0, &lines));
    // Two times for each page of lines, of 1024 rows and of 4096 pairs, then lists of pages, and what a first page
    // grows from.
    let pages = bytes / (32 << 10) + 20_000 / 1024 + 20_000 / 4096;
    assert!(info.count_total <= 2 * pages as u64 + 60, "{} for {pages} pages", info.count_total);
    assert!(builder.memory_bytes() < 2 * bytes, "{} for {bytes} bytes", builder.memory_bytes());
    // What it says of itself is what it has taken.
    let said = u64::try_from(builder.memory_bytes() - size_of::<Builder>()).unwrap();
    let taken = u64::try_from(info.bytes_current).unwrap();
    assert!(said.abs_diff(taken) < 1024, "{said} said, {taken} taken");
}

#[test]
fn an_append_while_a_snapshot_lives_copies_a_page_and_no_block() {
    let lines = lines(20_000);
    let mut builder =
        Builder::new(BuilderOptions { block_size: 64 << 20, ..BuilderOptions::default() }).unwrap();
    append_all(&mut builder, 0, &lines);
    let mut snapshot = None;
    let taking = measure(|| snapshot = Some(builder.snapshot(..)));
    assert!(taking.bytes_total < 4 << 10, "{} bytes for a snapshot", taking.bytes_total);
    let after = ["after the snapshot".to_owned()];
    let first = measure(|| append_all(&mut builder, 20_000, &after));
    assert!(first.bytes_total <= 3 * (32 << 10) + (16 << 10), "{} bytes", first.bytes_total);
    // A duplicate, of which none is stored, copies nothing.
    let again = builder.snapshot(..);
    let duplicate = measure(|| append_all(&mut builder, 0, &lines[..1]));
    assert!(duplicate.bytes_max < 1 << 20, "{} bytes for the hashes", duplicate.bytes_max);
    let duplicate = measure(|| append_all(&mut builder, 0, &lines[..1]));
    assert_eq!(duplicate.count_total, 0, "{} bytes", duplicate.bytes_total);
    assert_eq!(builder.entries(), 20_001);
    drop((snapshot, again));
}

#[test]
fn a_full_read_asks_for_memory_by_the_block_and_not_by_the_line() {
    let lines = lines(20_000);
    for (format, codec) in codecs().flat_map(|codec| [(Format::LokiV3, codec), (Format::LokiV4, codec)]) {
        let options = BuilderOptions { format, codec, block_size: 64 << 10, ..BuilderOptions::default() };
        let mut builder = Builder::new(options).unwrap();
        for (time, line) in (0..).zip(&lines) {
            let entry = Entry::new(time, line);
            let pairs = [("pod", "a-1")];
            let entry = if format.has_metadata() { entry.with_metadata(&pairs) } else { entry };
            builder.append(entry).unwrap();
        }
        let chunk = Chunk::open(builder.finish().unwrap().bytes, &Limits::default()).unwrap();
        let blocks = chunk.blocks().len() as u64;
        for direction in [Direction::Forward, Direction::Backward] {
            let mut bytes = 0;
            let mut read = || {
                let mut entries = chunk.entries(.., direction);
                while let Some(entry) = entries.next().unwrap() {
                    bytes +=
                        entry.line.len() + entry.metadata.iter().map(|(_, value)| value.len()).sum::<usize>();
                }
            };
            read();
            let info = measure(|| {
                let mut entries = chunk.entries(.., direction);
                while let Some(entry) = entries.next().unwrap() {
                    bytes += entry.line.len();
                }
            });
            assert!(bytes > 0);
            assert!(
                info.count_total < 3 * blocks + 40,
                "{format} {codec}: {} for {blocks} blocks",
                info.count_total
            );
        }
    }
}

/// Twice the limit, for a buffer that grows is there twice for a moment.
#[test]
fn a_bomb_takes_no_more_memory_than_the_limits_allow() {
    let limits = Limits { max_block_bytes: 1 << 20, max_symbol_bytes: 1 << 20, ..Limits::default() };
    let zeros = vec![0; 4 << 20];
    for codec in codecs() {
        let stored = compressed(codec, &zeros);
        for version in 2..=4 {
            let block = Block::new(1 << 20, 0, 0, u64::MAX, stored.clone());
            let bytes = Handmade::new(version, codec.byte(), vec![block]);
            let bytes = Handmade { symbols: empty_list(codec), ..bytes }.bytes();
            let mut found = None;
            let info = measure(|| {
                let chunk = Chunk::open(bytes.clone(), &limits).unwrap();
                found = Some(chunk.entries(.., Direction::Forward).next().map(|entry| entry.is_some()));
            });
            assert!(matches!(found, Some(Err(Error::LimitExceeded { .. }))), "{codec}: {found:?}");
            let most = 2 * (1 << 20) + bytes.len() as u64 + (512 << 10);
            assert!(info.bytes_max <= most, "version {version} {codec}: {} bytes", info.bytes_max);
        }
        let mut symbols = Handmade::new(4, codec.byte(), Vec::new());
        symbols.symbols = (10, stored);
        let bytes = symbols.bytes();
        let info = measure(|| assert!(Chunk::open(bytes.clone(), &limits).is_err()));
        let most = 2 * (1 << 20) + bytes.len() as u64 + (512 << 10);
        assert!(info.bytes_max <= most, "symbols {codec}: {} bytes", info.bytes_max);
    }
}

#[test]
fn claims_that_no_bytes_back_take_nothing() {
    let mut many = Handmade::new(3, handmade::NONE, Vec::new());
    many.count_error = 1 << 40;
    let entries = Handmade::new(3, handmade::NONE, vec![Block::new(1 << 22, 0, 0, u64::MAX, vec![0; 10])]);
    let mut symbols = Handmade::new(4, handmade::NONE, Vec::new());
    symbols.symbols = (1 << 19, Vec::new());
    for chunk in [many, entries, symbols] {
        let bytes = chunk.bytes();
        let info = measure(|| {
            let chunk = Chunk::open(bytes.clone(), &Limits::default());
            let read =
                chunk.map(|chunk| chunk.entries(.., Direction::Forward).next().map(|entry| entry.is_some()));
            assert!(!matches!(read, Ok(Ok(_))));
        });
        assert!(info.bytes_max < 64 << 10, "{} bytes", info.bytes_max);
    }
}

/// What a builder makes of one line, without what is around it.
fn compressed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let limits = Limits { max_line_bytes: 1 << 30, ..Limits::default() };
    let options = BuilderOptions { format: Format::LokiV3, codec, limits, ..BuilderOptions::default() };
    let mut builder = Builder::new(options).unwrap();
    builder.append(Entry::new(0, plain)).unwrap();
    let bytes = builder.finish().unwrap().bytes;
    let chunk = Chunk::open(bytes.clone(), &limits).unwrap();
    let block = chunk.blocks()[0];
    bytes[usize::try_from(block.offset).unwrap()..][..usize::try_from(block.size_bytes).unwrap()].to_vec()
}

/// A list of no symbols, as the codec stores it.
fn empty_list(codec: Codec) -> (u64, Vec<u8>) {
    let mut builder = Builder::new(BuilderOptions { codec, ..BuilderOptions::default() }).unwrap();
    builder.append(Entry::new(0, "")).unwrap();
    let bytes = builder.finish().unwrap().bytes;
    let first = Chunk::open(bytes.clone(), &Limits::default()).unwrap().blocks()[0].offset;
    (0, bytes[7..usize::try_from(first).unwrap() - 4].to_vec())
}
