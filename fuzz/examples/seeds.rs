//! Writes the inputs of the corpus that no hand can write: those in binary formats, made by the crates' own encoders.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`

use std::fs;
use std::path::Path;

use forebay_chunk::loki::{Checkpoint, Envelope};
use forebay_chunk::{Builder, BuilderOptions, Chunk, Codec, EncodedChunk, Entry, Format, Limits};
use forebay_examples::record::Writer;
use forebay_ring::codec::{RecordKind, TokensRecord, encode_instance, encode_members, encode_tokens};
use forebay_ring::token_file::TokenFile;
use forebay_ring::{Features, Instance, Membership, ReadOnly, State, Version};
use forebay_wal::format::MAX_NUMBER;
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Lsn, Options, Time, Wal};

fn main() {
    chunks();
    logs();
    frames();
    accidents();
    lives();
    records();
    pushes();
    ring_records();
}

#[expect(clippy::disallowed_methods, reason = "a program's edge: it writes the corpus")]
fn write(target: &str, name: &str, bytes: &[u8]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&dir).expect("a directory in the checkout");
    fs::write(dir.join(name), bytes).expect("a file in the checkout");
    println!("{target}/{name}: {} bytes", bytes.len());
}

fn chunk(format: Format, codec: Codec) -> EncodedChunk {
    builder(format, codec, true).finish().expect("twelve entries")
}

fn builder(format: Format, codec: Codec, encode: bool) -> Builder {
    let mut builder =
        Builder::new(BuilderOptions { format, codec, block_size: 128, ..BuilderOptions::default() })
            .expect("options within their bounds");
    for number in 0..12 {
        let line = format!("level=info n={number} a line like its neighbours");
        let trace = [("trace_id", ["4bf9", "00f0"][number % 2]), ("pod", "api-0")];
        let entry = Entry::new(1_700_000_000_000_000_000 - 7 * number as i64 % 5, &line);
        let entry = if format.has_metadata() { entry.with_metadata(&trace) } else { entry };
        builder.append(entry).expect("a short line");
        while encode && let Some(block) = builder.take_full() {
            builder.attach(block.encode());
        }
    }
    builder
}

fn chunks() {
    for codec in [Codec::None, Codec::Snappy, Codec::Gzip] {
        for format in [Format::LokiV3, Format::LokiV4] {
            let chunk = chunk(format, codec);
            write("chunk_open", &format!("v{}-{codec}", format.version()), &chunk.bytes);
        }
    }
    for codec in Codec::ALL {
        let chunk =
            Chunk::open(chunk(Format::LokiV3, codec).bytes, &Limits::default()).expect("a whole chunk");
        let block = chunk.blocks()[0];
        let [start, size] =
            [block.offset, block.size_bytes].map(|at| usize::try_from(at).expect("a small chunk"));
        let stream = &chunk.bytes()[start..start + size];
        write("chunk_codec", codec.as_str(), &[&[codec.byte()][..], stream].concat());
    }
    for (name, format, encode) in [
        ("sealed", Format::LokiV4, false),
        ("encoded", Format::LokiV4, true),
        ("v3", Format::LokiV3, true),
        ("columnar", Format::Columnar, true),
    ] {
        let builder = builder(format, Codec::Snappy, encode);
        let mut checkpoint = Vec::new();
        builder.checkpoint(&mut checkpoint);
        write("chunk_checkpoint", name, &checkpoint);
        if name == "encoded" {
            let chunk = Checkpoint::of(&builder).expect("a builder of version 4").chunk;
            write("chunk_checkpoint", "loki", &chunk);
        }
    }
    let chunk = chunk(Format::LokiV4, Codec::Snappy);
    let object = Envelope::new("tenant-a", &[("app", "web"), ("env", "prod")], &chunk).encode(&chunk.bytes);
    write("chunk_envelope", "object", &object.expect("a small chunk").bytes);
}

/// First segments of logs in the states a crash leaves them in, without the zeros at their ends.
fn logs() {
    let options = Options {
        segment_bytes: 16 << 10,
        max_frame: 512,
        salt_seed: Some(1),
        time: Time::frozen(),
        ..Options::default()
    };
    let disk = SimFs::new(1);
    let save = |name: &str, disk: &SimFs| {
        let mut bytes = disk.peek("/log/wal-0000000000000001.seg").expect("the first segment");
        bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1));
        write("wal_segment", name, &bytes);
        bytes
    };
    let (wal, _) = Wal::open_in(disk.clone(), "/log", options).expect("an empty disk takes a log");
    wal.append("one record").expect("an empty log takes a record");
    wal.append_batch(["two", "", "in one batch"]).expect("an empty log takes a batch");
    let whole = save("records", &disk);
    write("wal_segment", "torn", &whole[..whole.len() - 5]);
    wal.append(vec![b'x'; 900]).expect("a record of two fragments fits");
    save("fragments", &disk);
    wal.truncate_before(Lsn(3)).expect("a log with four records has a third");
    wal.close().expect("an open log closes");
    save("closed", &disk);
}

