//! What kind of text a slot of a skeleton takes, and the number that stands for it. A number prints as exactly
//! the bytes that it was read from, so classes lose nothing.

use super::timestamp::Format;

/// Digits in the longest decimal number.
pub(crate) const MAX_DIGITS: usize = 19;
/// Bytes of a UUID as text.
pub(crate) const UUID_BYTES: usize = 36;

/// The kind of a slot or column.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Class {
    /// Any bytes.
    Text,
    /// A decimal `u64` without leading zeros.
    Number,
    /// A decimal of that many digits, at most 19.
    Padded(u8),
    /// At most 19 digits with or without leading zeros; see [`digits_code`].
    Digits,
    /// That many hex digits in lower case, at most 16.
    Hex(u8),
    /// The same in upper case.
    HexUpper(u8),
    /// That many hex digits in lower case: an even number above 16, at most 254.
    HexBytes(u8),
    /// Four decimal bytes with points between.
    Ip4,
    /// A UUID in lower case.
    Uuid,
    /// A time.
    Time(Format),
}

impl Class {
    /// The two bytes that stand for it in a file.
    pub(crate) fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Text => [0, 0],
            Self::Number => [1, 0],
            Self::Padded(width) => [2, width],
            Self::Hex(width) => [3, width],
            Self::HexUpper(width) => [4, width],
            Self::HexBytes(width) => [5, width],
            Self::Ip4 => [6, 0],
            Self::Uuid => [7, 0],
            Self::Time(format) => [8, format.number()],
            Self::Digits => [9, 0],
        }
    }

    /// The class of two bytes, if there is one.
    pub(crate) fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        Some(match bytes {
            [0, 0] => Self::Text,
            [1, 0] => Self::Number,
            [2, width @ 1..=19] => Self::Padded(width),
            [3, width @ 1..=16] => Self::Hex(width),
            [4, width @ 1..=16] => Self::HexUpper(width),
            [5, width @ 18..=254] if width % 2 == 0 => Self::HexBytes(width),
            [6, 0] => Self::Ip4,
            [7, 0] => Self::Uuid,
            [8, number] => Self::Time(Format::from_number(number)?),
            [9, 0] => Self::Digits,
            _ => return None,
        })
    }

    /// Whether values are numbers; otherwise they are bytes.
    pub(crate) fn is_numeric(self) -> bool {
        !matches!(self, Self::Text | Self::HexBytes(_) | Self::Uuid)
    }

    /// Bytes of each value in its binary form, where that is fixed and no number.
    pub(crate) fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::HexBytes(width) => Some(usize::from(width / 2)),
            Self::Uuid => Some(16),
            _ => None,
        }
    }

    /// Bytes of the text of each such value.
    pub(crate) fn text_bytes(self) -> usize {
        match self {
            Self::HexBytes(width) => usize::from(width),
            Self::Uuid => UUID_BYTES,
            _ => 0,
        }
    }

    /// Prints a number, and gives its width. A number that the class has not gives 0.
    #[inline]
    pub(crate) fn print(self, value: u64, out: &mut [u8; 40]) -> usize {
        match self {
            Self::Number => print_number(value, out),
            Self::Padded(width) => print_padded(value, usize::from(width), out),
            Self::Digits => match digits_of_code(value) {
                Some((number, width)) => print_padded(number, width, out),
                None => 0,
            },
            Self::Hex(width) => print_hex(value, usize::from(width), b"0123456789abcdef", out),
            Self::HexUpper(width) => print_hex(value, usize::from(width), b"0123456789ABCDEF", out),
            Self::Ip4 => print_ip4(value, out),
            Self::Time(format) => format.print(value, out),
            Self::Text | Self::HexBytes(_) | Self::Uuid => 0,
        }
    }

    /// Prints a value of [`fixed_bytes`](Self::fixed_bytes) bytes as text.
    pub(crate) fn print_bytes(self, value: &[u8], out: &mut Vec<u8>) {
        for (index, &byte) in value.iter().enumerate() {
            if self == Self::Uuid && matches!(index, 4 | 6 | 8 | 10) {
                out.push(b'-');
            }
            out.extend([byte >> 4, byte & 15].map(lower_hex));
        }
    }

    /// The binary form of the text of a value; the inverse of [`print_bytes`](Self::print_bytes).
    pub(crate) fn scan_bytes(text: &[u8], out: &mut Vec<u8>) {
        let mut high = None;
        for digit in text.iter().filter_map(|&byte| hex_value(byte)) {
            match high.take() {
                None => high = Some(digit),
                Some(first) => out.push(first << 4 | digit),
            }
        }
    }
}

