//! Lower-case hexadecimal, eight digits at a time in one machine word.
//!
//! Strict: a word with any byte outside `0-9a-f` reports a fault, whatever the other bytes are. The first
//! digit is the most significant one, so `u64::from_be_bytes(*b"0000001a")` decodes to 26.

/// One in each byte of the word.
const EACH: u64 = 0x0101_0101_0101_0101;
/// The number that eight digits spell, and the faults found: zero if all eight are digits.
///
/// The number means nothing unless the faults are zero. They are a word instead of a `Result` so that a
/// caller with several words can collect them and branch once.
#[inline]
pub(crate) const fn decode(digits: u64) -> (u32, u64) {
    // Bit 6 tells letters from decimal digits, and with that what to subtract to get the value. A byte below
    // that wraps to 0xd0 or more and borrows from its neighbour, whose value is then wrong, but the word has a
    // fault already. The same goes for a carry in the line after.
    let letter = (digits >> 6) & EACH;
    let values = digits.wrapping_sub(letter * ((b'a' - b'0' - 10) as u64)).wrapping_sub(EACH * (b'0' as u64));
    // Adding six carries into bit 4 exactly for ten to fifteen, which only letters may spell.
    let too_large = values & (EACH * 0xf0);
    let misspelt = (values.wrapping_add(EACH * 6) ^ (letter << 4)) & (EACH * 0x10);

    let pairs = (values | (values >> 4)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    let number = (fours | (fours >> 16)) & 0xffff_ffff;
    (number as u32, too_large | misspelt)
}

/// The eight digits of a number, the first in the most significant byte.
#[inline]
pub(crate) const fn encode(number: u32) -> u64 {
    let number = number as u64;
    let fours = (number | (number << 16)) & 0x0000_ffff_0000_ffff;
    let pairs = (fours | (fours << 8)) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (pairs | (pairs << 4)) & (EACH * 0x0f);
    // Adding six carries into bit 4 exactly for ten and above, which are letters.
    let letter = ((nibbles + EACH * 6) >> 4) & EACH;
    nibbles + EACH * (b'0' as u64) + letter * ((b'a' - b'0' - 10) as u64)
}

/// Whether a byte is a lower-case hexadecimal digit.
pub(crate) const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_in_every_place_is_judged_like_the_standard_library_does() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                // Neighbours at both ends of both ranges would show a carry.
                for neighbour in [b'0', b'9', b'a', b'f'] {
                    let mut text = [neighbour; 8];
                    text[place] = byte;
                    let (number, faults) = decode(u64::from_be_bytes(text));
                    let expected = core::str::from_utf8(&text)
                        .ok()
                        .filter(|text| text.bytes().all(is_digit))
                        .map(|text| u32::from_str_radix(text, 16).unwrap());
                    assert_eq!((faults == 0).then_some(number), expected, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn any_two_bad_bytes_together_are_still_a_fault() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let text = [b'0', first, second, b'0', b'0', b'0', b'0', b'0'];
                let (_, faults) = decode(u64::from_be_bytes(text));
                assert_eq!(faults == 0, is_digit(first) && is_digit(second), "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself_and_reads_like_the_standard_library_writes() {
        for number in (0..=u32::MAX).step_by(65_521).chain([1, 9, 10, 15, 16, u32::MAX]) {
            let digits = encode(number);
            assert_eq!(decode(digits), (number, 0));
            assert_eq!(digits.to_be_bytes().as_slice(), std::format!("{number:08x}").as_bytes());
        }
    }
}
