#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::value::long_digits;
use super::*;
use crate::columnar::tokenize::{Level, Lexer, Words, spanned};

/// Learns from some lines, and gives what others are recognised as: skeleton and text of the values.
fn found(learnt: &[&str], level: Level, line: &str) -> Option<(u32, Vec<u64>)> {
    let (mut tree, mut lexer) = (Tree::default(), Lexer::default());
    let mut words = Words::new();
    words.frequent = 9;
    for (number, line) in (0..).zip(learnt) {
        assert!(lexer.cut(line.as_bytes(), level, &words));
        tree.learn(&lexer.key, &lexer.extents, number);
        let mut values = vec![7];
        assert_eq!(tree.find(line.as_bytes(), &mut values), Some(number), "{line}");
        assert_eq!(values.get(1..), Some(&lexer.values[..]), "{line}");
    }
    let mut values = Vec::new();
    tree.find(line.as_bytes(), &mut values).map(|number| (number, values))
}

#[test]
fn a_line_like_one_before_is_recognised_with_its_values() {
    let learnt = [
        "user 7 of 10.0.0.1 took 35ms",
        "user 7 of 10.0.0.1 left",
        "2026-03-07T12:00:01.250Z id deadbeef01 end",
        "Mar  7 12:00:01 host a[5]: x",
    ];
    assert_eq!(
        found(&learnt, Level::Digits, "user 12 of 1.2.3.4 left"),
        Some((1, vec![digits_code(12, 2), 0x0102_0304]))
    );
    let later = found(&learnt, Level::Digits, "2026-03-07T12:00:01.251Z id 0123456789 end");
    assert_eq!(later.map(|(number, values)| (number, values[1])), Some((2, 0x01_2345_6789)));
    assert_eq!(found(&learnt, Level::Digits, "Mar 17 12:00:02 host a[6]: x").map(|found| found.0), Some(3));
    for other in [
        "user 7 of 10.0.0.1",
        "user x of 10.0.0.1 left",
        "user 7 of 10.0.0.1 left.",
        "",
        "Mar 99 12:00:02 host a[6]: x",
    ] {
        assert_eq!(found(&learnt, Level::Digits, other), None, "{other}");
    }
}

#[test]
fn numbers_read_eight_bytes_at_a_time_as_they_do_byte_by_byte() {
    let texts =
        ["00000000000000000000", "99999999999999999999", "12345678901234567890", "90817263544536271809"];
    for (text, count) in texts.iter().flat_map(|text| (0..=20).map(move |count| (text, count))) {
        for (byte, behind) in (0..=u8::MAX).flat_map(|byte| (0..=9).map(move |behind| (byte, behind))) {
            let mut text = text.as_bytes()[..count].to_vec();
            text.push(byte);
            text.extend_from_slice(&b"7\xff0/:9\0 5"[..behind]);
            let (value, width) = digits(&text);
            let shown = text.escape_ascii();
            assert_eq!((value, width), long_digits(&text), "{shown}");
            if width < 20 {
                let printed = std::str::from_utf8(&text[..width]).unwrap();
                assert_eq!(value, printed.parse().unwrap_or(0), "{shown}");
            }
        }
    }
}

#[test]
fn text_reaches_as_far_as_the_lexer_says() {
    let learnt = ["say=\"two words\" to=somebody", "say=nothing", "of x1y2z3q4 more"];
    let line = "say=\"other words, many\" to=nobody";
    let (number, values) = found(&learnt, Level::Fields, line).unwrap();
    let texts: Vec<_> = values.iter().map(|&value| spanned(line.as_bytes(), value)).collect();
    assert_eq!((number, texts), (0, vec![&b"say"[..], b"other words, many", b"to", b"nobody"]));
    assert_eq!(found(&learnt, Level::Fields, "say=\"two words to=nobody"), None);
}

/// Of slots behind the same text the first that fits is taken, and taken back if the line then is none.
#[test]
fn a_choice_that_leads_nowhere_is_taken_back() {
    let learnt = ["v=\"one\" x", "v=\"one two\" x", "v=\"one\" y"];
    let line = "v=\"six seven\" x";
    let (number, values) = found(&learnt, Level::Fields, line).unwrap();
    let texts: Vec<_> = values.iter().map(|&value| spanned(line.as_bytes(), value)).collect();
    assert_eq!((number, &texts[1..]), (1, &[&b"six seven"[..], b"x"][..]));
    // And any number of kinds of lines is learnt.
    let kinds: Vec<String> = (0..200).map(|n| format!("kind {} {n}", "x".repeat(n))).collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert_eq!(found(&kinds, Level::Digits, kinds[199]).map(|found| found.0), Some(199));
}
