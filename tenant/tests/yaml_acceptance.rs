//! What Loki accepts, measured on Loki, row by row: each value is read where Loki reads it, or refused.

use std::time::Duration;

use forebay_tenant::yaml::{self, Error, Node, Value};

fn node(text: &str) -> Node {
    yaml::parse(&format!("field: {text}")).expect(text).get("field").expect("it is there").clone()
}

fn accepted<T: PartialEq + std::fmt::Debug>(read: impl Fn(&Node) -> Result<T, Error>, rows: &[(&str, T)]) {
    for (text, expected) in rows {
        assert_eq!(read(&node(text)).as_ref(), Ok(expected), "{text}");
    }
}

fn refused<T: std::fmt::Debug>(read: impl Fn(&Node) -> Result<T, Error>, rows: &[&str]) {
    for text in rows {
        let error = read(&node(text)).expect_err(text);
        assert_eq!((error.position().line, error.position().column), (1, 8), "{text}");
        assert!(error.to_string().contains("expected "), "{error}");
    }
}

#[test]
fn truths() {
    accepted(
        Node::bool,
        &[
            ("yes", true),
            ("on", true),
            ("no", false),
            ("off", false),
            ("true", true),
            ("True", true),
            ("FALSE", false),
            ("y", true),
            ("N", false),
            ("\"yes\"", true),
            ("'off'", false),
        ],
    );
    refused(Node::bool, &["\"true\"", "'false'", "1", "0", "tRue", "yEs", "enabled", "[]", "{}", "~"]);
}

#[test]
fn integers() {
    accepted(
        Node::i64,
        &[
            ("1e6", 1_000_000),
            ("1_000", 1000),
            ("0x10", 16),
            ("010", 8),
            ("5", 5),
            ("-5", -5),
            ("+5", 5),
            ("0", 0),
            ("-0x10", -16),
            ("0b101", 5),
            ("0o17", 15),
            ("3.0", 3),
            ("-9223372036854775808", i64::MIN),
            ("9223372036854775807", i64::MAX),
        ],
    );
    refused(
        Node::i64,
        &[
            "\"5\"",
            "'5'",
            "1.5",
            "5MB",
            "five",
            "_5",
            "0x",
            "0x-1",
            "0x+1",
            "0+7",
            "1e400",
            "9223372036854775808",
            ".inf",
            "[5]",
        ],
    );
    accepted(Node::u64, &[("18446744073709551615", u64::MAX), ("1e19", 10_000_000_000_000_000_000)]);
    refused(Node::u64, &["-1", "18446744073709551616", "2e19"]);
    accepted(Node::u16, &[("65535", u16::MAX)]);
    refused(Node::u16, &["65536", "-1"]);
    refused(Node::i32, &["2147483648"]);
}

#[test]
fn rates_are_integers_or_decimals_without_quotes() {
    accepted(
        Node::f64,
        &[
            ("4", 4.0),
            ("4.5", 4.5),
            ("1e-3", 0.001),
            (".5", 0.5),
            ("5.", 5.0),
            ("0x10", 16.0),
            ("1_000.5", 1000.5),
            (".inf", f64::INFINITY),
        ],
    );
    refused(Node::f64, &["\"4\"", "'4.5'", "4MB", "inf", "nan", "infinity", "1e", "e5", ".", "1.2.3", "--1"]);
    assert!(node(".nan").f64().unwrap().is_nan());
}

#[test]
fn sizes_are_powers_of_1024() {
    let mb3 = 3 << 20;
    accepted(
        Node::size,
        &[
            ("3145728", mb3),
            ("3MB", mb3),
            ("3mb", mb3),
            ("3 MB", mb3),
            ("3m", mb3),
            ("3megabytes", mb3),
            ("\"3MB\"", mb3),
            ("\"3145728\"", mb3),
            ("010", 8),
            ("0", 0),
            ("256KB", 256 << 10),
        ],
    );
    refused(Node::size, &["1.5MB", "1.5", "-1", "3Mb", "16EB", "many", "MB", "~", "[]"]);
}

#[test]
fn prometheus_durations() {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    accepted(
        Node::duration,
        &[
            ("7d", hours(168)),
            ("1w2d", hours(216)),
            ("1h30m", Duration::from_secs(5400)),
            ("0", Duration::ZERO),
            ("\"7d\"", hours(168)),
        ],
    );
    refused(Node::duration, &["60", "1.5h", "-1h", "~", "1d1w", "{}"]);
}

#[test]
fn go_durations() {
    accepted(
        Node::go_duration,
        &[
            ("40m", Duration::from_secs(2400)),
            ("1.5h", Duration::from_secs(5400)),
            ("\"0\"", Duration::ZERO),
            ("0s", Duration::ZERO),
        ],
    );
    refused(Node::go_duration, &["1d", "60", "0", "1.5", "-1h", "~"]);
}