/// Lists of frames as `wal_frames` takes them.
fn frames() {
    let frame = |kind, parts, step, records, synced, body: &[u8], lie| {
        let body_len = u8::try_from(body.len()).expect("a short body");
        [&[kind, parts, step, records, synced, body_len, lie, 0][..], body].concat()
    };
    let base = 1_u64.to_le_bytes().to_vec();
    let data = frame(1, 0, 0, 1, 8, b"\x01a", 0);
    write("wal_frames", "one", &[base.clone(), data.clone()].concat());
    let fragments =
        [frame(1, 1, 0, 0, 8, b"\x05ab", 0), frame(1, 2, 0, 0, 8, b"c", 0), frame(1, 3, 0, 1, 8, b"de", 0)];
    write("wal_frames", "fragments", &[base.clone(), fragments.concat()].concat());
    let close = frame(9, 0, 0, 0, 8, b"", 0);
    write("wal_frames", "closed", &[base.clone(), data.clone(), close].concat());
    let low = frame(6, 0, 0, 0, 8, &2_u64.to_le_bytes(), 0);
    write("wal_frames", "low-watermark", &[base.clone(), data.clone(), low].concat());
    let ignorable = frame(200, 0, 0, 3, 8, b"later", 0);
    write("wal_frames", "ignorable", &[base, ignorable, data.clone()].concat());
    write("wal_frames", "last-lsn", &[(MAX_NUMBER - 1).to_le_bytes().to_vec(), data.clone(), data].concat());
}

/// What happens to golden logs, as `wal_recover_dir` takes it, and frames with codecs.
fn accidents() {
    let edit =
        |what: u8, file: u8, at: u16, value: u8| [&[what, file][..], &at.to_le_bytes(), &[value]].concat();
    let save = |name: &str, log: u8, edits: &[Vec<u8>]| {
        write("wal_recover_dir", name, &[vec![log], edits.concat()].concat());
    };
    for (name, log) in
        ["plain", "aligned", "burned", "checkpoint", "recycled", "salvaged", "streams", "snappy", "zstd"]
            .iter()
            .zip(0..)
    {
        save(name, log, &[]);
        save(&format!("{name}-flipped"), log, &[edit(1, 0, 4250, 3)]);
    }
    // The only frame that names a stream with records.
    save("streams-unnamed", 6, &[edit(1, 1, 4281, 0)]);
    save("streams-headless", 6, &[edit(1, 1, 50, 0)]);
    save("torn", 0, &[edit(3, 2, 5300, 0)]);
    save("missing", 0, &[edit(4, 1, 0, 0)]);
    save("swapped", 0, &[edit(6, 1, 0, 2)]);
    save("cut", 0, &[edit(2, 2, 4700, 0)]);
    save("longer", 0, &[edit(5, 0, 0, 7)]);
    // The low watermark of the third segment's start, and its sums.
    save("forged-low", 0, &[edit(0, 2, 4096 + 32 + 48, 9), edit(7, 2, 4096 + 40, 0)]);
    save("forged-header", 3, &[edit(0, 1, 40, 9), edit(7, 1, 40, 0)]);

    let line = b"level=info msg=\"a line like its neighbours\" ".repeat(8);
    for (name, codec) in [("none", 0), ("snappy", 1), ("zstd", 2), ("reserved", 3)] {
        let frame = |lies: u8| [&[codec, lies][..], &(1_u32 << 20).to_le_bytes(), &line].concat();
        write("wal_codec", name, &frame(0));
        write("wal_codec", &format!("{name}-longer"), &frame(2));
        write("wal_codec", &format!("{name}-rubbish"), &frame(1));
    }
}

/// Programs of `wal_ops_vs_model` and `wal_reader_tail`.
fn lives() {
    let life = |name: &str, settings: u8, events: &[(u8, u16)]| {
        let events = events.iter().flat_map(|(what, how)| [&[*what][..], &how.to_le_bytes()].concat());
        write("wal_ops_vs_model", name, &[settings, 1].into_iter().chain(events).collect::<Vec<_>>());
    };
    life(
        "quiet",
        0,
        &[(0, 10), (4, 304), (8, 0), (9, 0), (2, 31), (7, 60), (6, 0), (10, 0), (0, 7 * 900), (11, 0)],
    );
    life(
        "power",
        0,
        &[(0, 300), (12, 5), (0, 40), (2, 32), (12, 9 + 32 * 77), (5, 304), (13, 3), (7, 50), (0, 1)],
    );
    life(
        "faults",
        1,
        &[(0, 5), (14, 2), (3, 33), (14, 35), (6, 0), (0, 9), (14, 32 * 2 + 4), (4, 24), (0, 2)],
    );
    life(
        "full",
        2,
        &[(0, 800), (15, 4096), (0, 7 * 500), (0, 7 * 500), (7, 100), (0, 7 * 500), (15, 1), (0, 10)],
    );
    life(
        "recycled",
        8,
        &[(0, 7 * 900), (0, 7 * 900), (7, 100), (9, 0), (0, 7 * 900), (12, 7), (0, 7 * 900), (7, 90)],
    );

    write("wal_reader_tail", "follow", &[7, 1, 0, 9, 8, 8, 2, 5, 8, 8, 4, 0, 8, 255, 0, 16, 8, 255]);
    write(
        "wal_reader_tail",
        "rotate",
        &[0, 9, 7, 1, 5, 0, 0, 32, 5, 0, 6, 100, 9, 255, 6, 100, 0, 1, 9, 255],
    );
    write(
        "wal_reader_tail",
        "fail",
        &[7, 1, 3, 9, 14, 2, 4, 0, 8, 255, 14, 1, 0, 7, 8, 255, 3, 1, 4, 0, 8, 255],
    );
    write("wal_reader_tail", "full", &[7, 1, 15, 0, 0, 240, 0, 240, 0, 240, 8, 255, 15, 1, 0, 240, 8, 255]);
}

