#![expect(clippy::indexing_slicing, reason = "a test that goes past the end should fail")]

use proptest::prelude::*;

use super::*;

fn envelope() -> Envelope {
    Envelope {
        fingerprint: u64::MAX,
        tenant: "fake".into(),
        from_ms: 1_700_000_000_123,
        through_ms: 1_700_000_001_000,
        labels: vec![(b"__name__".into(), b"logs".into()), (b"app".into(), b"x\xFF\n".into())],
        ingested_at_ms: 0,
    }
}

#[test]
fn the_text_is_that_of_loki() {
    let expected = b"{\"fingerprint\":18446744073709551615,\"userID\":\"fake\",\"from\":1700000000.123,\
        \"through\":1700000001,\"metric\":{\"__name__\":\"logs\",\"app\":\"x\xFF\\n\"},\"ingestedAt\":0,\
        \"encoding\":129}";
    assert_eq!(envelope().text(), expected);
    assert_eq!(Envelope::parse(expected, &Limits::default()), Ok(envelope()));
}

#[test]
fn fields_come_in_any_order_and_unknown_ones_are_skipped() {
    let text = br#" {"encoding":128 , "new":[{}], "metric":{"b":"1","a":"2","b":"3"}, "through":2.5,
        "from":-1.05, "userID":"t", "fingerprint":1} "#;
    let envelope = Envelope::parse(text, &Limits::default()).unwrap();
    assert_eq!((envelope.from_ms, envelope.through_ms), (-1050, 2500));
    let labels: [(Vec<u8>, Vec<u8>); 2] = [(b"a".into(), b"2".into()), (b"b".into(), b"3".into())];
    assert_eq!(envelope.labels, labels);
    for broken in [&br#"{"encoding":129}"#[..], br#"{"encoding":3}"#, b"{}", b"", b"[]", b"{}x"] {
        assert!(Envelope::parse(broken, &Limits::default()).is_err());
    }
}

#[test]
fn times_are_exact_where_floating_point_is_not() {
    // Truncated products of these seconds and 1000 are off by one: years 2004 and 2038, and the far ends.
    for ms in [1_073_741_824_001, 2_147_483_648_001, 2_147_483_649_001, i64::MIN, i64::MAX, -1, 0] {
        let text = seconds(ms);
        assert_eq!(milliseconds(&mut Json::new(text.as_bytes())), Ok(ms), "{text}");
    }
    for broken in ["1.", ".5", "1e3", "--1", "1.2.3", "+1", "9223372036854775.808", "1.5x"] {
        let mut json = Json::new(broken.as_bytes());
        assert!(milliseconds(&mut json).and_then(|_| json.end()).is_err(), "{broken}");
    }
}

#[test]
fn a_text_that_fills_its_frames_has_no_line_feed() {
    let mut long = envelope();
    let missing = SNAPPY_FRAME - long.text().len();
    long.labels.last_mut().unwrap().1.extend(vec![b'a'; missing]);
    assert_eq!(long.text().len(), SNAPPY_FRAME);
    let object = long.encode(b"").unwrap();
    let (back, data) = split(&object.bytes, &Limits::default()).unwrap();
    assert_eq!((back, data.len()), (long, 0));
    // Identifier, one frame, and no second one for a line feed.
    let frames = snappy_frames(&object.bytes[LENGTH..object.bytes.len() - LENGTH]);
    assert_eq!(frames, 2);
}

fn snappy_frames(mut stored: &[u8]) -> usize {
    let mut frames = 0;
    while let Some((&[_, l0, l1, l2], rest)) = stored.split_first_chunk::<4>() {
        stored = &rest[usize::from(l0) | usize::from(l1) << 8 | usize::from(l2) << 16..];
        frames += 1;
    }
    frames
}

#[test]
fn the_length_of_old_objects_does_not_count_itself() {
    let new = envelope().encode(b"data").unwrap().bytes;
    let mut old = new.to_vec();
    let described = u32::from_be_bytes([old[0], old[1], old[2], old[3]]) - 4;
    old[..4].copy_from_slice(&described.to_be_bytes());
    for bytes in [new, old.into()] {
        let (back, data) = split(&bytes, &Limits::default()).unwrap();
        assert_eq!((back, data), (envelope(), &b"data"[..]));
    }
}

#[test]
fn bounds_are_rounded_outwards() {
    let chunk = |from_ns, through_ns| EncodedChunk {
        bytes: Bytes::new(),
        from_ns,
        through_ns,
        entries: 1,
        raw_bytes: 0,
    };
    let rounded = |from, through| {
        let envelope = Envelope::new("t", &[], &chunk(from, through));
        (envelope.from_ms, envelope.through_ms)
    };
    assert_eq!(rounded(1_999_999, 2_000_000), (1, 2));
    assert_eq!(rounded(2_000_000, 2_000_001), (2, 3));
    assert_eq!(rounded(-1, -1), (-1, 0));
    assert_eq!(rounded(i64::MIN, i64::MAX), (-9_223_372_036_855, 9_223_372_036_855));
}

proptest! {
    #[test]
    fn an_object_comes_apart_as_it_was_put_together(
        fingerprint: u64,
        tenant in ".{0,20}",
        from_ms: i64,
        through_ms: i64,
        labels in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..40), 0..9),
        data in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let labels = labels.into_iter().collect();
        let envelope = Envelope { fingerprint, tenant, from_ms, through_ms, labels, ingested_at_ms: from_ms };
        let object = envelope.encode(&data).unwrap();
        let (back, found) = split(&object.bytes, &Limits::default()).unwrap();
        prop_assert_eq!((back, found), (envelope, &data[..]));
    }

    /// Every millisecond from 1970 to 2262, of which these are some.
    #[test]
    fn times_are_exact(ms in 0i64..=9_223_372_036_854) {
        let text = seconds(ms);
        prop_assert_eq!(milliseconds(&mut Json::new(text.as_bytes())), Ok(ms));
    }
}
