use super::*;
use crate::columnar::skeleton::{Part, parts};

/// The line with `{class}` for each value, and the values of bytes.
fn shape(line: &str, level: Level, words: &Words) -> String {
    let mut lexer = Lexer::default();
    assert!(lexer.cut(line.as_bytes(), level, words));
    let mut out = String::new();
    for part in parts(&lexer.key) {
        match part {
            Part::Literal(text) => out.push_str(&String::from_utf8_lossy(text)),
            Part::Slot(Class::Time(format), _) => out.push_str(&format!("{{time {}}}", format.number())),
            Part::Slot(class, _) => out.push_str(&format!("{{{class:?}}}").to_lowercase()),
        }
    }
    out
}

fn digits(line: &str) -> String {
    shape(line, Level::Digits, &Words::new())
}

#[test]
fn what_has_digits_is_a_value() {
    for (line, expected) in [
        ("", ""),
        ("no digits at all", "no digits at all"),
        ("Dec 10 06:55:46 LabSZ sshd[24200]: x", "{time 1} LabSZ sshd[{digits}]: x"),
        ("took 12ms of 007", "took {digits}ms of {digits}"),
        ("from 10.0.0.1 to 256.0.0.1", "from {ip4} to {digits}.{digits}.{digits}.{digits}"),
        ("at 1.2.3.4:80", "at {ip4}:{digits}"),
        ("blk_-1608999687919862906", "blk_-{digits}"),
        ("id 12345678901234567890", "id {text}"),
        ("req-addc1839-2ed5-4778-b57e-5854eb7b8b09 x", "req-{uuid} x"),
        ("trace deadbeef01 DEADBEEF01", "trace {hex(10)} {hexupper(10)}"),
        ("0x1f 0xE0000340", "0x{hex(2)} 0x{hexupper(8)}"),
        ("54fadb412c4e40cdbaed9335e4c35a9e", "{hexbytes(32)}"),
        ("x1y2z3", "{text}"),
        ("ssh2 a1b", "ssh{digits} a{digits}b"),
        ("Sun Dec 04 20:32:37 2005]", "{time 13}]"),
        ("2015-07-29 19:29:03,816 - W", "{time 4} - W"),
        ("\u{e4}9", "\u{e4}{digits}"),
    ] {
        assert_eq!(digits(line), expected, "{line}");
    }
}

#[test]
fn a_zero_byte_has_no_skeleton() {
    let mut lexer = Lexer::default();
    assert!(!lexer.cut(b"a\0b", Level::Digits, &Words::new()));
    assert!(!lexer.cut("1 ".repeat(MAX_SLOTS + 1).as_bytes(), Level::Digits, &Words::new()));
    assert!(lexer.cut("1 ".repeat(MAX_SLOTS).as_bytes(), Level::Digits, &Words::new()));
}

#[test]
fn fields_of_rare_words_are_values_and_frequent_words_are_not() {
    let mut words = Words::new();
    words.frequent = 3;
    for _ in 0..3 {
        words.count(b"Failed password for user from port GET HTTP Mozilla Z");
    }
    words.count(b"alice static img logo png");
    for (line, expected) in [
        (
            "Failed password for alice from 10.0.0.1 port 22",
            "Failed password for {text} from {ip4} port {digits}",
        ),
        ("GET /static/img/logo.png HTTP/1.1", "GET {text} HTTP/{digits}.{digits}"),
        (r#""Mozilla/5.0 (X11)" "-""#, r#""{text}" "-""#),
        (r#""-" "Mozilla/5.0 (X11)" 5"#, r#""-" "{text}" {digits}"#),
        (r#"a="b" c="d e" f="5 s"#, r#"{text}="{text}" {text}="{text}" {text}="{digits} {text}"#),
        (r#"{"user":"alice","n":5}"#, r#"{"user":"{text}","{text}":{digits}}"#),
        (r#"{"ts":"2026-01-02T03:04:05.123Z"}"#, r#"{"{text}":"{time 8}Z"}"#),
    ] {
        assert_eq!(shape(line, Level::Fields, &words), expected, "{line}");
    }
}

/// All strings of these bytes that are so long.
fn all_strings(bytes: &[u8], lengths: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = Vec<u8>> {
    let count = bytes.len();
    lengths.flat_map(move |length| {
        (0..count.pow(length)).map(move |number| {
            (0..length).map(|place| bytes[number / count.pow(place) % count]).collect::<Vec<u8>>()
        })
    })
}

/// A run of letters and digits in brackets is cut by one of two short ways, or by the way for any run: all say the same.
#[test]
fn the_short_ways_cut_runs_as_the_long_one_does() {
    let digits = (1..24).flat_map(|count| {
        let text = "12345678901234567890123".as_bytes()[..count].to_vec();
        [&b""[..], b"ms", b"a", b"x", b"xf", b"h9", b"abcdefgh"]
            .map(|unit| [[&text, unit].concat(), [unit, &text].concat(), [unit, &text, unit].concat()])
    });
    let runs = all_strings(b"09afAFgxZ\xe4", 1..=5)
        .chain(all_strings(b"1ag", 6..=10))
        .chain(all_strings(b"0xF", 6..=9))
        .chain(digits.flatten());
    let (mut lexer, mut other) = (Lexer::default(), Lexer::default());
    for run in runs {
        for (before, behind) in [("", ""), ("<", ">"), ("-", "-")] {
            let line = [before.as_bytes(), &run, behind.as_bytes()].concat();
            if run.iter().all(u8::is_ascii_digit) {
                continue;
            }
            assert!(lexer.cut(&line, Level::Digits, &Words::new()));
            other.cut(b"", Level::Digits, &Words::new());
            if run.iter().any(u8::is_ascii_digit) {
                other.run(&line, before.len());
            }
            other.literal(&line, line.len());
            let cut = |lexer: &Lexer| (lexer.key.clone(), lexer.values.clone(), lexer.extents.clone());
            assert!(cut(&lexer) == cut(&other), "{}", line.escape_ascii());
        }
    }
}

/// What a time may start with is looked at first, and only spares the look at the rest.
#[test]
fn times_are_found_whatever_is_looked_at_first() {
    let slow = |line: &[u8], at: usize| {
        let rest = line.get(at..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match digits {
            0 => timestamp::after_letters(line, at, &mut false).filter(|_| rest.get(3) == Some(&b' ')),
            2 | 4 | 6 => timestamp::after_digits(line, at, digits),
            _ => None,
        }
    };
    let mut found = 0;
    for format in (1..=u8::MAX).map_while(timestamp::Format::from_number) {
        for value in [0, 1_700_000_000, 86_399] {
            let mut text = [0; 40];
            let width = format.print(value, &mut text);
            for start in 0..=width {
                for first in 0..=u8::MAX {
                    let mut line = [b"= ", &text[start..width], b" x"].concat();
                    line[2] = first;
                    let stamp = Lexer::default().time_at(&line, 2);
                    assert_eq!(stamp, slow(&line, 2), "{}", line.escape_ascii());
                    found += usize::from(stamp.is_some());
                }
            }
        }
    }
    assert!(found > 100);
}
