use super::*;

fn read(text: &str) -> Result<Vec<(String, String)>, LabelError> {
    let mut unescaped = String::new();
    let pairs = parse(text, &mut unescaped)?;
    Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn every_spacing_that_clients_send_reads_the_same() {
    let expected = Ok(vec![pair("app", "x"), pair("env", "y")]);
    for text in [
        r#"{app="x", env="y"}"#,
        r#"{app="x",env="y"}"#,
        r#"{env="y",app="x"}"#,
        r#"{ app = "x" , env = "y" , }"#,
        "\t{app=`x`,\n env=\"y\",}\r\n",
        r#"{app="x",none="",env="y"}"#,
        r#"{app="\x78",env="\171"}"#,
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    assert_eq!(read("{}"), Ok(vec![]));
    assert_eq!(read(r#"{a=""}"#), Ok(vec![]));
}

#[test]
fn values_borrow_from_the_text_unless_they_have_escapes() {
    let text = r#"{a="plain", b="with \"escape\"", c=`raw \n`}"#;
    let mut unescaped = String::from("left from before");
    let pairs = parse(text, &mut unescaped).unwrap();
    let inside = |value: &str| text.as_bytes().as_ptr_range().contains(&value.as_ptr());
    assert_eq!(pairs, [("a", "plain"), ("b", r#"with "escape""#), ("c", r"raw \n")]);
    assert_eq!(pairs.iter().map(|(_, value)| inside(value)).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(unescaped, r#"with "escape""#);
}

#[test]
fn all_of_gos_escapes_are_understood() {
    let text = r#"{a="\a\b\f\n\r\t\v\\\"\x41\102\u00e9\U0001F600\xc3\xa9"}"#;
    assert_eq!(read(text), Ok(vec![pair("a", "\x07\x08\x0c\n\r\t\x0b\\\"ABé😀é")]));
    assert_eq!(read("{a=`x\r\ny`}"), Ok(vec![pair("a", "x\ny")]));
    for (text, position) in [
        (r#"{a="\'"}"#, 4),
        (r#"{a="b\q"}"#, 5),
        (r#"{a="\x4"}"#, 4),
        (r#"{a="\x+4"}"#, 4),
        (r#"{a="\400"}"#, 4),
        (r#"{a="\ud800"}"#, 4),
        (r#"{a="\U00110000"}"#, 4),
        (r#"{a="\é"}"#, 4),
    ] {
        assert_eq!(read(text), Err(LabelError::Escape { position }), "{text}");
    }
    assert_eq!(read(r#"{a="\xff"}"#), Err(LabelError::NotText { position: 3 }));
}

#[test]
fn an_error_names_the_byte_and_what_was_expected() {
    for (text, message) in [
        ("", "expected `{` at byte 0, found the end"),
        ("app", "expected `{` at byte 0, found 'a'"),
        ("{", "expected a label name at byte 1, found the end"),
        ("{,}", "expected a label name at byte 1, found ','"),
        (r#"{9a="x"}"#, "expected a label name at byte 1, found '9'"),
        (r#"{a-b="x"}"#, "expected `=` at byte 2, found '-'"),
        (r#"{a!="x"}"#, "expected `=` at byte 2, found '!'"),
        (r#"{a=~"x"}"#, "expected a quoted value at byte 3, found '~'"),
        ("{a=x}", "expected a quoted value at byte 3, found 'x'"),
        ("{a='x'}", "expected a quoted value at byte 3, found '\\''"),
        (r#"{a="x" b="y"}"#, "expected `,` or `}` at byte 7, found 'b'"),
        (r#"{a="x"} x"#, "expected the end at byte 8, found 'x'"),
        (r#"{a="x"#, "value that starts at byte 3 has no end"),
        ("{a=`x", "value that starts at byte 3 has no end"),
        ("{a=\"x\ny\"}", "value that starts at byte 3 has no end"),
        ("{a=\"\\t\ny\"}", "value that starts at byte 3 has no end"),
    ] {
        let refused = read(text).unwrap_err();
        assert_eq!(refused.to_string(), message, "{text}");
        assert_eq!(refused.reason().as_str(), "invalid_labels");
    }
}

#[test]
fn size_and_number_are_bounded() {
    let long = format!("{{a=\"{}\"}}", "x".repeat(MAX_TEXT_BYTES));
    assert_eq!(read(&long), Err(LabelError::TooLong { length: MAX_TEXT_BYTES + 6 }));
    let labels = |n: usize| format!("{{{}}}", r#"a="x","#.repeat(n));
    assert_eq!(read(&labels(MAX_LABELS)).map(|pairs| pairs.len()), Ok(MAX_LABELS));
    assert_eq!(read(&labels(MAX_LABELS + 1)), Err(LabelError::TooMany));
}

#[test]
fn values_are_quoted_as_go_quotes_them() {
    for (value, quoted) in [
        ("plain", r#""plain""#),
        ("é😀", r#""é😀""#),
        ("a\u{301}", "\"a\u{301}\""),
        ("\u{301}", "\"\u{301}\""),
        ("\x07\x08\x0c\n\r\t\x0b\\\"", r#""\a\b\f\n\r\t\v\\\"""#),
        ("\0\x1f\x7f", r#""\x00\x1f\x7f""#),
        ("\u{80}\u{a0}\u{200b}\u{feff}", r#""\u0080\u00a0\u200b\ufeff""#),
        ("\u{e0001}", r#""\U000e0001""#),
    ] {
        assert_eq!(display(&[("a", value)]).to_string(), format!("{{a={quoted}}}"));
    }
    assert_eq!(display(&[]).to_string(), "{}");
}
