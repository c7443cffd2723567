//! As much JSON as an envelope needs, over bytes: strings may hold anything but what JSON escapes, for labels
//! in a bucket are not always UTF-8, and numbers are handed out as they are written. Recursion is bounded by
//! taking none: a value that nobody asked for is skipped with a counter of its brackets.

#![warn(clippy::indexing_slicing)]

use crate::{Error, Section};

/// Takes values off the front of a text.
#[derive(Debug)]
pub(crate) struct Json<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn corrupt(&self, what: impl Into<String>) -> Error {
        Error::corrupt(Section::EnvelopeText, self.at, what)
    }

    /// Takes an object and hands each of its names to `member`, which has to take the value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            member(self, name)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<Vec<u8>, Error> {
        self.expect(b'"')?;
        let mut string = Vec::new();
        loop {
            match self.byte()? {
                b'"' => return Ok(string),
                b'\\' => self.escape(&mut string)?,
                byte => string.push(byte),
            }
        }
    }

    /// Takes a number and gives it as it is written.
    pub(crate) fn number(&mut self) -> Result<&'a [u8], Error> {
        self.space();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        if length == 0 {
            return Err(self.corrupt("no number where one should be"));
        }
        self.at += length;
        Ok(rest.get(..length).unwrap_or_default())
    }

    /// Takes a value of any kind. Of what it holds only strings and brackets are looked at.
    pub(crate) fn skip(&mut self) -> Result<(), Error> {
        let mut depth = 0usize;
        loop {
            self.space();
            match self.peek() {
                Some(b'"') => drop(self.string()?),
                Some(b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                Some(byte) if byte.is_ascii_alphanumeric() || byte == b'-' => {
                    while self
                        .peek()
                        .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
                    {
                        self.at += 1;
                    }
                }
                _ => return Err(self.corrupt("no value where one should be")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.corrupt("more than one value")) }
    }

    fn escape(&mut self, string: &mut Vec<u8>) -> Result<(), Error> {
        let plain = match self.byte()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 0x08,
            b'f' => 0x0C,
            b'u' => {
                let unit = self.unit()?;
                let mut utf8 = [0; 4];
                string.extend_from_slice(self.scalar(unit)?.encode_utf8(&mut utf8).as_bytes());
                return Ok(());
            }
            byte => return Err(self.corrupt(format!("escape \\{} that JSON has not", byte.escape_ascii()))),
        };
        string.push(plain);
        Ok(())
    }

    /// The character of a UTF-16 unit, or of it and the one that follows; a surrogate alone is replaced.
    fn scalar(&mut self, unit: u16) -> Result<char, Error> {
        let before = self.at;
        let mut units = vec![unit];
        if (0xD800..0xDC00).contains(&unit)
            && self.text.get(self.at..).unwrap_or_default().starts_with(b"\\u")
        {
            self.at += 2;
            units.push(self.unit()?);
        }
        match char::decode_utf16(units.iter().copied()).next() {
            Some(Ok(scalar)) => Ok(scalar),
            _ => {
                self.at = before;
                Ok(char::REPLACEMENT_CHARACTER)
            }
        }
    }

    fn unit(&mut self) -> Result<u16, Error> {
        let digits = self.text.get(self.at..).and_then(|rest| rest.first_chunk::<4>());
        let unit = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u16::from_str_radix(digits, 16).ok()
        });
        let unit = unit.ok_or_else(|| self.corrupt("\\u without four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let byte = self.peek().ok_or_else(|| self.corrupt("the text ends within a string"))?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.space();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Error> {
        if self.take(wanted) {
            return Ok(());
        }
        let found = self.peek().map_or_else(|| "the end".to_owned(), |byte| byte.escape_ascii().to_string());
        Err(self.corrupt(format!("{found}, expected {}", char::from(wanted))))
    }
}

/// Appends a string as Loki writes it: what has to be escaped is, every other byte stands for itself.
pub(crate) fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    out.push(b'"');
    for &byte in string {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                let digit = HEX.get(usize::from(byte % 16)).copied().unwrap_or_default();
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + byte / 16, digit]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_bytes_survive_as_a_string() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = Vec::new();
        put_string(&mut text, &all);
        assert_eq!(Json::new(&text).string().unwrap(), all);
        assert!(text.starts_with(br#""\u0000\u0001"#));
    }

    #[test]
    fn escapes_of_other_writers_are_read() {
        let text = br#" "\u00e9\ud83d\ude00\/\b\f" "#;
        assert_eq!(Json::new(text).string().unwrap(), "é😀/\u{8}\u{c}".as_bytes());
        assert_eq!(Json::new(br#""\ud800x""#).string().unwrap(), "\u{FFFD}x".as_bytes());
        for text in [&br#""\x""#[..], br#""\u12g4""#, br#""\u+123""#, br#""\u123"#, br#""abc"#, b"x"] {
            assert!(Json::new(text).string().is_err());
        }
    }

    #[test]
    fn a_value_nobody_asked_for_is_skipped_however_deep() {
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        for value in [&b"null"[..], b"-1.5e+3", br#""a\"b""#, br#"{"a":[1,{"b":"]"}],"c":true}"#, &deep] {
            let text = [value, b","].concat();
            let mut json = Json::new(&text);
            json.skip().unwrap();
            assert_eq!(json.at, value.len());
        }
        for value in [&b""[..], b"[", b"]", b"[1", br#"{"a"#] {
            assert!(Json::new(value).skip().is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut json = Json::new(&text);
            let _ = json.object(|json, _| json.skip());
            let _ = Json::new(&text).skip();
        }
    }
}
