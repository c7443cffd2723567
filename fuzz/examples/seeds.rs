//! Writes the inputs of the corpus that no hand can write: those in binary formats, made by the crates' own encoders.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use forebay_chunk::loki::{Checkpoint, Envelope};
use forebay_chunk::{Builder, BuilderOptions, Chunk, Codec, EncodedChunk, Entry, Format, Limits, Profile};
use forebay_examples::push::otlp::messages::{
    Any, AnyValue, ArrayValue, ExportLogsServiceRequest, InstrumentationScope, KeyValue, KeyValueList,
    LogRecord, Resource, ResourceLogs, ScopeLogs,
};
use forebay_examples::record::Writer;
use forebay_ring::codec::{RecordKind, TokensRecord, encode_instance, encode_members, encode_tokens};
use forebay_ring::partition::{Lock, Owner, OwnerState, Partition, PartitionRecord, PartitionState};
use forebay_ring::token_file::TokenFile;
use forebay_ring::{Features, Instance, Membership, ReadOnly, State, Version};
use forebay_wal::format::MAX_NUMBER;
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Lsn, Options, Time, Wal};
use prost::Message;

fn main() {
    chunks();
    columns();
    searches();
    logs();
    frames();
    accidents();
    lives();
    records();
    pushes();
    hostile_pushes();
    exports();
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

/// A columnar chunk of two groups or more, whose streams are short enough to be stored as they are.
fn columnar(block_size: usize, metadata: bool, lines: impl Iterator<Item = String>) -> Vec<u8> {
    let options = BuilderOptions { block_size, ..BuilderOptions::columnar(Profile::Fast) };
    let mut builder = Builder::new(options).expect("options within their bounds");
    for (number, line) in (0..).zip(lines) {
        let span = format!("{:08x}", number * 0x0123_4567);
        let pairs = [("pod", ["api-0", "api-1"][number as usize % 2]), ("span", &span)];
        let entry = Entry::new(number * 60_000_000_000, &line);
        let entry = if metadata { entry.with_metadata(&pairs) } else { entry };
        builder.append(entry).expect("a short line");
    }
    builder.finish().expect("some lines").bytes.to_vec()
}

fn columns() {
    let mixed = |n: i64| match n % 4 {
        0 => format!("2026-11-30 06:{n:02}:00 user {} took {} ms", n % 4, n * 71),
        1 => format!("trace {:016x} from 10.0.{n}.7", n * 0x1234_5678_9ABC),
        2 => format!("id {:08x}-{:04x}-4000-8000-{:012x} again {n} {n}", n * 0x9E37, n, n * n),
        _ => format!("odd {}", "x".repeat(n as usize % 5)),
    };
    write("chunk_columnar", "columns", &columnar(20 * 64, true, (0..48).map(mixed)));
    let took = |n: i64| format!("took {} ms of {:05}", n * n * 7919 % 100_000, n * 37);
    write("chunk_columnar", "numbers", &columnar(64 * 64, false, (0..160).map(took)));
    let whole = |n: i64| format!("{n}: {}", "ab".repeat(n as usize));
    write("chunk_columnar", "whole-lines", &columnar(5 * 64, true, (0..9).map(whole)));
}

/// Texts, and lines to search them in.
fn searches() {
    let search = |name: &str, text: &str, line: &dyn Fn(u64) -> String| {
        let lines: Vec<String> = (0..150).map(line).collect();
        let length = u8::try_from(text.len()).expect("a short text");
        let data = [&[length][..], text.as_bytes(), lines.join("\n").as_bytes()].concat();
        write("chunk_filter", name, &data);
    };
    search("across-slots", "user 3 took 2", &|n| format!("user {} took {} ms", n % 7, n * 31 % 400));
    search("in-a-time", ":07.0", &|n| format!("2026-03-07 12:00:{:02}.{:03} GET /a", n % 60, n * 7 % 1000));
    search("hex", "0xde", &|n| format!("at 0x{:x} and 0xquit {:08X}", n * 0xDEAD, n * 0x1234_5678));
    search("repeated", "71 and 71", &|n| {
        format!("from {n} and {n}: {}", ["cart", "order", "Cart"][n as usize % 3])
    });
    search("nowhere", "zqxwvut", &|n| format!("level=info id={n} msg=\"request {} done\"", n * 977));
    search("raw", "\u{e4}b", &|n| "\u{e4}b\u{fc}".repeat((n * n % 11) as usize));
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
    write("push_record", "middle-stream", push.select(&[1]).bytes());
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

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("far below 4 GiB")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes).and_then(|()| out.finish()).expect("memory takes all")
}