fn records() {
    let mut writer = Writer::new("team-a", 256);
    writer.begin(&[("app", "api"), ("env", "prod")]);
    writer.entry(1_700_000_000_000_000_000, [b"first ", b"line"], &[("trace_id", "4bf9")]);
    writer.entry(1_699_999_999_999_999_999, [b"earlier", b""], &[]);
    writer.end();
    write("push_record", "one-stream", &writer.finish().all());

    let mut writer = Writer::new("fake", 256);
    for app in ["a", "b", "c"] {
        writer.begin(&[("app", app)]);
        writer.entry(i64::MIN, [b"\xff not text", b""], &[]);
        writer.entry(i64::MAX, [b"", b""], &[("", ""), ("k", "v")]);
        writer.end();
    }
    let push = writer.finish();
    write("push_record", "three-streams", &push.all());
    write("push_record", "middle-stream", &push.select(&[1]));
    write("push_record", "no-streams", &Writer::new("", 0).finish().all());
}

/// Loki's push message by hand: field numbers and lengths.
fn pushes() {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).expect("a short field")], bytes].concat()
    }
    let time = |seconds: u8, nanos: u8| field(1, &[8, seconds, 16, nanos]);
    let pair = [field(1, b"trace_id"), field(2, b"4bf9")].concat();
    let plain = [time(1, 2), field(2, b"a line")].concat();
    let rich = [time(3, 4), field(2, b"not \xff text"), field(3, &pair)].concat();
    let stream = [field(1, b"{app=\"api\"}"), field(2, &plain), field(2, &rich)].concat();
    let message = field(1, &stream);
    write("push_protobuf", "message", &message);
    write("push_protobuf", "two-streams", &[message.clone(), field(1, &field(1, b"{app=\"web\"}"))].concat());
    let block = snap::raw::Encoder::new().compress_vec(&message).expect("a short message");
    write("push_protobuf", "snappy", &block);
    write(
        "push_protobuf",
        "late-seconds",
        &field(1, &field(2, &field(1, &[8, 255, 255, 255, 255, 255, 255, 255, 255, 127]))),
    );
    let empty = |tag: u8| [&[0x0a, 0x80, 0x80, 4][..], &[tag, 0].repeat(32 << 10)].concat();
    let pack = |message: &[u8]| snap::raw::Encoder::new().compress_vec(message).expect("a short message");
    write("push_protobuf", "empty-entries", &pack(&empty(0x12)));
    write("push_protobuf", "empty-streams", &pack(&[0x0a, 0].repeat(32 << 10)));
}

/// One of each kind of record behind the byte that says so, and keys.
fn ring_records() {
    let instance = Instance {
        zone: "zone-a".into(),
        state: State::Active,
        tokens: vec![7, 300, 1 << 31, u32::MAX].into(),
        version: Version { incarnation: 2, sequence: 300 },
        registered_at_ns: 1_700_000_000_000_000_000,
        read_only: ReadOnly { enabled: true, changed_at_ns: -1 },
        features: Features::new([(1, 2), (300, 0)]).expect("two features"),
        ..Instance::new("ingester-0", "10.0.0.1:9095")
    };
    let save = |name: &str, kind: u8, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = vec![kind];
        encode(&mut bytes);
        write("ring_records", name, &bytes);
        bytes[0] |= 0x80;
        write("ring_records", &format!("{name}-mended"), &bytes);
    };
    save("instance", 0, &|out| encode_instance(&instance, 3, out).expect("within bounds"));
    let tokens = TokensRecord { id: instance.id.clone(), epoch: 3, tokens: instance.tokens.clone() };
    save("tokens", 1, &|out| encode_tokens(&tokens, out).expect("within bounds"));
    let mut members = Membership::default();
    members.observe(instance.clone(), 0);
    members.observe(Instance { state: State::Left, ..Instance::new("ingester-1", "") }, 0);
    save("members", 2, &|out| encode_members(&members, out).expect("within bounds"));
    let file = TokenFile {
        id: instance.id.clone(),
        zone: instance.zone.clone(),
        epoch: 3,
        tokens: instance.tokens.clone(),
        incarnation: 2,
        read_only: instance.read_only,
    };
    save("file", 3, &|out| file.encode(out).expect("within bounds"));
    let key = RecordKind::Tokens.key("zone a/7");
    write("ring_records", "key", &[&[4], key.as_bytes()].concat());
}
