//! What is no export, or more of one than the limits allow.

use super::*;

#[test]
fn what_does_not_decode_is_malformed_and_told_in_few_words() {
    let long = "\\u0001".repeat(100_000);
    let record =
        |record: &str| format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#);
    for text in [
        "\"X\"".to_owned(),
        "[]".to_owned(),
        "{".to_owned(),
        "{} {}".to_owned(),
        r#"{"resourceLogs":"X"}"#.to_owned(),
        r#"{"resourceLogs":["X"]}"#.to_owned(),
        r#"{"resourceLogs":[{"resource":"X"}]}"#.to_owned(),
        record("\"X\""),
        record(r#"{"timeUnixNano":"X"}"#),
        record(r#"{"timeUnixNano":-1}"#),
        record(r#"{"timeUnixNano":1.5}"#),
        record(r#"{"severityNumber":"SEVERITY_NUMBER_INFO"}"#),
        record(r#"{"severityText":["X"]}"#),
        record(r#"{"traceId":7}"#),
        record(r#"{"body":"X"}"#),
        record(r#"{"body":{"boolValue":"X"}}"#),
        record(r#"{"body":{"intValue":"X"}}"#),
        record(r#"{"body":{"doubleValue":"X"}}"#),
        record(r#"{"body":{"bytesValue":"X"}}"#),
        record(r#"{"body":{"arrayValue":"X"}}"#),
        record(r#"{"attributes":{"X":"X"}}"#),
    ] {
        let text = text.replace('X', &long);
        let mut room = Intake::new(u64::MAX).enter(u64::MAX);
        let error = Export::read(text.as_bytes(), ContentType::Json, &mut room).unwrap_err();
        assert!(matches!(error, PushError::Malformed { .. }), "{:?}: {error}", text.get(..100));
        let told = error.to_string();
        assert!(told.len() < 1024, "{} bytes: {:?}", told.len(), told.get(..100));
    }
    let wrong = [
        b"\x0a\xff\xff\xff\x7f".as_slice(),
        b"\x0a\x05\x12\x03\x12\x01\x08",
        b"\x0a\x06\x12\x04\x12\x02\x08\x01",
        b"\x0a\x07\x12\x05\x12\x03\x1a\x01\xff",
    ];
    for message in wrong {
        let error = told(message, ContentType::Protobuf).unwrap_err();
        assert!(matches!(error, PushError::Malformed { what: "protobuf message", .. }), "{error}");
    }
}

/// A record whose body is so many lists within each other.
fn nested(depth: usize, content: ContentType) -> Vec<u8> {
    if content == ContentType::Json {
        let (open, close) = ("{\"arrayValue\":{\"values\":[".repeat(depth), "]}}".repeat(depth));
        let record = format!("{{\"body\":{open}{close}}}");
        return format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{record}]}}]}}]}}")
            .into_bytes();
    }
    let field = |number: u8, bytes: Vec<u8>| {
        let mut out = vec![number << 3 | 2];
        crate::varint::write_slice(&mut out, &bytes);
        out
    };
    let any = (0..depth).fold(Vec::new(), |inner, _| field(5, field(1, inner)));
    field(1, field(2, field(2, field(5, any))))
}

#[test]
fn values_that_are_nested_too_deep_are_malformed() {
    for (content, fine) in [(ContentType::Protobuf, 63), (ContentType::Json, 30)] {
        told(&nested(fine, content), content).unwrap();
        for depth in [70, 1_000] {
            let error = told(&nested(depth, content), content).unwrap_err();
            assert!(matches!(error, PushError::Malformed { .. }), "{error}");
        }
    }
}

/// A resource of 60 kB on each of ten thousand records of a few bytes would have been 600 MB of lines.
#[test]
fn what_is_repeated_for_each_line_is_limited_as_the_body_is() {
    let large = vec![attribute("large", string(&"x".repeat(60_000)))];
    let many = vec![LogRecord::default(); 1_000];
    let deep = (0..50).fold(Any::Int(1), |inner, _| map(vec![attribute(&"k".repeat(1_000), inner)]));
    let deep = (0..50).map(|_| attribute("d", deep.clone())).collect();
    let escapes = vec![attribute("a", list(vec![string(&"\u{1}".repeat(300_000))]))];
    for (what, request) in [
        ("a large resource", export(large, many)),
        ("long ways", export(deep, vec![record("")])),
        ("escapes", export(escapes, vec![record("")])),
        ("records", export(vec![], vec![LogRecord::default(); 40_000])),
    ] {
        let body = request.encode_to_vec();
        assert!((body.len() as u64) < 4 * LIMIT, "{what}: {}", body.len());
        let error = told(&body, ContentType::Protobuf).unwrap_err();
        assert!(matches!(error, PushError::TooLarge { limit: LIMIT, .. }), "{what}: {error}");
    }
}
