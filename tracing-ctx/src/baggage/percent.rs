//! Percent-encoding of values. Whatever is encoded decodes to itself.

use std::borrow::Cow;

use super::grammar;

/// The text that is written with escapes, borrowed if there are none.
///
/// Escaped bytes that are no UTF-8 become U+FFFD, one for each maximal part of a character (Unicode 3.9), and
/// what is no escape stays.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.as_bytes().windows(3).any(|window| escape(window).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let (byte, behind) = escape(rest).unwrap_or((*first, behind));
        decoded.push(byte);
        rest = behind;
    }
    Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Appends a text with escapes for `%` and for each byte that may not stand in a value.
pub(super) fn encode(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if byte != b'%' && grammar::is_octet(byte) {
            out.push(byte);
        } else {
            out.extend([b'%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
}

/// The byte that is escaped at the beginning, if one is, and what is behind it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, behind @ ..] = text else {
        return None;
    };
    Some(((number(*high)? << 4) | number(*low)?, behind))
}

/// What a digit stands for, in either case.
fn number(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The digit for a number below 16; upper case is what RFC 3986 asks of whoever writes.
fn digit(number: u8) -> u8 {
    match number {
        0..=9 => b'0' + number,
        _ => b'A' + number - 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_an_escape_in_either_case() {
        for byte in 0..=u8::MAX {
            let (upper, lower) = (format!("%{byte:02X}"), format!("%{byte:02x}"));
            assert_eq!(escape(upper.as_bytes()), Some((byte, &b""[..])));
            assert_eq!(escape(lower.as_bytes()), Some((byte, &b""[..])));
        }
    }

    #[test]
    fn every_character_survives() {
        for character in '\0'..=char::MAX {
            let mut text = [0; 4];
            let text = &*character.encode_utf8(&mut text);
            let mut encoded = Vec::new();
            encode(&mut encoded, text);
            assert_eq!(decode(std::str::from_utf8(&encoded).unwrap()), text);
        }
    }

    #[test]
    fn two_bytes_that_are_no_digits_are_no_escape() {
        for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_hexdigit()) {
            assert_eq!(escape(&[b'%', byte, b'0']), None);
            assert_eq!(escape(&[b'%', b'0', byte]), None);
        }
    }
}