#[test]
fn strings_are_any_scalar_as_it_is_written() {
    for (text, expected) in [
        ("fake", "fake"),
        ("010", "010"),
        ("yes", "yes"),
        ("\"~\"", "~"),
        ("'a ''b'''", "a 'b'"),
        ("\"a\\tb\"", "a\tb"),
    ] {
        assert_eq!(node(text).str(), Ok(expected));
    }
    refused(|node| node.str().map(str::to_owned), &["~", "null", "[a]", "{a: b}"]);
    assert_eq!(node("|\n  two\n  lines\n").str(), Ok("two\nlines\n"));
}

#[test]
fn nulls() {
    for text in ["", "~", "null", "Null", "NULL", "!!null x"] {
        assert_eq!(node(text).is_null(), text != "!!null x", "{text}");
    }
    assert!(!node("\"\"").is_null());
    assert!(yaml::parse("").unwrap().is_null());
    assert!(yaml::parse("# nothing but a comment\n---\n").unwrap().is_null());
}

#[test]
fn tags_of_the_core_schema_say_how_to_read_a_scalar() {
    assert_eq!(
        node("!!str 5").i64().unwrap_err().to_string(),
        "line 1 column 8: expected an integer, found the string \"5\""
    );
    assert_eq!(node("!!int \"5\"").i64(), Ok(5));
    assert_eq!(node("!!seq [1]").items(&mut Vec::new(), |n, _| n.i64()), Ok(vec![1]));
    for text in ["!mine 5", "!!binary aGk=", "!!timestamp 2026-01-02", "!!set {a: }", "!<tag:x.org:y> 1"] {
        let error = yaml::parse(&format!("field: {text}")).expect_err(text);
        assert!(error.to_string().contains("is not supported"), "{error}");
    }
}

#[test]
fn unknown_and_duplicate_keys_are_refused() {
    let duplicate = yaml::parse("a: 1\nb: 2\na: 3").unwrap_err();
    assert_eq!(duplicate.to_string(), "line 3 column 1: duplicate key `a`, first on line 1 column 1");
    let many = (0..100).map(|n| format!("k{n}: {n}\n")).collect::<String>();
    let late = yaml::parse(&format!("{many}k7: 1")).unwrap_err();
    assert_eq!(late.to_string(), "line 101 column 1: duplicate key `k7`, first on line 8 column 1");
    assert!(yaml::parse("{1: a, \"1\": b}").is_err(), "keys are compared as text");
}

#[test]
fn anchors_aliases_and_merges_are_resolved() {
    let root = yaml::parse(
        "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\n\
         one: {<<: *base, b: 20, d: 5}\nboth:\n  <<: [*base, *more]\n  e: 6\ninline: {<<: {a: 9}}\nvalue: *base\n",
    )
    .unwrap();
    let read = |key: &str| {
        let Value::Mapping(entries) = root.get(key).unwrap().value() else { panic!("{key}") };
        entries.iter().map(|e| (e.key().to_owned(), e.value().i64().unwrap())).collect::<Vec<_>>()
    };
    let pairs = |pairs: &[(&str, i64)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect::<Vec<_>>();
    assert_eq!(
        read("one"),
        pairs(&[("b", 20), ("d", 5), ("a", 1)]),
        "what is written wins over what is merged"
    );
    assert_eq!(read("both"), pairs(&[("e", 6), ("a", 1), ("b", 2), ("c", 4)]), "the earlier merge wins");
    assert_eq!(read("inline"), pairs(&[("a", 9)]));
    assert_eq!(read("value"), read("base"));
    assert_eq!(root.get("value").unwrap().position().line, 1, "an alias is the node it names");

    let quoted = yaml::parse("{\"<<\": 5}").unwrap();
    assert_eq!(quoted.get("<<").unwrap().i64(), Ok(5), "in quotes it is a key like any other");
    for (text, message) in [
        ("{<<: 5}", "line 1 column 6: expected a mapping or a sequence of mappings to merge, found `5`"),
        (
            "{<<: [{a: 1}, 2]}",
            "line 1 column 15: expected a mapping or a sequence of mappings to merge, found `2`",
        ),
        ("{<<: {a: 1}, <<: {b: 1}}", "line 1 column 14: duplicate key `<<`, first on line 1 column 2"),
    ] {
        assert_eq!(yaml::parse(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_merge_over_many_keys_keeps_each_once() {
    let base: String = (0..40).map(|n| format!("  k{n}: base\n")).collect();
    let own: String = (0..40).step_by(2).map(|n| format!("  k{n}: own\n")).collect();
    let root = yaml::parse(&format!("base: &b\n{base}own:\n  <<: *b\n{own}")).unwrap();
    let Value::Mapping(entries) = root.get("own").unwrap().value() else { panic!() };
    assert_eq!(entries.len(), 40);
    for n in 0..40 {
        let expected = if n % 2 == 0 { "own" } else { "base" };
        assert_eq!(root.get("own").unwrap().get(&format!("k{n}")).unwrap().str(), Ok(expected));
    }
}

#[test]
fn a_tenant_that_is_a_number_is_its_text() {
    let root = yaml::parse("456: a\n\"789\": b\n010: c").unwrap();
    assert_eq!(root.get("456").unwrap().str(), Ok("a"));
    assert_eq!(root.get("789").unwrap().str(), Ok("b"));
    assert_eq!(root.get("010").unwrap().str(), Ok("c"));
}
