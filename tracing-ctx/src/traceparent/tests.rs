use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;

const VALID: &[u8; 55] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// `VALID` with the bytes from `at` on replaced.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut value = VALID.to_vec();
    value[at..at + bytes.len()].copy_from_slice(bytes);
    value
}

#[test]
fn it_parses_in_a_constant() {
    const PARENT: TraceParent = match TraceParent::parse(VALID) {
        Ok(parent) => parent,
        Err(_) => panic!("valid"),
    };
    assert_eq!(PARENT.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(PARENT.parent_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(PARENT.flags, TraceFlags::SAMPLED);
}

#[test]
fn what_is_parsed_is_written_to_the_byte() {
    let parent = TraceParent::parse(VALID).unwrap();
    assert_eq!(&parent.to_bytes(), VALID);
    assert_eq!(parent.to_string().as_bytes(), VALID);
    assert_eq!(parent.to_string().parse(), Ok(parent));
}

#[test]
fn the_error_names_the_first_byte_out_of_place() {
    for at in 0..VALID.len() {
        let expected = TraceParentError::Malformed { at, found: b'!' };
        assert_eq!(TraceParent::parse(&with(at, b"!")), Err(expected));
        let both = [VALID[..at].to_vec(), std::vec![b'!'; 55 - at]].concat();
        assert_eq!(TraceParent::parse(&both), Err(expected), "and everything behind it");
    }
}

#[test]
fn every_byte_in_every_place_is_accepted_only_where_the_grammar_has_it() {
    let digits = b"0123456789abcdef";
    for at in 0..VALID.len() {
        for byte in 0..=u8::MAX {
            let value = with(at, &[byte]);
            let good = if [2, 35, 52].contains(&at) { byte == b'-' } else { digits.contains(&byte) };
            let parsed = TraceParent::parse(&value).ok();
            assert_eq!(parsed.is_some(), good, "{}", value.escape_ascii());
            if let Some(parsed) = parsed {
                let ids = format!("{}-{}", parsed.trace_id, parsed.parent_id);
                assert_eq!(ids.as_bytes(), &value[3..52]);
                let flags = digits.iter().position(|digit| *digit == value[54]).unwrap() & 3;
                assert_eq!(usize::from(parsed.flags.bits()), flags);
            }
        }
    }
}

#[test]
fn each_reason_to_refuse_is_told_apart() {
    use TraceParentError::*;
    let cases: [(Vec<u8>, TraceParentError); 8] = [
        (VALID[..54].to_vec(), TooShort { found: 54 }),
        (Vec::new(), TooShort { found: 0 }),
        ([VALID.as_slice(), b"-"].concat(), TooLong { found: 56, limit: 55 }),
        ([&with(0, b"fe"), b"-".as_slice(), &[b'x'; 457]].concat(), TooLong { found: 513, limit: 512 }),
        ([&with(0, b"01"), b"x".as_slice()].concat(), Malformed { at: 55, found: b'x' }),
        (with(0, b"ff"), Version),
        (with(3, &[b'0'; 32]), ZeroTraceId),
        (with(36, &[b'0'; 16]), ZeroParentId),
    ];
    for (value, expected) in cases {
        assert_eq!(TraceParent::parse(&value), Err(expected), "{}", value.escape_ascii());
    }
}

#[test]
fn an_error_says_what_was_found_and_what_is_allowed() {
    let error = TraceParent::parse(&[VALID.as_slice(), b"-"].concat()).unwrap_err();
    assert_eq!(error.to_string(), "traceparent of 56 bytes exceeds the limit of 55");
    let error = TraceParent::parse(&with(4, b"\n")).unwrap_err();
    assert_eq!(error.to_string(), "traceparent has 0x0a at byte 4");
}

#[test]
fn a_child_changes_the_parent_id_and_nothing_else() {
    let parent = TraceParent::parse(VALID).unwrap();
    let span_id = SpanId::new(*b"spanspan").unwrap();
    assert_eq!(parent.child(span_id), TraceParent { parent_id: span_id, ..parent });
}

#[test]
fn a_root_is_random_and_not_sampled_until_someone_says_so() {
    let mut draws = 1..;
    let root = TraceParent::root(|| draws.next().unwrap());
    assert_eq!(root.to_string(), "00-00000000000000010000000000000002-0000000000000003-02");
    assert_eq!(
        root.with_sampled(true).to_string(),
        "00-00000000000000010000000000000002-0000000000000003-03"
    );
    assert_eq!(root.with_sampled(true).with_sampled(false), root);
}

#[test]
fn only_named_flags_are_kept() {
    for bits in 0..=u8::MAX {
        let flags = TraceFlags::from_bits(bits);
        assert_eq!(flags.bits(), bits & 3);
        assert_eq!((flags.is_sampled(), flags.is_random()), (bits & 1 == 1, bits & 2 == 2));
    }
}

#[test]
fn flags_are_put_together() {
    assert_eq!((TraceFlags::SAMPLED | TraceFlags::RANDOM).bits(), 3);
    assert_eq!(TraceFlags::NONE | TraceFlags::RANDOM, TraceFlags::RANDOM);
}

#[test]
fn it_is_32_bytes_and_an_option_of_it_as_well() {
    assert_eq!(size_of::<TraceParent>(), 32);
    assert_eq!(size_of::<Option<TraceParent>>(), 32);
}
