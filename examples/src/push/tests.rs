use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use prost::Message;

use super::protobuf::{EntryAdapter, LabelPair, PushRequest, StreamAdapter, Timestamp};
use super::*;

const LIMIT: u64 = 1 << 20;

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

fn check(body: &Body) {
    let streams = body.streams().unwrap();
    assert_eq!(streams[0].labels, LabelSet::Text("{app=\"x\"}"));
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
        check(&Body::unpack(body, ContentType::Protobuf, encoding, LIMIT).unwrap());
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
        let body = Body::unpack(body, ContentType::Json, encoding, LIMIT).unwrap();
        let streams = body.streams().unwrap();
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
        let error = Body::unpack(Bytes::copy_from_slice(body), content, Encoding::Identity, LIMIT)
            .and_then(|body| body.streams().map(|_| ()))
            .unwrap_err();
        assert!(matches!(error, PushError::Malformed { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error} does not name {expected}");
    }
}

#[test]
fn a_timestamp_outside_64_bits_of_nanoseconds_is_malformed() {
    let mut request = message();
    request.streams[0].entries[0].timestamp = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
    let body =
        Body::unpack(snappy(&request.encode_to_vec()), ContentType::Protobuf, Encoding::Identity, LIMIT);
    assert!(matches!(body.unwrap().streams(), Err(PushError::Malformed { what: "timestamp", .. })));
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
        let error = Body::unpack(body, content, encoding, LIMIT).unwrap_err();
        assert!(matches!(error, PushError::TooLarge { limit: LIMIT, .. }), "{error:?}");
    }
}

#[test]
fn a_block_that_claims_more_than_it_can_hold_costs_no_memory() {
    let lie = Bytes::from_static(&[0xff, 0xff, 0xff, 0x0f, 0, 0]);
    let error = Encoding::Snappy.unpack(lie, u64::MAX).unwrap_err();
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
    let body =
        Body::unpack(Bytes::from_static(br#"{"streams":[]}"#), ContentType::Json, Encoding::Identity, LIMIT);
    assert_eq!(body.unwrap().streams().unwrap_err(), PushError::NoStreams);
}
