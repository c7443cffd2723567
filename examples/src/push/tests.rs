use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use forebay_agent::logproto::{EntryAdapter, LabelPair, PushRequest, StreamAdapter, Timestamp};
use proptest::prelude::*;
use prost::Message;

use super::*;

const LIMIT: u64 = 1 << 20;

fn room() -> Room {
    Intake::new(u64::MAX).enter(LIMIT)
}

fn message() -> PushRequest {
    PushRequest {
        streams: vec![StreamAdapter {
            labels: "{app=\"x\"}".into(),
            entries: vec![EntryAdapter {
                timestamp: Some(Timestamp { seconds: 1, nanos: 2 }),
                line: Bytes::from_static(b"not \xff utf-8"),
                structured_metadata: vec![LabelPair { name: "trace".into(), value: "7".into() }],
            }],
        }],
    }
}

fn snappy(bytes: &[u8]) -> Bytes {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap().into()
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap().into()
}

/// All of `body`, as it is given.
fn streams<'a>(body: &'a Body, room: &mut Room) -> Result<Vec<Stream<'a>>, PushError> {
    let mut all = Vec::new();
    body.each_stream(room, |stream| all.push(stream.clone()))?;
    Ok(all)
}

fn check(body: &Body) {
    let streams = streams(body, &mut room()).unwrap();
    assert_eq!(streams[0].labels, LabelSet::Text("{app=\"x\"}".into()));
    assert_eq!(streams[0].lines[0].timestamp_ns, 1_000_000_002);
    assert_eq!(streams[0].lines[0].line.as_ref(), b"not \xff utf-8");
    assert_eq!(streams[0].lines[0].metadata, [("trace".into(), "7".into())]);
}

#[test]
fn protobuf_comes_as_a_raw_block_with_the_header_without_it_and_in_gzip() {
    let block = snappy(&message().encode_to_vec());
    for (encoding, body) in [
        (Encoding::Identity, block.clone()),
        (Encoding::Snappy, block.clone()),
        (Encoding::Gzip, gzip(&block)),
    ] {
        check(&Body::unpack(body, ContentType::Protobuf, encoding, &mut room()).unwrap());
    }
}

#[test]
fn json_comes_plain_and_in_gzip_zlib_and_bare_deflate() {
    let text = br#"{"streams":[{"stream":{"b":"2","a":"x\n"},"values":[["1","l1"],["2","l\u0032",{"k":"v"}]],"extra":[1]}],"more":{}}"#;
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(text).unwrap();
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
    bare.write_all(text).unwrap();
    for (encoding, body) in [
        (Encoding::Identity, Bytes::from_static(text)),
        (Encoding::Gzip, gzip(text)),
        (Encoding::Deflate, zlib.finish().unwrap().into()),
        (Encoding::Deflate, bare.finish().unwrap().into()),
    ] {
        let body = Body::unpack(body, ContentType::Json, encoding, &mut room()).unwrap();
        let streams = streams(&body, &mut room()).unwrap();
        assert_eq!(
            streams[0].labels,
            LabelSet::Pairs(vec![("b".into(), "2".into()), ("a".into(), "x\n".into())])
        );
        assert_eq!(streams[0].lines[1].line.as_ref(), b"l2");
        assert_eq!(streams[0].lines[1].metadata, [("k".into(), "v".into())]);
        assert!(matches!(streams[0].lines[0].line, Cow::Borrowed(_)), "a line without escapes is not copied");
    }
}

