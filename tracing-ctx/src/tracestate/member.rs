//! The grammar of one member of a `tracestate` list, level 2 of the specification, byte by byte.

use bytes::{BufMut, BytesMut};

use super::{MAX_TRACESTATE_MEMBERS, TraceStateError, scan};
use crate::ows;

/// Longest key in bytes.
pub(super) const MAX_KEY: usize = 256;
/// Longest value in bytes.
pub(super) const MAX_VALUE: usize = 256;

/// May begin a key.
pub(super) const KEY_START: u8 = 1;
/// May stand in a key.
pub(super) const KEY: u8 = 2;
/// May stand in a value.
pub(super) const VALUE: u8 = 4;

/// What a byte may be part of.
pub(super) const fn class(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' => KEY_START | KEY | VALUE,
        b'_' | b'-' | b'*' | b'/' | b'@' => KEY | VALUE,
        b',' | b'=' => 0,
        b' '..=b'~' => VALUE,
        _ => 0,
    }
}

/// Checks one field whose members follow `before` others. Returns the number of all members with them.
pub(super) fn check(text: &[u8], before: usize) -> Result<usize, TraceStateError> {
    match scan::members(text) {
        Some(members) if before + members <= MAX_TRACESTATE_MEMBERS => Ok(before + members),
        _ => examine(text, before),
    }
}

/// Like [`check`], member by member.
#[cold]
fn examine(text: &[u8], before: usize) -> Result<usize, TraceStateError> {
    let mut members = before;
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Ok(members),
            [b' ' | b'\t' | b',', rest @ ..] => rest,
            _ if members == MAX_TRACESTATE_MEMBERS => {
                return Err(TraceStateError::TooManyMembers { limit: MAX_TRACESTATE_MEMBERS });
            }
            _ => {
                let rest = skip(rest).ok_or(TraceStateError::Member { at: members })?;
                members += 1;
                rest
            }
        };
    }
}

/// What follows the member at the beginning of `text`, from the comma on; `None` if that is no member.
fn skip(text: &[u8]) -> Option<&[u8]> {
    let (key, rest) = text.split_at(text.iter().take_while(|&&byte| is(byte, KEY)).count());
    let [b'=', rest @ ..] = rest else {
        return None;
    };
    let (value, rest) = rest.split_at(rest.iter().take_while(|&&byte| is(byte, VALUE)).count());
    // Spaces may stand in a value, but those at its end are padding, as a tab is.
    let (value, rest) = (ows::trim_end(value), ows::trim_start(rest));
    let good = starts_key(key) && (1..=MAX_VALUE).contains(&value.len()) && matches!(rest, [] | [b',', ..]);
    good.then_some(rest)
}

/// The members of a text that [`check`] has accepted.
pub(super) fn split(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|member| member.trim_matches([' ', '\t']).split_once('='))
}

/// A text that [`check`] has accepted, without padding.
#[cold]
pub(super) fn compact(text: &[u8]) -> BytesMut {
    write(split(printable(text)))
}

/// Members as they are sent, without padding.
pub(super) fn write<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> BytesMut {
    let mut text = BytesMut::new();
    for (key, value) in members {
        if !text.is_empty() {
            text.put_u8(b',');
        }
        text.put_slice(key.as_bytes());
        text.put_u8(b'=');
        text.put_slice(value.as_bytes());
    }
    text
}

/// The value of the first member of such a text that has this key.
pub(super) fn find<'text>(text: &'text [u8], key: &str) -> Option<&'text str> {
    // Nearly always it is not there, which is told without looking for members.
    if !may_have(text, key.as_bytes()) {
        return None;
    }
    split(printable(text)).find(|member| member.0 == key).map(|member| member.1)
}

/// The text of bytes that [`check`] has accepted.
pub(super) fn printable(text: &[u8]) -> &str {
    str::from_utf8(text).expect("checked to be printable ascii")
}

/// Whether the first and the last byte of a key stand as far apart as they do in it, in front of an equals sign:
/// without branches, so that the compiler looks at many places at once.
fn may_have(text: &[u8], key: &[u8]) -> bool {
    let ([first, ..], [.., last]) = (key, key) else {
        return false;
    };
    let (Some(lasts), Some(equals)) = (text.get(key.len() - 1..), text.get(key.len()..)) else {
        return false;
    };
    let places = text.iter().zip(lasts).zip(equals);
    places.fold(false, |found, ((a, b), c)| found | ((a == first) & (b == last) & (*c == b'=')))
}

pub(super) fn is_key(key: &[u8]) -> bool {
    starts_key(key) && key.iter().all(|&byte| is(byte, KEY))
}

pub(super) fn is_value(value: &[u8]) -> bool {
    let good_len = (1..=MAX_VALUE).contains(&value.len());
    good_len && value.last() != Some(&b' ') && value.iter().all(|&byte| is(byte, VALUE))
}

/// Whether this is a key provided that all its bytes may stand in one.
fn starts_key(key: &[u8]) -> bool {
    key.len() <= MAX_KEY && key.first().is_some_and(|&byte| is(byte, KEY_START))
}

fn is(byte: u8, classes: u8) -> bool {
    class(byte) & classes != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All texts of up to six of the bytes that make a difference.
    fn short_texts() -> impl Iterator<Item = Vec<u8>> {
        let bytes = b"a@A=, \t\x7f";
        let text = |mut number: usize, len: u32| {
            let mut next = || {
                let byte = bytes[number % bytes.len()];
                number /= bytes.len();
                byte
            };
            (0..len).map(|_| next()).collect()
        };
        (0..=6).flat_map(move |len| (0..bytes.len().pow(len)).map(move |number| text(number, len)))
    }

    #[test]
    fn the_scan_says_what_the_examination_says_of_every_short_text() {
        for text in short_texts() {
            assert_eq!(scan::members(&text), examine(&text, 0).ok(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn the_scan_says_what_the_examination_says_of_every_byte_in_every_place() {
        let valid = b"a@=\t,\t b0=x y, c= z\t ";
        for valid in [&valid[..3], &valid[..]] {
            for (at, byte) in (0..valid.len()).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut text = valid.to_vec();
                text[at] = byte;
                assert_eq!(scan::members(&text), examine(&text, 0).ok(), "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn the_scan_lets_no_key_or_value_that_is_too_long_pass_wherever_it_stands() {
        for before in 0..=256 {
            let front =
                if before < 4 { ",".repeat(before) } else { format!("{}=1,", "k".repeat(before - 3)) };
            for member in [format!("{}=1", "k".repeat(257)), format!("k={}", "v".repeat(257))] {
                let text = format!("{front}{member},a=1");
                assert_eq!(scan::members(text.as_bytes()), None, "{text}");
                examine(text.as_bytes(), 0).unwrap_err();
            }
        }
    }
}