/// Where the codes of strings of `width` digits start: all shorter strings come before.
const fn first_code(width: usize) -> u64 {
    let mut first = 0;
    let mut power = 10;
    let mut index = 1;
    while index < width {
        first += power;
        power *= 10;
        index += 1;
    }
    first
}

const FIRST_CODES: [u64; MAX_DIGITS + 1] = {
    let mut all = [0; MAX_DIGITS + 1];
    let mut width = 0;
    while width <= MAX_DIGITS {
        all[width] = first_code(width);
        width += 1;
    }
    all
};

/// Numbers every string of 1 to 19 digits: shorter ones first, then by value. The number of a string of one
/// digit is its value.
#[inline]
pub(crate) fn digits_code(value: u64, width: usize) -> u64 {
    value + FIRST_CODES.get(width).copied().unwrap_or(0)
}

/// Value and width of the string of digits of a number.
#[inline]
pub(crate) fn digits_of_code(code: u64) -> Option<(u64, usize)> {
    // A string of one digit more has a code some ten times higher: the bits say the width but for one.
    let guess = (decimal_digits(code)).min(MAX_DIGITS);
    let width = if FIRST_CODES.get(guess).is_some_and(|&first| code < first) { guess - 1 } else { guess };
    let value = code - FIRST_CODES.get(width)?;
    (value < POWERS.get(width).copied().unwrap_or(u64::MAX)).then_some((value, width))
}

pub(crate) const POWERS: [u64; 20] = {
    let mut all = [1u64; 20];
    let mut index = 1;
    while index < 20 {
        all[index] = all[index - 1] * 10;
        index += 1;
    }
    all
};

/// Digits of a number in decimal.
#[inline]
pub(crate) fn decimal_digits(value: u64) -> usize {
    // log10(2) is 1233 / 4096, near enough for 64 bits.
    let guess = (((64 - (value | 1).leading_zeros()) * 1233) >> 12) as usize;
    guess + usize::from(POWERS.get(guess).is_some_and(|&power| value >= power)).max(usize::from(guess == 0))
}

pub(crate) const PAIRS: [[u8; 2]; 100] = {
    let mut all = [[0; 2]; 100];
    let mut index = 0u8;
    while index < 100 {
        all[index as usize] = [b'0' + index / 10, b'0' + index % 10];
        index += 1;
    }
    all
};

/// Numbers below 1000 in print, each followed by its width.
pub(crate) const SMALL: [[u8; 4]; 1000] = {
    let mut all = [[0; 4]; 1000];
    let (mut hundreds, mut tens, mut ones) = (b'0', b'0', b'0');
    let mut index = 0;
    while index < 1000 {
        all[index] = match index {
            0..10 => [ones, 0, 0, 1],
            10..100 => [tens, ones, 0, 2],
            _ => [hundreds, tens, ones, 3],
        };
        index += 1;
        ones += 1;
        if ones > b'9' {
            (tens, ones) = (tens + 1, b'0');
        }
        if tens > b'9' {
            (hundreds, tens) = (hundreds + 1, b'0');
        }
    }
    all
};

