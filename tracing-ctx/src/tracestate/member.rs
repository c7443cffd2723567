//! The grammar of one member of a `tracestate` list, level 2 of the specification, byte by byte.

use super::{MAX_TRACESTATE_MEMBERS, TraceStateError, check_len};

/// Longest key in bytes.
pub(super) const MAX_KEY: usize = 256;
/// Longest value in bytes.
pub(super) const MAX_VALUE: usize = 256;

/// May begin a key.
const KEY_START: u8 = 1;
/// May stand in a key.
const KEY: u8 = 2;
/// May stand in a value.
const VALUE: u8 = 4;

/// What each byte may be part of.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0x20_u8;
    while byte <= 0x7e {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' => KEY_START | KEY | VALUE,
            b'_' | b'-' | b'*' | b'/' | b'@' => KEY | VALUE,
            b',' | b'=' => 0,
            _ => VALUE,
        };
        byte += 1;
    }
    classes
};

/// Checks one field whose members follow `before` others. Returns the number of all members with them.
pub(super) fn check(text: &[u8], before: usize) -> Result<usize, TraceStateError> {
    check_len(text.len())?;
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
    let (value, rest) = (trim_end(value), trim_start(rest));
    let good = starts_key(key) && (1..=MAX_VALUE).contains(&value.len()) && matches!(rest, [] | [b',', ..]);
    good.then_some(rest)
}

/// The members of a text that [`check`] has accepted.
pub(super) fn split(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|member| member.trim_matches([' ', '\t']).split_once('='))
}

pub(super) fn is_key(key: &[u8]) -> bool {
    starts_key(key) && key.iter().all(|&byte| is(byte, KEY))
}

pub(super) fn is_value(value: &[u8]) -> bool {
    let good_len = (1..=MAX_VALUE).contains(&value.len());
    good_len && value.last() != Some(&b' ') && value.iter().all(|&byte| is(byte, VALUE))
}

/// Without the spaces and tabs around it, which belong to neither a field nor a member.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Whether this is a key provided that all its bytes may stand in one.
fn starts_key(key: &[u8]) -> bool {
    key.len() <= MAX_KEY && key.first().is_some_and(|&byte| is(byte, KEY_START))
}

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
