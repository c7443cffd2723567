//! Loki's stream selectors: `{app="x", env=~"dev|test"}`. Strings are Go's, in double quotes with escapes or
//! in back quotes without; nothing after the closing brace.

use std::collections::BTreeSet;

use super::{MAX_SELECTOR_BYTES, Operator, Pattern, Requirement, SelectorError};

/// The requirements of a selector, to be read with a missing label as `""`.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    if text.len() > MAX_SELECTOR_BYTES {
        return Err(SelectorError::TooLong { bytes: text.len(), limit: MAX_SELECTOR_BYTES });
    }
    let mut cursor = Cursor { text, at: 0 };
    let mut found = Vec::new();
    cursor.expect('{', "an opening brace")?;
    if !cursor.accept("}") {
        loop {
            found.push(cursor.requirement()?);
            if cursor.accept("}") {
                break;
            }
            cursor.expect(',', "a comma or a closing brace")?;
        }
    }
    cursor.skip_space();
    if cursor.at == text.len() { Ok(found) } else { Err(cursor.expected("the end of the selector")) }
}

struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        // `at` only ever advances by whole characters of `text`.
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn accept(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expected(&self, what: &'static str) -> SelectorError {
        SelectorError::Expected { at: self.at, what }
    }

    fn expect(&mut self, token: char, what: &'static str) -> Result<(), SelectorError> {
        if self.accept(token.encode_utf8(&mut [0; 4])) { Ok(()) } else { Err(self.expected(what)) }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let key = self.name()?;
        let operator = self.operator()?;
        self.skip_space();
        let at = self.at;
        let value = self.string()?;
        let pattern =
            |value: &str| Pattern::new(value).map_err(|source| SelectorError::Pattern { at, source });
        let operator = match operator {
            "=" => Operator::In(BTreeSet::from([value])),
            "!=" => Operator::NotIn(BTreeSet::from([value])),
            "=~" => Operator::Matches(pattern(&value)?),
            _ => Operator::NotMatches(pattern(&value)?),
        };
        Ok(Requirement { key, operator })
    }

    fn name(&mut self) -> Result<String, SelectorError> {
        self.skip_space();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, _) = rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.expected("a label name"));
        }
        self.at += end;
        Ok(name.to_owned())
    }

    fn operator(&mut self) -> Result<&'static str, SelectorError> {
        // The longer ones first: `=` is a prefix of `=~`.
        let known = ["=~", "!~", "!=", "="].into_iter().find(|operator| self.accept(operator));
        known.ok_or_else(|| self.expected("one of = != =~ !~"))
    }

    fn string(&mut self) -> Result<String, SelectorError> {
        let start = self.at;
        match self.next() {
            Some('`') => {
                let rest = self.rest();
                let end = rest.find('`').ok_or(SelectorError::Unterminated { at: start })?;
                let (raw, _) = rest.split_at(end);
                self.at += end + 1;
                // Go drops carriage returns from raw strings.
                Ok(raw.replace('\r', ""))
            }
            Some('"') => self.quoted(start),
            _ => {
                self.at = start;
                Err(self.expected("a string in double or back quotes"))
            }
        }
    }

    fn quoted(&mut self, start: usize) -> Result<String, SelectorError> {
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(SelectorError::Unterminated { at: start }),
                Some('"') => break,
                Some('\\') => self.escape(&mut bytes)?,
                Some(plain) => bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        // `\xff` may make a string that is not UTF-8; no label value of ours could equal it.
        String::from_utf8(bytes).map_err(|_| SelectorError::NotUtf8 { at: start })
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), SelectorError> {
        let at = self.at - 1;
        let bad = SelectorError::Escape { at };
        let (radix, digits) = match self.next().ok_or(bad.clone())? {
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            '0'..='7' => {
                self.at -= 1;
                (8, 3)
            }
            simple => {
                bytes.push(match simple {
                    'a' => 0x07,
                    'b' => 0x08,
                    'f' => 0x0c,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 0x0b,
                    '\\' => b'\\',
                    '"' => b'"',
                    _ => return Err(bad),
                });
                return Ok(());
            }
        };
        let mut code = 0u32;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(radix)).ok_or(bad.clone())?;
            code = code.saturating_mul(radix).saturating_add(digit);
        }
        if digits <= 3 {
            bytes.push(u8::try_from(code).map_err(|_| bad)?);
        } else {
            let code = char::from_u32(code).ok_or(bad)?;
            bytes.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String, SelectorError> {
        let mut all = requirements(&format!("{{a={text}}}"))?;
        match all.pop().unwrap().operator {
            Operator::In(values) => Ok(values.into_iter().next().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn strings_are_read_as_go_reads_them() {
        for (text, read) in [
            (r#""a b""#, "a b"),
            (r#""a\"\\\n\t""#, "a\"\\\n\t"),
            (r#""\x41\101\u00e4\U0001F600""#, "AAä😀"),
            (r#""\xc3\xa4""#, "ä"),
            (r"`a\d`", r"a\d"),
            ("`a\r\nb`", "a\nb"),
            (r#""}{,=~""#, "}{,=~"),
            (r#""""#, ""),
        ] {
            assert_eq!(value(text).unwrap(), read, "{text}");
        }
    }

    #[test]
    fn malformed_selectors_name_the_byte() {
        let expected = |at, what| SelectorError::Expected { at, what };
        for (text, error) in [
            ("", expected(0, "an opening brace")),
            ("  app", expected(2, "an opening brace")),
            ("{", expected(1, "a label name")),
            (r#"{a="b""#, expected(6, "a comma or a closing brace")),
            (r#"{a="b",}"#, expected(7, "a label name")),
            (r#"{a "b"}"#, expected(3, "one of = != =~ !~")),
            ("{a=b}", expected(3, "a string in double or back quotes")),
            (r#"{a="b"} |= "x""#, expected(8, "the end of the selector")),
            (r#"{1a="b"}"#, expected(1, "a label name")),
            (r#"{ä="b"}"#, expected(1, "a label name")),
            (r#"{a="b}"#, SelectorError::Unterminated { at: 3 }),
            ("{a=`b}", SelectorError::Unterminated { at: 3 }),
            ("{a=\"b\nc\"}", SelectorError::Unterminated { at: 3 }),
            (r#"{a="b\'"}"#, SelectorError::Escape { at: 5 }),
            (r#"{a="\x4"}"#, SelectorError::Escape { at: 4 }),
            (r#"{a="\777"}"#, SelectorError::Escape { at: 4 }),
            (r#"{a="\ud800"}"#, SelectorError::Escape { at: 4 }),
            (r#"{a="\xff"}"#, SelectorError::NotUtf8 { at: 3 }),
        ] {
            assert_eq!(requirements(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_bad_pattern_names_its_string_and_the_byte_inside() {
        let error = requirements(r#"{a="b", c=~"x)"}"#).unwrap_err();
        assert!(matches!(error, SelectorError::Pattern { at: 11, .. }), "{error:?}");
    }
}
