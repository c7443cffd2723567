//! Optional white space around the parts of a field's value: spaces and tabs, and nothing else (RFC 9110, 5.6.3).

/// Whether it is one of the two.
#[cfg(feature = "std")]
pub(crate) const fn is(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without it at either end.
pub(crate) const fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Without it at the beginning.
pub(crate) const fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Without it at the end.
pub(crate) const fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
