//! The text form of a label set, `{app="x", env="y"}`, read and printed.
//! Invariant: what is read is sorted by name, has no empty values, and prints as text that reads as the same.
//!
//! ```
//! use forebay_tenant::labels;
//!
//! let mut unescaped = String::new();
//! let pairs = labels::parse(r#"{env="prod",app="say \"hi\"",}"#, &mut unescaped)?;
//! assert_eq!(pairs, [("app", r#"say "hi""#), ("env", "prod")]);
//! assert_eq!(labels::display(&pairs).to_string(), r#"{app="say \"hi\"", env="prod"}"#);
//! # Ok::<(), labels::LabelError>(())
//! ```

use std::fmt::{self, Write};
use std::ops::Range;

use crate::validate::Reason;

/// The longest text that is read, in bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// The most labels that are read.
pub const MAX_LABELS: usize = 4096;

/// Why a text is no label set; positions are bytes from 0.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The text is longer than [`MAX_TEXT_BYTES`].
    #[error("labels of {length} bytes exceed the limit of {MAX_TEXT_BYTES}")]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// There are more labels than [`MAX_LABELS`].
    #[error("more labels than the limit of {MAX_LABELS}")]
    TooMany,
    /// Something else has to stand here.
    #[error("expected {expected} at byte {position}, found {}", Found(*found))]
    Expected {
        /// What.
        expected: &'static str,
        /// The character that does, or the end.
        found: Option<char>,
        /// Where.
        position: usize,
    },
    /// A value has no closing quote on its line.
    #[error("value that starts at byte {position} has no end")]
    Unclosed {
        /// Where its opening quote is.
        position: usize,
    },
    /// A backslash starts none of Go's escapes.
    #[error("invalid escape at byte {position}")]
    Escape {
        /// Where the backslash is.
        position: usize,
    },
    /// The bytes that a value's escapes spell are no text.
    #[error("value that starts at byte {position} is not utf-8")]
    NotText {
        /// Where its opening quote is.
        position: usize,
    },
}

impl LabelError {
    /// The reason to count a stream with such labels under.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::InvalidLabels
    }
}

/// Reads a label set into pairs sorted by name.
///
/// Pairs borrow from `text`, or from `unescaped` where a value has escapes; it is cleared first, and without
/// escapes it stays empty. Blanks are allowed between tokens, and a comma after the last label. Names are
/// `[a-zA-Z_][a-zA-Z0-9_]*`; values are Go strings, `"with\tescapes"` or `` `without` ``. A label with an
/// empty value is the same as no label, and is left out. A name that is there twice stays twice, for
/// [`Validator::labels`](crate::Validator::labels) to refuse. O(n log n) in the labels.
///
/// # Errors
/// [`LabelError`] with the place of the first mistake.
pub fn parse<'a>(text: &'a str, unescaped: &'a mut String) -> Result<Vec<(&'a str, &'a str)>, LabelError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(LabelError::TooLong { length: text.len() });
    }
    unescaped.clear();
    let found = Cursor { text, position: 0 }.labels(unescaped)?;
    let unescaped: &'a str = unescaped;
    let resolve = |value: Value<'a>| match value {
        Value::Verbatim(value) => value,
        // The range was taken from the buffer itself, at the ends of what was appended.
        Value::Unescaped(range) => unescaped.get(range).unwrap_or_default(),
    };
    let mut pairs: Vec<_> = found.into_iter().map(|(name, value)| (name, resolve(value))).collect();
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.sort_by_key(|(name, _)| *name);
    Ok(pairs)
}

/// Prints pairs in the form `{app="x", env="y"}`, values quoted as Go quotes them.
pub fn display<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl fmt::Display + 'a {
    struct Labels<'a>(&'a [(&'a str, &'a str)]);
    impl fmt::Display for Labels<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_char('{')?;
            for (index, (name, value)) in self.0.iter().enumerate() {
                write!(f, "{}{name}=\"", if index == 0 { "" } else { ", " })?;
                value.chars().try_for_each(|c| quote(f, c))?;
                f.write_char('"')?;
            }
            f.write_char('}')
        }
    }
    Labels(pairs)
}

/// Whether a text is a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.bytes().all(is_name_byte)
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

enum Value<'a> {
    Verbatim(&'a str),
    Unescaped(Range<usize>),
}

struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Cursor<'a> {
    fn labels(mut self, unescaped: &mut String) -> Result<Vec<(&'a str, Value<'a>)>, LabelError> {
        let mut found = Vec::with_capacity(8);
        self.token('{', "`{`")?;
        loop {
            if self.accept('}') {
                break;
            }
            if found.len() == MAX_LABELS {
                return Err(LabelError::TooMany);
            }
            let name = self.name()?;
            self.token('=', "`=`")?;
            found.push((name, self.value(unescaped)?));
            if !self.accept(',') {
                self.token('}', "`,` or `}`")?;
                break;
            }
        }
        self.skip_blanks();
        if self.rest().is_empty() { Ok(found) } else { Err(self.expected("the end")) }
    }

    fn name(&mut self) -> Result<&'a str, LabelError> {
        self.skip_blanks();
        let rest = self.rest();
        let name = &rest[..rest.bytes().take_while(|b| is_name_byte(*b)).count()];
        if !is_name(name) {
            return Err(self.expected("a label name"));
        }
        self.position += name.len();
        Ok(name)
    }

    fn value(&mut self, unescaped: &mut String) -> Result<Value<'a>, LabelError> {
        self.skip_blanks();
        let position = self.position;
        let unclosed = LabelError::Unclosed { position };
        let rest = self.rest();
        if let Some(raw) = rest.strip_prefix('`') {
            let raw = &raw[..raw.find('`').ok_or(unclosed)?];
            self.position += raw.len() + 2;
            return Ok(match raw.contains('\r') {
                false => Value::Verbatim(raw),
                // Go drops carriage returns from raw strings.
                true => append(unescaped, &raw.replace('\r', "")),
            });
        }
        let Some(quoted) = rest.strip_prefix('"') else {
            return Err(self.expected("a quoted value"));
        };
        match quoted.find(['"', '\\', '\n']) {
            Some(end) if quoted[end..].starts_with('"') => {
                self.position += end + 2;
                Ok(Value::Verbatim(&quoted[..end]))
            }
            Some(end) if quoted[end..].starts_with('\\') => {
                self.position += 1;
                let bytes = self.unescape(unclosed)?;
                let value = String::from_utf8(bytes).map_err(|_| LabelError::NotText { position })?;
                Ok(append(unescaped, &value))
            }
            _ => Err(unclosed),
        }
    }

    /// The bytes up to the closing quote, which is passed. Escapes spell bytes, which together may be text.
    fn unescape(&mut self, unclosed: LabelError) -> Result<Vec<u8>, LabelError> {
        let mut bytes = Vec::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find(['"', '\\', '\n']) else { return Err(unclosed) };
            bytes.extend_from_slice(&rest.as_bytes()[..end]);
            self.position += end;
            match &rest[end..=end] {
                "\"" => {
                    self.position += 1;
                    return Ok(bytes);
                }
                "\\" => {
                    let length = escape(&rest[end + 1..], &mut bytes);
                    self.position += 1 + length.ok_or(LabelError::Escape { position: self.position })?;
                }
                _ => return Err(unclosed),
            }
        }
    }

    fn token(&mut self, token: char, expected: &'static str) -> Result<(), LabelError> {
        if self.accept(token) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn accept(&mut self, token: char) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(token);
        self.position += if found { token.len_utf8() } else { 0 };
        found
    }

    fn skip_blanks(&mut self) {
        self.position +=
            self.rest().bytes().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
    }

    fn expected(&self, expected: &'static str) -> LabelError {
        LabelError::Expected { expected, found: self.rest().chars().next(), position: self.position }
    }

    /// What is left. The position is always a boundary: it moves by whole characters that were looked at.
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }
}

fn append<'a>(unescaped: &mut String, value: &str) -> Value<'a> {
    let start = unescaped.len();
    unescaped.push_str(value);
    Value::Unescaped(start..unescaped.len())
}

/// Appends what the escape after a backslash spells, and answers its length without the backslash.
fn escape(rest: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    let code = |from: usize, digits: usize, radix: u32| {
        let digits = rest.get(from..from + digits).filter(|text| !text.starts_with('+'))?;
        u32::from_str_radix(digits, radix).ok()
    };
    let text = |code: u32, bytes: &mut Vec<u8>| {
        bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    };
    let simple = match rest.bytes().next()? {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        quoted @ (b'\\' | b'"') => quoted,
        b'x' => {
            bytes.push(u8::try_from(code(1, 2, 16)?).ok()?);
            return Some(3);
        }
        b'u' => return text(code(1, 4, 16)?, bytes).map(|()| 5),
        b'U' => return text(code(1, 8, 16)?, bytes).map(|()| 9),
        b'0'..=b'7' => {
            bytes.push(u8::try_from(code(0, 3, 8)?).ok()?);
            return Some(3);
        }
        _ => return None,
    };
    bytes.push(simple);
    Some(1)
}

/// One character as Go's `strconv.Quote` writes it.
fn quote(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '"' => f.write_str("\\\""),
        '\\' => f.write_str("\\\\"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        ' '..='~' => f.write_char(c),
        '\0'..='\x7f' => write!(f, "\\x{:02x}", u32::from(c)),
        _ if is_printable(c) => f.write_char(c),
        '\u{80}'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c)),
        _ => write!(f, "\\U{:08x}", u32::from(c)),
    }
}

/// Whether a character is a letter, mark, number, punctuation or symbol. Rust escapes the others, and marks
/// where they start a text; so a letter goes before.
fn is_printable(c: char) -> bool {
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = c.encode_utf8(&mut buffer[1..]).len();
    let text = str::from_utf8(&buffer[..=length]).expect("a letter and a character are text");
    text.escape_debug().nth(1) != Some('\\')
}

struct Found(Option<char>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(c) => write!(f, "{c:?}"),
            None => f.write_str("the end"),
        }
    }
}

#[cfg(test)]
mod tests;