/// A field of bytes of any length.
fn long_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    forebay_examples::varint::write_slice(&mut out, bytes);
    out
}

/// What only somebody sends who means harm, or has a bug: bombs of every codec, lengths that lie, labels without end,
/// text that is none, and lists within lists.
fn hostile_pushes() {
    // One byte more than the body may unpack to, and a little more than the codec's buffer.
    let bomb = vec![b' '; (1 << 20) + (64 << 10)];
    write("push_json", "bomb-gzip", &gzip(&bomb));
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    write("push_json", "bomb-zlib", &zlib.write_all(&bomb).and_then(|()| zlib.finish()).expect("in memory"));
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::best());
    write(
        "push_json",
        "bomb-deflate",
        &bare.write_all(&bomb).and_then(|()| bare.finish()).expect("in memory"),
    );
    write("push_protobuf", "bomb-snappy", &snappy(&bomb));
    write("push_otlp", "bomb-gzip", &gzip(&bomb));

    let message =
        long_field(1, &[long_field(1, b"{a=\"b\"}"), long_field(2, &long_field(2, b"line"))].concat());
    let honest = snappy(&message);
    write("push_protobuf", "lying-block", &[&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &honest[1..]].concat());
    write("push_protobuf", "block-that-says-more", &[&[honest[0] + 1][..], &honest[1..]].concat());
    write("push_protobuf", "block-that-says-less", &[&[honest[0] - 1][..], &honest[1..]].concat());
    for (name, length) in [("past-the-end", &[0x7f][..]), ("of-64-bits", &[0xff; 9][..])] {
        let lie = [&[0x0a][..], length, &[0x01], &message[2..]].concat();
        write("push_protobuf", &format!("length-{name}"), &snappy(&lie));
        write("push_otlp", &format!("length-{name}"), &lie);
    }

    let many = format!("{{{}}}", "a=\"\",".repeat(150_000));
    let many = long_field(1, &[long_field(1, many.as_bytes()), vec![0x12, 0]].concat());
    write("push_protobuf", "many-labels", &snappy(&many));
    let many: Vec<String> = (0..20_000).map(|n| format!("\"l{n}\":\"x\"")).collect();
    let many = format!("{{\"streams\":[{{\"stream\":{{{}}},\"values\":[[\"1\",\"\"]]}}]}}", many.join(","));
    write("push_json", "many-labels-gzip", &gzip(many.as_bytes()));

    let not_utf8 = long_field(1, &[long_field(1, b"{a=\"\xff\"}"), vec![0x12, 0]].concat());
    write("push_protobuf", "labels-not-utf8", &not_utf8);
    let stream = |labels: &[u8], line: &[u8]| {
        let parts =
            [&b"{\"streams\":[{\"stream\":{"[..], labels, b"},\"values\":[[\"1\",\"", line, b"\"]]}]}"];
        parts.concat()
    };
    write("push_json", "labels-not-utf8", &stream(b"\"a\":\"\xff\"", b"x"));
    write("push_json", "line-not-utf8", &stream(b"\"a\":\"b\"", b"\xc3\x28"));
    write("push_json", "lone-surrogate", &stream(b"\"a\":\"b\"", b"\\ud800"));
    write("push_json", "surrogates-swapped", &stream(b"\"a\":\"\\udc00\\ud800\"", b"x"));
    write("push_json", "deep", &[b"{\"x\":".as_slice(), &b"[".repeat(10_000)].concat());
    write("push_json", "deep-objects", &b"{\"streams\":".repeat(1_000));
    let line = r#"{"ts":"2023-11-14T22:13:20.123456789+01:00","line":"x"}"#;
    let legacy = format!(r#"{{"streams":[{{"labels":"{{a=\"b\"}}","entries":[{line},{line}]}}]}}"#);
    write("push_json", "legacy-nanoseconds", legacy.as_bytes());
}

