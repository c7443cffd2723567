//! What a node says of a key, as text. Invariant: what decodes is what was encoded; other text is no word.

use bytes::Bytes;

/// The low bits of a number tell apart nodes that say something at the same moment.
pub(super) const AUTHOR_BITS: u32 = 24;

/// As text it is a third longer, and has to fit into a datagram of 64 KiB with what is around it.
pub(super) const MAX_GOSSIP_VALUE_BYTES: usize = 16 << 10;

const PREFIX: &str = "r:";

/// A word: that a key has this value, or none any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word {
    pub(super) number: u64,
    pub(super) value: Option<Bytes>,
}

/// The key of a state under which a word on `key` is.
pub(super) fn key_of(key: &str) -> String {
    format!("{PREFIX}{key}")
}

/// The key that is meant by a key of a state.
pub(super) fn meant_by(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
}

/// The number of a word, in hexadecimal digits.
const NUMBER_DIGITS: usize = 16;

impl Word {
    /// The number, `+` or `-` for whether there is a value, and the value in base64 (RFC 4648, without padding).
    pub(super) fn encode(&self) -> String {
        let sign = if self.value.is_some() { '+' } else { '-' };
        format!("{:016x}{sign}{}", self.number, to_text(self.value.as_deref().unwrap_or_default()))
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        let number = number_of(text)?;
        let value = match text.get(NUMBER_DIGITS..)?.split_at_checked(1)? {
            ("-", "") => None,
            ("+", value) => Some(from_text(value)?.into()),
            _ => return None,
        };
        Some(Self { number, value })
    }
}

/// The number of a word, without looking at the value.
pub(super) fn number_of(text: &str) -> Option<u64> {
    let digits = text.get(..NUMBER_DIGITS)?;
    let is_ours = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_ours.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What no digit stands for.
const NONE: u8 = 64;

/// What each byte stands for.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < NONE {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 4];
        three[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(three);
        for digit in 0..=chunk.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63].into());
        }
    }
    text
}

fn from_text(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for (digit, &byte) in chunk.iter().enumerate() {
            let value = VALUES[usize::from(byte)];
            if value == NONE {
                return None;
            }
            bits |= u32::from(value) << (18 - 6 * digit);
        }
        let three = bits.to_be_bytes();
        let (whole, rest) = three[1..].split_at_checked(chunk.len() - 1)?;
        // Bits that no byte has, and a single digit, are not of our making.
        if whole.is_empty() || rest.iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend(whole);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_back_whatever_its_length() {
        for len in 0..70 {
            let value = (0..len).map(|byte: u8| byte.wrapping_mul(37)).collect::<Vec<u8>>();
            let word = Word { number: u64::from(len) << 50 | 7, value: Some(value.into()) };
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        let deleted = Word { number: 3, value: None };
        assert_eq!(Word::decode(&deleted.encode()), Some(deleted));
        assert_eq!(to_text(b"foobar!"), "Zm9vYmFyIQ");
    }

    #[test]
    fn other_text_is_no_word() {
        let word = |value: &str| Word::decode(&format!("0000000000000003{value}"));
        assert_eq!(word("+YWI"), Some(Word { number: 3, value: Some(Bytes::from_static(b"ab")) }));
        for value in ["", "-YWI", "+Y", "+YW?", "+YWJ", "+YWIé", "+YWI=", " YWI", "é"] {
            assert_eq!(word(value), None, "{value}");
        }
        for text in ["", "3", "+000000000000003+", "000000000000000A+", "00000000000000é+"] {
            assert_eq!(Word::decode(text), None, "{text}");
        }
    }
}