#[inline]
fn print_number(value: u64, out: &mut [u8; 40]) -> usize {
    if let Some(&[first, second, third, width]) = usize::try_from(value).ok().and_then(|at| SMALL.get(at)) {
        (out[0], out[1], out[2]) = (first, second, third);
        return usize::from(width);
    }
    let width = decimal_digits(value);
    print_digits(value, width, out);
    width
}

#[inline]
fn print_padded(value: u64, width: usize, out: &mut [u8; 40]) -> usize {
    if POWERS.get(width).is_some_and(|&limit| value >= limit) {
        return 0;
    }
    print_digits(value, width, out);
    width
}

#[inline]
fn print_digits(mut value: u64, width: usize, out: &mut [u8; 40]) {
    let mut at = width;
    while at >= 2 {
        at -= 2;
        let pair = PAIRS[(value % 100) as usize % 100];
        value /= 100;
        if let Some(place) = out.get_mut(at..at + 2) {
            place.copy_from_slice(&pair);
        }
    }
    if at == 1 {
        out[0] = b'0' + (value % 10).to_le_bytes()[0];
    }
}

#[inline]
fn print_hex(mut value: u64, width: usize, digits: &[u8; 16], out: &mut [u8; 40]) -> usize {
    if width < 16 && value >> (4 * width) != 0 {
        return 0;
    }
    for place in out.get_mut(..width).unwrap_or_default().iter_mut().rev() {
        *place = digits[usize::from(value.to_le_bytes()[0] & 15)];
        value >>= 4;
    }
    width
}

fn print_ip4(value: u64, out: &mut [u8; 40]) -> usize {
    let Ok(value) = u32::try_from(value) else { return 0 };
    let mut at = 0;
    for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
        if index > 0 {
            out[at.min(39)] = b'.';
            at += 1;
        }
        let [first, second, third, width] = SMALL[usize::from(byte)];
        if let Some(place) = out.get_mut(at..at + 3) {
            place.copy_from_slice(&[first, second, third]);
        }
        at += usize::from(width);
    }
    at
}

/// An IPv4 address at the start of `text`, and its width. What would print otherwise is none.
pub(crate) fn scan_ip4(text: &[u8]) -> Option<(u64, usize)> {
    let (mut address, mut at) = (0u64, 0);
    for index in 0..4 {
        if index > 0 {
            if *text.get(at)? != b'.' {
                return None;
            }
            at += 1;
        }
        let first = *text.get(at)?;
        let (mut byte, mut width) = (0u64, 0);
        while let Some(digit) = text.get(at + width).map(|byte| byte.wrapping_sub(b'0')).filter(|&d| d < 10) {
            byte = byte * 10 + u64::from(digit);
            width += 1;
            if width > 3 {
                return None;
            }
        }
        if width == 0 || byte > 255 || (width > 1 && first == b'0') {
            return None;
        }
        address = address << 8 | byte;
        at += width;
    }
    let goes_on = match text.get(at) {
        Some(b'.') => text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric),
        Some(byte) => byte.is_ascii_alphanumeric(),
        None => false,
    };
    (!goes_on).then_some((address, at))
}

/// Whether `text` starts with a UUID in lower case.
pub(crate) fn starts_with_uuid(text: &[u8]) -> bool {
    let Some(uuid) = text.first_chunk::<UUID_BYTES>() else { return false };
    [uuid[8], uuid[13], uuid[18], uuid[23]] == [b'-'; 4]
        && [0..8, 9..13, 14..18, 19..23, 24..36]
            .into_iter()
            .all(|part| uuid.get(part).is_some_and(is_lower_hex))
        && !text.get(UUID_BYTES).is_some_and(u8::is_ascii_alphanumeric)
}

/// Whether all of a text is hex digits in lower case.
pub(crate) fn is_lower_hex(text: &[u8]) -> bool {
    text.iter().all(|&byte| IS_LOWER_HEX[usize::from(byte)])
}

const IS_LOWER_HEX: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        all[byte as usize] = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        byte += 1;
    }
    all
};

fn lower_hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }
}