#[test]
fn what_does_not_decode_is_malformed_and_says_where() {
    let cases: [(ContentType, &[u8], &str); 9] = [
        (ContentType::Protobuf, b"\x05abc", "snappy"),
        (ContentType::Protobuf, &snappy(b"\x0a\xff\xff\xff\x7f"), "protobuf"),
        (ContentType::Json, b"{", "JSON"),
        (ContentType::Json, br#"{"streams":[{"stream":{"a":1},"values":[]}]}"#, "JSON"),
        (ContentType::Json, br#"{"streams":[{"stream":{},"values":[["x","l"]]}]}"#, "not nanoseconds"),
        (ContentType::Json, br#"{"streams":[{"stream":{},"values":[["1"]]}]}"#, "structured metadata"),
        (
            ContentType::Json,
            br#"{"streams":[{"stream":{},"values":[["1","l",{},0]]}]}"#,
            "structured metadata",
        ),
        (ContentType::Json, b"{\"streams\":[{\"stream\":{\"a\":\"\xff\"},\"values\":[]}]}", "JSON"),
        (ContentType::Json, br#"{"values":[]}"#, "streams"),
    ];
    for (content, body, expected) in cases {
        let error = Body::unpack(Bytes::copy_from_slice(body), content, Encoding::Identity, &mut room())
            .and_then(|body| streams(&body, &mut room()).map(drop))
            .unwrap_err();
        assert!(matches!(error, PushError::Malformed { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error} does not name {expected}");
    }
}

/// What was sent before there were values; `ts` as Go and Python write it.
#[test]
fn the_old_shape_has_labels_as_text_and_times_of_rfc_3339() {
    let text = br#"{"streams":[{"labels":"{a=\"b\"}","entries":[
        {"ts":"1970-01-01T00:00:01.000000002Z","line":"one"},
        {"line":"t\u0077o","more":[{}],"ts":"1970-01-01T01:00:00.5+01:00"}]},
        {"entries":[],"labels":"{}"}]}"#;
    let body = Body::Json(Bytes::from_static(text));
    let streams = streams(&body, &mut room()).unwrap();
    let line = |timestamp_ns, line: &'static str| Line {
        timestamp_ns,
        line: Cow::Borrowed(line.as_bytes()),
        metadata: Vec::new(),
    };
    let lines = vec![line(1_000_000_002, "one"), line(500_000_000, "two")];
    let labels = LabelSet::Text("{a=\"b\"}".into());
    let empty = Stream { labels: LabelSet::Text("{}".into()), lines: Vec::new() };
    assert_eq!(streams, [Stream { labels, lines }, empty]);
}

#[test]
fn an_entry_of_the_old_shape_needs_a_time_and_a_line_and_a_stream_its_labels_once() {
    for (stream, expected) in [
        (r#""labels":"{}","entries":[{"line":"x"}]"#, "missing field `ts`"),
        (r#""labels":"{}","entries":[{"ts":"2024-01-01T00:00:00Z"}]"#, "missing field `line`"),
        (r#""labels":"{}","entries":[{"ts":"soon","line":"x"}]"#, "timestamp \"soon\" is not of RFC 3339"),
        (r#""labels":"{}","entries":[{"ts":1,"line":"x"}]"#, "expected a string"),
        (r#""labels":"{}","entries":[{"ts":"9999-01-01T00:00:00Z","line":"x"}]"#, "does not fit 64 bits"),
        (r#""labels":"{}","entries":{}"#, "expected a list of entries"),
        (r#""labels":"{}","stream":{}"#, "duplicate field `stream`"),
        (r#""values":[],"labels":"{}","entries":[]"#, "duplicate field `entries`"),
        (r#""labels":{"a":"b"}"#, "expected a string"),
        (r#""entries":[]"#, "missing field `stream`"),
    ] {
        let body = Body::Json(format!("{{\"streams\":[{{{stream}}}]}}").into());
        let error = streams(&body, &mut room()).unwrap_err();
        assert!(matches!(error, PushError::Malformed { what: "JSON", .. }), "{stream}: {error:?}");
        assert!(error.to_string().contains(expected), "{stream}: {error}");
    }
}

/// serde quotes a text that stands where it is not wanted, escaped: five bytes for each of half a gigabyte.
#[test]
fn no_error_is_as_long_as_what_it_is_about() {
    let long = "\\u0001".repeat(100_000);
    for body in [
        r#""X""#,
        r#"{"streams":"X"}"#,
        r#"{"streams":["X"]}"#,
        r#"{"streams":[{"stream":"X"}]}"#,
        r#"{"streams":[{"stream":{},"values":"X"}]}"#,
        r#"{"streams":[{"stream":{},"values":["X"]}]}"#,
        r#"{"streams":[{"stream":{},"values":[["X","l"]]}]}"#,
        r#"{"streams":[{"stream":{},"values":[["1","l","X"]]}]}"#,
        r#"{"streams":[{"labels":"{}","entries":"X"}]}"#,
        r#"{"streams":[{"labels":"{}","entries":["X"]}]}"#,
        r#"{"streams":[{"labels":"{}","entries":[{"ts":"X","line":"l"}]}]}"#,
    ] {
        let text = body.replace('X', &long);
        let body = Body::Json(text.into_bytes().into());
        let error = streams(&body, &mut Intake::new(u64::MAX).enter(u64::MAX)).unwrap_err().to_string();
        assert!(error.len() < 1024, "{} bytes: {:?}", error.len(), error.get(..100));
    }
}

/// The decoders of flate2 take the end of their input for the end of the stream: of a message cut at a field, what was
/// left would have been stored and acknowledged as the whole.
#[test]
fn a_packed_body_that_is_cut_short_is_malformed_wherever_it_is_cut() {
    let text = br#"{"streams":[{"stream":{"a":"b"},"values":[["1","l1"],["2","l2"]]}]}"#;
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(text).unwrap();
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
    bare.write_all(text).unwrap();
    for (encoding, body) in [
        (Encoding::Snappy, snappy(text)),
        (Encoding::Gzip, gzip(text)),
        (Encoding::Deflate, zlib.finish().unwrap().into()),
        (Encoding::Deflate, bare.finish().unwrap().into()),
    ] {
        assert_eq!(encoding.unpack(body.clone(), &mut room()).unwrap(), text.as_slice());
        for end in 0..body.len() {
            let cut = encoding.unpack(body.slice(..end), &mut room());
            assert!(matches!(cut, Err(PushError::Malformed { .. })), "{encoding:?} cut at {end}: {cut:?}");
        }
    }
}

#[test]
fn a_timestamp_outside_64_bits_of_nanoseconds_is_malformed() {
    let mut request = message();
    request.streams[0].entries[0].timestamp = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
    let body = Body::Protobuf(request.encode_to_vec().into());
    assert!(matches!(streams(&body, &mut room()), Err(PushError::Malformed { what: "timestamp", .. })));
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let zeros = vec![b' '; 8 << 20];
    for (content, encoding, body) in [
        (ContentType::Json, Encoding::Gzip, gzip(&zeros)),
        (ContentType::Json, Encoding::Identity, Bytes::from(zeros.clone())),
        (ContentType::Protobuf, Encoding::Snappy, snappy(&zeros)),
        (ContentType::Protobuf, Encoding::Gzip, gzip(&snappy(&zeros))),
    ] {
        let error = Body::unpack(body, content, encoding, &mut room()).unwrap_err();
        assert!(matches!(error, PushError::TooLarge { limit: LIMIT, .. }), "{error:?}");
    }
}

#[test]
fn a_block_that_claims_more_than_it_can_hold_costs_no_memory() {
    let lie = Bytes::from_static(&[0xff, 0xff, 0xff, 0x0f, 0, 0]);
    let error = Encoding::Snappy.unpack(lie, &mut Intake::new(u64::MAX).enter(u64::MAX)).unwrap_err();
    assert!(matches!(error, PushError::Malformed { .. }), "{error:?}");
}

#[test]
fn content_types_and_encodings_are_known_or_refused() {
    assert_eq!(ContentType::parse(None), Ok(ContentType::Protobuf));
    assert_eq!(ContentType::parse(Some("application/JSON; charset=utf-8")), Ok(ContentType::Json));
    assert!(matches!(ContentType::parse(Some("text/plain")), Err(PushError::ContentType(_))));
    assert_eq!(Encoding::parse(Some("GZIP")), Ok(Encoding::Gzip));
    assert!(matches!(Encoding::parse(Some("br")), Err(PushError::Encoding(_))));
}

#[test]
fn no_streams_is_its_own_answer() {
    let body = Body::Json(Bytes::from_static(br#"{"streams":[]}"#));
    for body in [body, Body::Protobuf(Bytes::new())] {
        assert_eq!(body.each_stream(&mut room(), |_| panic!("none")), Err(PushError::NoStreams));
    }
}

/// A field of bytes by hand.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    crate::varint::write_slice(&mut out, bytes);
    out
}

/// Two bytes of a body stood for a line of 56 and an entry of 80: 500 MiB took tens of GB.
#[test]
fn what_a_body_decodes_to_is_limited_as_the_body_is() {
    let many = |part: &str| vec![part; 40_000].join(",");
    let json = |streams: String| Body::Json(format!("{{\"streams\":[{streams}]}}").into());
    let protobuf = |message: Vec<u8>| Body::Protobuf(message.into());
    for (what, body) in [
        ("entries", protobuf(field(1, &[0x12, 0].repeat(40_000)))),
        ("metadata", protobuf(field(1, &field(2, &[0x1a, 0].repeat(40_000))))),
        ("streams", protobuf([0x0a, 0].repeat(40_000))),
        ("streams of one entry", protobuf([0x0a, 2, 0x12, 0].repeat(10_000))),
        ("values", json(format!("{{\"stream\":{{}},\"values\":[{}]}}", many("[\"0\",\"\"]")))),
        ("labels", json(format!("{{\"stream\":{{{}}}}}", many("\"\":\"\"")))),
        ("escapes", json(format!("{{\"stream\":{{{}}}}}", vec!["\"\\n\":\"\\n\""; 12_000].join(",")))),
        ("objects", json(many("{\"stream\":{}}"))),
        ("entries of the old shape", {
            let entry = "{\"ts\":\"2024-01-01T00:00:00Z\",\"line\":\"\"}";
            json(format!("{{\"labels\":\"{{}}\",\"entries\":[{}]}}", many(entry)))
        }),
    ] {
        let error = streams(&body, &mut room()).unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, PushError::TooLarge { limit: LIMIT, .. }), "{what}: {told}");
        assert!(told.contains("decoded push of") && told.contains("the limit of 1048576"), "{what}: {told}");
    }
}

#[test]
fn lines_of_ordinary_length_fit_wherever_their_body_does() {
    let entry = field(2, &[field(1, &[8, 1, 16, 2]), field(2, &[b'x'; 60])].concat());
    let message = field(1, &entry.repeat(1_000_000 / entry.len()));
    let body = Body::unpack(snappy(&message), ContentType::Protobuf, Encoding::Snappy, &mut room()).unwrap();
    let streams = streams(&body, &mut room()).unwrap();
    assert_eq!(streams[0].lines.len(), 1_000_000 / entry.len());
}

#[test]
fn an_empty_entry_is_an_empty_line_of_1970() {
    let body = Body::Protobuf(field(1, &[0x12, 0]).into());
    let streams = streams(&body, &mut room()).unwrap();
    let line = Line { timestamp_ns: 0, line: Cow::Borrowed(b""), metadata: Vec::new() };
    assert_eq!(streams, [Stream { labels: LabelSet::Text("".into()), lines: vec![line] }]);
}

#[test]
fn a_body_is_unpacked_and_decoded_only_where_there_is_room_beside_others() {
    let text = vec![b' '; 100 << 10];
    let lines = Bytes::from(field(1, &[0x12, 0].repeat(10_000)));
    let intake = Intake::new(256 << 10);
    let mut other = intake.enter(0);
    other.grow(200 << 10).unwrap();
    let mut room = intake.enter(LIMIT);
    let refused = [
        Encoding::Snappy.unpack(snappy(&text), &mut room).map(drop),
        Encoding::Gzip.unpack(gzip(&text), &mut room).map(drop),
        streams(&Body::Protobuf(lines.clone()), &mut room).map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(PushError::Busy { .. })), "{refused:?}");
    }
    drop((other, room));
    assert_eq!(intake.held(), 0);
    Encoding::Gzip.unpack(gzip(&text), &mut intake.enter(LIMIT)).unwrap();
    streams(&Body::Protobuf(lines), &mut intake.enter(LIMIT)).unwrap();
}

fn requests() -> impl Strategy<Value = PushRequest> {
    let pair = (".{0,4}", ".{0,4}").prop_map(|(name, value)| LabelPair { name, value });
    let time = prop::option::of(
        (-9_000_000_000..9_000_000_000_i64, any::<i32>())
            .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }),
    );
    let entry = (time, prop::collection::vec(any::<u8>(), 0..8), prop::collection::vec(pair, 0..3));
    let entry = entry.prop_map(|(timestamp, line, structured_metadata)| EntryAdapter {
        timestamp,
        line: line.into(),
        structured_metadata,
    });
    let stream = (".{0,8}", prop::collection::vec(entry, 0..4))
        .prop_map(|(labels, entries)| StreamAdapter { labels, entries });
    prop::collection::vec(stream, 0..3).prop_map(|streams| PushRequest { streams })
}

/// Labels, and of each line the time, the bytes and the metadata.
type Told = (String, Vec<(i64, Bytes, Vec<LabelPair>)>);

/// What the message says, as its generated decoder reads it.
fn oracle(message: &[u8]) -> Option<Vec<Told>> {
    let entry = |e: EntryAdapter| {
        let time = e.timestamp.unwrap_or_default();
        let ns = time.seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(time.nanos))?;
        Some((ns, e.line, e.structured_metadata))
    };
    let stream =
        |s: StreamAdapter| Some((s.labels, s.entries.into_iter().map(entry).collect::<Option<_>>()?));
    PushRequest::decode(message).ok()?.streams.into_iter().map(stream).collect()
}

fn read(message: &[u8]) -> Option<Vec<Told>> {
    let line = |l: Line<'_>| {
        let metadata = l.metadata.into_iter().map(|(n, v)| LabelPair { name: n.into(), value: v.into() });
        (l.timestamp_ns, Bytes::copy_from_slice(&l.line), metadata.collect())
    };
    let stream = |s: Stream<'_>| {
        let LabelSet::Text(labels) = s.labels else { panic!("protobuf has labels as text: {:?}", s.labels) };
        (labels.into_owned(), s.lines.into_iter().map(line).collect())
    };
    let mut all = Vec::new();
    protobuf::each_stream(message, &mut room(), |one, _| {
        all.push(stream(one.clone()));
        Ok(())
    })
    .ok()?;
    Some(all)
}

proptest! {
    #[test]
    fn a_message_is_read_as_its_generated_decoder_reads_it(
        request in requests(),
        at: prop::sample::Index,
        bytes in prop::collection::vec(any::<u8>(), 0..6),
        overwrite: bool,
    ) {
        let mut message = request.encode_to_vec();
        prop_assert_eq!(read(&message), oracle(&message));
        let from = at.index(message.len() + 1);
        let through = if overwrite { message.len().min(from + bytes.len()) } else { from };
        message.splice(from..through, bytes);
        prop_assert_eq!(read(&message), oracle(&message));
    }

    #[test]
    fn any_bytes_are_read_as_the_generated_decoder_reads_them(
        bytes in prop::collection::vec(prop::sample::select(vec![0, 1, 2, 3, 8, 10, 11, 12, 16, 18, 26, 0x7f, 0x80, 0xff]), 0..40),
    ) {
        prop_assert_eq!(read(&bytes), oracle(&bytes));
    }
}
