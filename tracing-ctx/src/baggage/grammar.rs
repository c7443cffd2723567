//! The grammar of a list, byte by byte.
//!
//! ```text
//! list     = member *( "," member )
//! member   = key "=" value *( ";" property )
//! property = key [ "=" value ]
//! key      = 1*TOKEN
//! value    = *OCTET
//! ```
//!
//! Spaces and tabs may stand around each part, and members may be empty.

use std::iter;

use crate::ows;

/// May stand in a key: a token (RFC 7230, 3.2.6).
const TOKEN: u8 = 1;
/// May stand in a value: all that is printable but space, `"`, `,`, `;` and `\`.
const OCTET: u8 = 2;

/// What each byte may be part of.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0x21_u8;
    while byte <= 0x7e {
        classes[byte as usize] = match byte {
            b'"' | b',' | b';' | b'\\' => 0,
            b'(' | b')' | b'/' | b':' | b'<' | b'=' | b'>' | b'?' | b'@' | b'[' | b']' | b'{' | b'}' => OCTET,
            _ => TOKEN | OCTET,
        };
        byte += 1;
    }
    classes
};

/// What stands between two commas of a field that may be anything, unless it is empty.
pub(super) struct Piece<'a> {
    /// With the spaces and tabs in it.
    pub(super) text: &'a [u8],
    /// Length without spaces and tabs, or `None` if this is no member.
    pub(super) len: Option<usize>,
}

/// The pieces of a field. Looks at each byte once, and at those of what is no member twice.
pub(super) fn pieces(field: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = field;
    iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', behind @ ..] = rest {
            rest = behind;
        }
        if rest.is_empty() {
            return None;
        }
        let judged = member(rest);
        let end = match judged {
            Some((_, behind)) => rest.len() - behind.len(),
            None => rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len()),
        };
        let (text, behind) = rest.split_at(end);
        rest = behind;
        Some(Piece { text, len: judged.map(|(len, _)| len) })
    })
}

/// Length without padding of the member at the beginning, and what follows it, from the comma on.
fn member(text: &[u8]) -> Option<(usize, &[u8])> {
    let (key, rest) = skip_key(text)?;
    let (value, mut rest) = skip_value(rest)?;
    let mut len = key + value;
    while let [b';', property @ ..] = rest {
        let (key, behind) = skip_key(property)?;
        let (value, behind) = skip_value(behind).unwrap_or((0, behind));
        len += 1 + key + value;
        rest = behind;
    }
    matches!(rest, [] | [b',', ..]).then_some((len, rest))
}

/// Length of the key at the beginning, and what follows it and the padding around it.
fn skip_key(text: &[u8]) -> Option<(usize, &[u8])> {
    let (key, rest) = run(ows::trim_start(text), TOKEN);
    (!key.is_empty()).then_some((key.len(), ows::trim_start(rest)))
}

/// Length of the equals sign and the value at the beginning, and what follows them and their padding.
fn skip_value(text: &[u8]) -> Option<(usize, &[u8])> {
    let text = text.strip_prefix(b"=")?;
    let (value, rest) = run(ows::trim_start(text), OCTET);
    Some((1 + value.len(), ows::trim_start(rest)))
}

/// As much of the beginning as may stand in this, and the rest.
fn run(text: &[u8], class: u8) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|&byte| !is(byte, class)).unwrap_or(text.len()))
}

/// Whether this may be a key.
pub(super) fn is_key(key: &[u8]) -> bool {
    !key.is_empty() && key.iter().all(|&byte| is(byte, TOKEN))
}

/// Whether this may stand in a value.
pub(super) fn is_octet(byte: u8) -> bool {
    is(byte, OCTET)
}

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}
