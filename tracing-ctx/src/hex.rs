//! Lower-case hexadecimal, all digits of an array at once.
//!
//! Strict: a byte outside `0-9a-f` is a fault, whatever the other bytes are. The loops run over arrays to their
//! ends and have no branches, so the compiler makes a few vector instructions of each, on every target. An
//! early exit would keep it from doing so, and so would inlining into a caller that makes numbers of the bytes:
//! then the arrays are taken apart and each byte is worked out by itself, in twice the time.

/// The bytes that pairs of digits spell, and whether all of these are digits. If not, the bytes mean nothing.
///
/// A flag instead of an `Option`, so that a caller can collect what is wrong and branch once.
#[inline(never)]
pub(crate) const fn decode<const DIGITS: usize, const BYTES: usize>(
    digits: &[u8; DIGITS],
) -> ([u8; BYTES], bool) {
    const { assert!(DIGITS == 2 * BYTES) };
    let mut nibbles = [0; DIGITS];
    let mut faults = 0;
    let mut at = 0;
    while at < DIGITS {
        nibbles[at] = nibble(digits[at]);
        faults |= (nibbles[at] > 0xf) as u8;
        at += 1;
    }
    let mut bytes = [0; BYTES];
    let mut at = 0;
    while at < BYTES {
        bytes[at] = (nibbles[2 * at] << 4) | nibbles[2 * at + 1];
        at += 1;
    }
    (bytes, faults == 0)
}

/// What a digit stands for, or more than 15 if the byte is none.
#[inline]
pub(crate) const fn nibble(byte: u8) -> u8 {
    // Each of the two ranges is moved to one end of the numbers, where saturation keeps the others off it.
    let decimal = byte.wrapping_add(u8::MAX - b'9').saturating_sub(6).wrapping_sub(u8::MAX - 9 - 6);
    let letter = byte.wrapping_sub(b'a').saturating_add(10);
    if decimal < letter { decimal } else { letter }
}

/// The digits of these bytes.
#[inline(never)]
pub(crate) const fn encode<const BYTES: usize, const DIGITS: usize>(bytes: &[u8; BYTES]) -> [u8; DIGITS] {
    const { assert!(DIGITS == 2 * BYTES) };
    let mut digits = [0; DIGITS];
    let mut at = 0;
    while at < BYTES {
        [digits[2 * at], digits[2 * at + 1]] = pair(bytes[at]);
        at += 1;
    }
    digits
}

/// The two digits of a byte, worked out in the halves of one number.
#[inline]
const fn pair(byte: u8) -> [u8; 2] {
    let byte = byte as u16;
    let nibbles = ((byte >> 4) | (byte << 8)) & 0x0f0f;
    // Adding six carries into bit 4 exactly for ten and above, which are letters.
    let letters = ((nibbles + 0x0606) >> 4) & 0x0101;
    (nibbles + 0x3030 + letters * (b'a' - b'0' - 10) as u16).to_le_bytes()
}

/// Whether a byte is a lower-case hexadecimal digit.
pub(crate) const fn is_digit(byte: u8) -> bool {
    nibble(byte) <= 0xf
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn decoded<const DIGITS: usize, const BYTES: usize>(digits: &[u8; DIGITS]) -> Option<[u8; BYTES]> {
        let (bytes, good) = decode(digits);
        good.then_some(bytes)
    }

    fn is_lower_case_digit(byte: u8) -> bool {
        b"0123456789abcdef".contains(&byte)
    }

    #[test]
    fn every_byte_in_every_place_is_judged_like_the_standard_library_does() {
        for place in 0..32 {
            for byte in 0..=u8::MAX {
                for neighbour in [b'0', b'9', b'a', b'f'] {
                    let mut text = [neighbour; 32];
                    text[place] = byte;
                    let expected = core::str::from_utf8(&text)
                        .ok()
                        .filter(|text| text.bytes().all(is_lower_case_digit))
                        .map(|text| u128::from_str_radix(text, 16).unwrap().to_be_bytes());
                    assert_eq!(decoded(&text), expected, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn any_two_bytes_are_digits_if_both_are() {
        for (first, second) in
            (0..=u8::MAX).flat_map(|first| (0..=u8::MAX).map(move |second| (first, second)))
        {
            let good = is_lower_case_digit(first) && is_lower_case_digit(second);
            assert_eq!(decoded::<2, 1>(&[first, second]).is_some(), good, "{first} {second}");
            let mut apart = [b'0'; 48];
            (apart[1], apart[40]) = (first, second);
            assert_eq!(decoded::<48, 24>(&apart).is_some(), good, "{first} {second}");
        }
    }

    #[test]
    fn every_byte_is_written_like_the_standard_library_writes_it_and_reads_back() {
        for byte in 0..=u8::MAX {
            let bytes = [byte, !byte, byte.rotate_left(4), 0x9a, 0, 1, 0xff, byte];
            let digits: [u8; 16] = encode(&bytes);
            assert_eq!(&digits, format!("{:016x}", u64::from_be_bytes(bytes)).as_bytes());
            assert_eq!(decoded(&digits), Some(bytes));
        }
    }
}
