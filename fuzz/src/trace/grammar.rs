//! What the specifications accept, written a second time and as plainly as they say it: what is refused, too, has to
//! be refused for a reason.

use forebay_tracing_ctx::{
    MAX_BAGGAGE_LEN, MAX_BAGGAGE_MEMBERS, MAX_TRACEPARENT_LEN, MAX_TRACESTATE_MEMBERS, TRACEPARENT_LEN,
};

/// Without the spaces and tabs around it.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The parts between these bytes, trimmed; those that are empty are nothing.
fn parts(text: &[u8], between: u8) -> impl Iterator<Item = &[u8]> {
    text.split(move |&byte| byte == between).map(trim)
}

fn members(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    parts(text, b',').filter(|member| !member.is_empty())
}

/// Whether this is a `traceparent`.
pub(super) fn is_traceparent(value: &[u8]) -> bool {
    let value = trim(value);
    let Some((first, rest)) = value.split_at_checked(TRACEPARENT_LEN) else { return false };
    let parts: Vec<&[u8]> = first.split(|&byte| byte == b'-').collect();
    let digits = |part: &[u8]| part.iter().all(|byte| b"0123456789abcdef".contains(byte));
    let zero = |part: &[u8]| part.iter().all(|&byte| byte == b'0');
    let [version, trace_id, parent_id, flags] = parts.as_slice() else { return false };
    let lengths = [version.len(), trace_id.len(), parent_id.len(), flags.len()];
    let rest_is_good = match *version {
        b"ff" => false,
        b"00" => rest.is_empty(),
        _ => rest.is_empty() || (rest.starts_with(b"-") && value.len() <= MAX_TRACEPARENT_LEN),
    };
    lengths == [2, 32, 16, 2]
        && parts.iter().all(|part| digits(part))
        && !zero(trace_id)
        && !zero(parent_id)
        && rest_is_good
}

/// Keys and values of these fields together, or `None` if the list is dropped.
pub(super) fn tracestate(fields: &[&[u8]]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let combined = fields.join(&b',');
    let members: Option<Vec<_>> = members(&combined)
        .map(|member| {
            let (key, value) = member.split_at(member.iter().position(|&byte| byte == b'=')?);
            let value = &value[1..];
            let start = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let in_key = |byte: u8| start(byte) || b"_-*/@".contains(&byte);
            let in_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
            let key_is_good =
                start(*key.first()?) && key.len() <= 256 && key.iter().all(|&byte| in_key(byte));
            let value_is_good =
                !value.is_empty() && value.len() <= 256 && value.iter().all(|&byte| in_value(byte));
            (key_is_good && value_is_good).then(|| (key.to_vec(), value.to_vec()))
        })
        .collect();
    members.filter(|members| members.len() <= MAX_TRACESTATE_MEMBERS)
}

/// The members of these fields that are kept, without spaces and tabs.
pub(super) fn baggage(fields: &[&[u8]]) -> Vec<Vec<u8>> {
    let combined = fields.join(&b',');
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut len = 0;
    for member in members(&combined).filter_map(baggage_member) {
        len += usize::from(!kept.is_empty()) + member.len();
        if kept.len() == MAX_BAGGAGE_MEMBERS || len > MAX_BAGGAGE_LEN {
            break;
        }
        kept.push(member);
    }
    kept
}

/// A member without spaces and tabs, or `None` if it is none.
fn baggage_member(text: &[u8]) -> Option<Vec<u8>> {
    let token = |key: &[u8]| {
        let other = |byte: &u8| !byte.is_ascii_graphic() || b"(),/:;<=>?@[\\]{}\"".contains(byte);
        !key.is_empty() && !key.iter().any(other)
    };
    let octets = |value: &[u8]| value.iter().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(byte));
    let mut printed = Vec::new();
    for (at, part) in parts(text, b';').enumerate() {
        let (key, value) = match part.iter().position(|&byte| byte == b'=') {
            Some(equals) => (trim(&part[..equals]), Some(trim(&part[equals + 1..]))),
            None => (part, None),
        };
        if !token(key) || !value.is_none_or(octets) || (at == 0 && value.is_none()) {
            return None;
        }
        printed.extend(if at == 0 { &b""[..] } else { b";" });
        printed.extend(key);
        printed.extend(value.into_iter().flat_map(|value| [b"=", value].concat()));
    }
    Some(printed)
}