/// The value of a hex digit of either case.
pub(crate) fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(class: Class, value: u64) -> String {
        let mut out = [0; 40];
        let width = class.print(value, &mut out);
        String::from_utf8(out[..width].to_vec()).unwrap()
    }

    #[test]
    fn every_string_of_digits_has_its_own_code() {
        for digits in
            ["0", "9", "00", "07", "10", "99", "000", "100", "0000000000000000000", "9999999999999999999"]
        {
            let code = digits_code(digits.parse().unwrap(), digits.len());
            assert_eq!(text(Class::Digits, code), digits);
        }
        let mut next = 0;
        for (width, &power) in POWERS.iter().enumerate().take(5).skip(1) {
            for value in 0..power {
                assert_eq!(digits_code(value, width), next);
                assert_eq!(digits_of_code(next), Some((value, width)));
                next += 1;
            }
        }
        let last = digits_code(9_999_999_999_999_999_999, 19);
        assert_eq!(digits_of_code(last + 1), None);
        assert_eq!(digits_of_code(u64::MAX), None);
    }

    #[test]
    fn numbers_print_as_they_are_written() {
        for value in (0..64).map(|bit| 1u64 << bit).chain([0, u64::MAX, 10_000_000_000_000_000_000]) {
            for value in [value, value.wrapping_sub(1), value.wrapping_add(1)] {
                assert_eq!(text(Class::Number, value), value.to_string());
                assert_eq!(text(Class::Hex(16), value), format!("{value:016x}"));
                assert_eq!(text(Class::HexUpper(16), value), format!("{value:016X}"));
            }
        }
        for power in POWERS {
            assert_eq!(text(Class::Number, power), power.to_string());
            assert_eq!(text(Class::Number, power - 1), (power - 1).to_string());
        }
        assert_eq!(text(Class::Padded(4), 7), "0007");
        assert_eq!(text(Class::Ip4, 0x0A00_FF01), "10.0.255.1");
    }

    #[test]
    fn what_a_class_cannot_print_it_does_not() {
        for (class, value) in [
            (Class::Padded(2), 100),
            (Class::Hex(3), 0x1000),
            (Class::Ip4, 1 << 32),
            (Class::Text, 1),
            (Class::Uuid, 1),
        ] {
            assert_eq!(text(class, value), "", "{class:?}");
        }
    }

    #[test]
    fn only_addresses_that_print_back_are_addresses() {
        assert_eq!(scan_ip4(b"10.0.255.1:80"), Some((0x0A00_FF01, 10)));
        assert_eq!(scan_ip4(b"1.2.3.4. "), Some((0x0102_0304, 7)));
        for text in ["256.1.1.1", "1.2.3", "1.2.3.04", "1.2.3.4.5", "1.2.3.4a", "1..2.3", "1111.2.3.4"] {
            assert_eq!(scan_ip4(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn bytes_go_both_ways() {
        let uuid = "0123abcd-4567-89ef-0123-456789abcdef";
        assert!(starts_with_uuid(uuid.as_bytes()));
        assert!(!starts_with_uuid(uuid.to_uppercase().as_bytes()));
        assert!(!starts_with_uuid(format!("{uuid}0").as_bytes()));
        for (class, text) in [(Class::Uuid, uuid), (Class::HexBytes(18), "0123456789abcdef01")] {
            let (mut binary, mut back) = (Vec::new(), Vec::new());
            Class::scan_bytes(text.as_bytes(), &mut binary);
            assert_eq!(Some(binary.len()), class.fixed_bytes());
            class.print_bytes(&binary, &mut back);
            assert_eq!(back, text.as_bytes());
        }
    }

    #[test]
    fn classes_go_to_bytes_and_back() {
        for first in 0..=255 {
            for second in 0..=255 {
                if let Some(class) = Class::from_bytes([first, second]) {
                    assert_eq!(class.to_bytes(), [first, second]);
                }
            }
        }
    }
}