/// Exports of OpenTelemetry's logs, and hostile ones.
fn exports() {
    let any = |value| Some(AnyValue { value: Some(value) });
    let pair = |key: &str, value| KeyValue { key: key.into(), value: any(value) };
    let string = |text: &str| Any::String(text.into());
    let map =
        Any::Kvlist(KeyValueList { values: vec![pair("method", string("GET")), pair("bytes", Any::Int(7))] });
    let list = ArrayValue {
        values: [string("a"), Any::Double(0.5), map.clone()]
            .into_iter()
            .map(|v| any(v).expect("a value"))
            .collect(),
    };
    let record = |body| LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000,
        observed_time_unix_nano: 1_700_000_000_000_000_001,
        severity_number: 9,
        severity_text: "INFO".into(),
        body: any(body),
        attributes: vec![
            pair("http", map.clone()),
            pair("raw", Any::Bytes(vec![0xff, 0])),
            pair("ok", Any::Bool(true)),
        ],
        dropped_attributes_count: 1,
        flags: 1,
        trace_id: (1..=16).collect(),
        span_id: (1..=8).collect(),
        event_name: "event".into(),
    };
    let request = |attributes, log_records| {
        let scope = InstrumentationScope {
            name: "scope".into(),
            version: "1".into(),
            ..InstrumentationScope::default()
        };
        let logs = ResourceLogs {
            resource: Some(Resource { attributes, dropped_attributes_count: 0 }),
            scope_logs: vec![ScopeLogs { scope: Some(scope), log_records }],
        };
        ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
    };
    let attributes = vec![pair("service.name", string("shop")), pair("host.name", string("node-1"))];
    let whole =
        request(attributes, vec![record(string("a line")), record(Any::Array(list)), record(map.clone())]);
    write("push_otlp", "protobuf", &whole);
    write("push_otlp", "protobuf-gzip", &gzip(&whole));
    let large = vec![pair("large", string(&"x".repeat(20_000)))];
    write("push_otlp", "repeated-resource-gzip", &gzip(&request(large, vec![LogRecord::default(); 2_000])));
    let escaped =
        Any::Array(ArrayValue { values: vec![any(string(&"\u{1}".repeat(200_000))).expect("a value")] });
    write("push_otlp", "escapes-gzip", &gzip(&request(vec![pair("a", escaped)], vec![record(string(""))])));
    let deep = (0..1_000).fold(Vec::new(), |inner, _| long_field(5, &long_field(1, &inner)));
    let logs = long_field(1, &long_field(2, &long_field(2, &long_field(5, &deep))));
    write("push_otlp", "deep", &logs);
    let json = br#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeLogs":[{"scope":{"name":"s"},"logRecords":[{"timeUnixNano":"1700000000000000000","severityNumber":9,"traceId":"0102030405060708090a0b0c0d0e0f10","body":{"kvlistValue":{"values":[{"key":"k","value":{"arrayValue":{"values":[{"intValue":"7"},{"doubleValue":0.5},{"bytesValue":"/w=="}]}}}]}},"attributes":[{"key":"a.b","value":{"boolValue":true}}]}]}]}]}"#;
    write("push_otlp", "json", json);
    write("push_otlp", "json-gzip", &gzip(json));
    write("push_otlp", "json-deep", &br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":"#.iter().copied().chain(br#"{"arrayValue":{"values":["#.repeat(1_000)).collect::<Vec<u8>>());
    write(
        "push_otlp",
        "json-lone-surrogate",
        br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"\udead"}}]}]}]}"#,
    );
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
    let lock = Lock { locked: true, changed_at_ns: i64::MIN, version: 1 << 40 };
    let partition =
        Partition { state: PartitionState::Inactive, version: 9, lock, ..Partition::new(300, -1) };
    save("partition", 5, &|out| PartitionRecord::from(partition).encode(out).expect("within bounds"));
    let owner = Owner { state: OwnerState::Deleted, version: 300, ..Owner::new("ingester-0", u32::MAX, 5) };
    save("owner", 5, &|out| PartitionRecord::from(owner.clone()).encode(out).expect("within bounds"));
    let key = RecordKind::Tokens.key("zone a/7");
    write("ring_records", "key", &[&[4], key.as_bytes()].concat());
}
