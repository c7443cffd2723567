//! Numbers as digits, eight at a time in the lanes of one register.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::class::SMALL;

/// 10^8: eight digits.
const EIGHT: u64 = 100_000_000;
/// 10^16: twice as many.
const SIXTEEN: u64 = EIGHT * EIGHT;
/// The zero that makes a digit of a number, in each byte.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The eight digits of a number below 10^8 as numbers, the first in the low byte.
#[inline]
fn eight(value: u64) -> u64 {
    // Quotients by 10,000, by 100 and by 10, each for all lanes at once; reciprocals are exact for these ranges.
    let high = value / 10_000;
    let fours = high | value.wrapping_sub(high.wrapping_mul(10_000)) << 32;
    let hundreds = (fours.wrapping_mul(10_486) >> 20) & 0x0000_007F_0000_007F;
    let twos = hundreds | fours.wrapping_sub(hundreds.wrapping_mul(100)) << 16;
    let tens = (twos.wrapping_mul(103) >> 10) & 0x000F_000F_000F_000F;
    tens | twos.wrapping_sub(tens.wrapping_mul(10)) << 8
}

/// The bits of so many bytes.
#[inline]
fn bits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(0).wrapping_mul(8) & 63
}

#[inline]
fn put_eight(digits: u64, at: usize, out: &mut [u8]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>) {
        *place = digits.to_le_bytes();
    }
}

/// The numbers below 10^4 as four digits.
#[expect(clippy::indexing_slicing, reason = "it is done while compiling")]
static FOURS: [[u8; 4]; 10_000] = {
    let mut all = [[b'0'; 4]; 10_000];
    let mut number = 0usize;
    let [mut a, mut b, mut c, mut d] = [b'0'; 4];
    while number < 10_000 {
        all[number] = [a, b, c, d];
        number += 1;
        d += 1;
        if d > b'9' {
            (c, d) = (c + 1, b'0');
        }
        if c > b'9' {
            (b, c) = (b + 1, b'0');
        }
        if b > b'9' {
            (a, b) = (a + 1, b'0');
        }
    }
    all
};

/// The digits of a number below 10^4, if it is one.
#[inline]
fn four(value: u64) -> Option<u32> {
    usize::try_from(value).ok().and_then(|value| FOURS.get(value)).map(|digits| u32::from_le_bytes(*digits))
}

/// Prints a number without leading zeros, and gives its width: to at least 16 bytes if it is below 10^16, and to 32 otherwise.
/// Bytes behind it change.
#[inline]
pub(super) fn put_number(value: u64, out: &mut [u8]) -> usize {
    if let Some(digits) = four(value) {
        let width = 1usize
            .wrapping_add(usize::from(value >= 10))
            .wrapping_add(usize::from(value >= 100))
            .wrapping_add(usize::from(value >= 1000));
        put_eight(u64::from(digits) >> bits(4usize.wrapping_sub(width)), 0, out);
        return width;
    }
    if value >= SIXTEEN {
        return put_long_number(value, out);
    }
    let (high, low) = if value < EIGHT { (value, None) } else { (value / EIGHT, Some(value % EIGHT)) };
    let digits = eight(high);
    // At least one digit stays.
    let zeros = (digits | 1 << 56).trailing_zeros() as usize / 8;
    put_eight((digits | ZEROS) >> bits(zeros), 0, out);
    let width = 8usize.wrapping_sub(zeros);
    let Some(low) = low else { return width };
    put_eight(eight(low) | ZEROS, width, out);
    width.wrapping_add(8)
}

/// Prints a number below 10^`width`, with zeros in front: to at least 16 bytes if `width` is at most that, and to 32
/// otherwise.
#[inline]
pub(super) fn put_padded(value: u64, width: usize, out: &mut [u8]) {
    if width <= 4
        && let Some(digits) = four(value)
    {
        return put_eight(u64::from(digits) >> bits(4usize.wrapping_sub(width)), 0, out);
    }
    if width > 16 {
        return put_long_padded(value, width, out);
    }
    if width <= 8 {
        return put_eight((eight(value) | ZEROS) >> bits(8usize.wrapping_sub(width)), 0, out);
    }
    put_eight((eight(value / EIGHT) | ZEROS) >> bits(16usize.wrapping_sub(width)), 0, out);
    put_eight(eight(value % EIGHT) | ZEROS, width.wrapping_sub(8), out);
}

/// The last sixteen of more digits.
#[inline]
fn put_sixteen(value: u64, out: &mut [u8]) {
    put_eight(eight(value / EIGHT) | ZEROS, 0, out);
    put_eight(eight(value % EIGHT) | ZEROS, 8, out);
}

#[inline(never)]
fn put_long_number(value: u64, out: &mut [u8]) -> usize {
    // At most 1844.
    let high = value / SIXTEEN;
    let width = 1usize
        .wrapping_add(usize::from(high >= 10))
        .wrapping_add(usize::from(high >= 100))
        .wrapping_add(usize::from(high >= 1000));
    put_long_padded(value, width.wrapping_add(16), out);
    width.wrapping_add(16)
}

#[inline(never)]
fn put_long_padded(value: u64, width: usize, out: &mut [u8]) {
    let high = width.wrapping_sub(16);
    put_eight(u64::from(four(value / SIXTEEN).unwrap_or(0)) >> bits(4usize.wrapping_sub(high)), 0, out);
    put_sixteen(value % SIXTEEN, out.get_mut(high..).unwrap_or_default());
}

/// Prints an IPv4 address to at least 16 bytes, and gives its width. Bytes behind it change.
#[inline]
pub(super) fn put_ip4(address: u32, out: &mut [u8]) -> usize {
    let mut at = 0usize;
    for byte in address.to_be_bytes() {
        let [first, second, third, width] = SMALL.get(usize::from(byte)).copied().unwrap_or_default();
        let digits = u32::from_le_bytes([first, second, third, 0]);
        let text = digits | u32::from(b'.') << (u32::from(width).wrapping_mul(8) & 31);
        if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *place = text.to_le_bytes();
        }
        at = at.wrapping_add(usize::from(width)).wrapping_add(1);
    }
    at.wrapping_sub(1)
}

/// The eight hex digits of a number, in lower or upper case.
#[inline]
fn eight_hex(value: u64, upper: bool) -> u64 {
    let value = value & 0xFFFF_FFFF;
    let value = (value | value << 16) & 0x0000_FFFF_0000_FFFF;
    let value = (value | value << 8) & 0x00FF_00FF_00FF_00FF;
    let value = ((value | value << 4) & 0x0F0F_0F0F_0F0F_0F0F).swap_bytes();
    let letters = (value.wrapping_add(0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    let above_nine = if upper { b'A' } else { b'a' }.wrapping_sub(b'0').wrapping_sub(10);
    value.wrapping_add(ZEROS).wrapping_add(letters.wrapping_mul(above_nine.into()))
}

/// Prints a number below 16^`width` as so many hex digits to at least 16 bytes. `width` is at most 16.
#[inline]
pub(super) fn put_hex(value: u64, width: usize, upper: bool, out: &mut [u8]) {
    let low = eight_hex(value, upper);
    if width <= 8 {
        return put_eight(low >> bits(8usize.wrapping_sub(width)), 0, out);
    }
    put_eight(eight_hex(value >> 32, upper) >> bits(16usize.wrapping_sub(width)), 0, out);
    put_eight(low, width.wrapping_sub(8), out);
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn numbers() -> impl Iterator<Item = u64> {
        let powers = (0..16).map(|power| 10u64.pow(power));
        let near = powers.flat_map(|power| [power - 1, power, power + 1, power * 7, power * 9 + 1]);
        let spread = (0..20_000u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (n % 50));
        near.chain(spread).chain(0..10_100).map(|number| number % 10u64.pow(16))
    }

    #[test]
    fn long_numbers_print_as_the_standard_library_prints_them() {
        for number in numbers().map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).chain([SIXTEEN, u64::MAX]) {
            let mut out = [b'x'; 32];
            let width = put_number(number, &mut out);
            assert_eq!(std::str::from_utf8(&out[..width]), Ok(&number.to_string()[..]));
            for width in 17..=19 {
                let number = number % 10u64.pow(u32::try_from(width).unwrap());
                put_padded(number, width, &mut out);
                assert_eq!(std::str::from_utf8(&out[..width]), Ok(&format!("{number:0width$}")[..]));
            }
        }
    }

    #[test]
    fn addresses_print_as_the_standard_library_prints_them() {
        for number in numbers().map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).chain([0, 0xFFFF_FFFF]) {
            let address = u32::try_from(number).unwrap();
            let mut out = [b'x'; 16];
            let width = put_ip4(address, &mut out);
            let expected = std::net::Ipv4Addr::from(address).to_string();
            assert_eq!(std::str::from_utf8(&out[..width]), Ok(&expected[..]));
        }
    }

    #[test]
    fn numbers_print_as_the_standard_library_prints_them() {
        for number in numbers() {
            let mut out = [b'x'; 16];
            let width = put_number(number, &mut out);
            assert_eq!(std::str::from_utf8(&out[..width]), Ok(&number.to_string()[..]));
            for width in 1..=16 {
                let number = number % 10u64.pow(u32::try_from(width).unwrap());
                put_padded(number, width, &mut out);
                assert_eq!(std::str::from_utf8(&out[..width]), Ok(&format!("{number:0width$}")[..]));
            }
        }
    }

    #[test]
    fn hex_prints_as_the_standard_library_prints_it() {
        for number in numbers().map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            for width in 1..=16usize {
                let number = number >> (64 - 4 * width);
                let mut out = [b'x'; 16];
                put_hex(number, width, false, &mut out);
                assert_eq!(std::str::from_utf8(&out[..width]), Ok(&format!("{number:0width$x}")[..]));
                put_hex(number, width, true, &mut out);
                assert_eq!(std::str::from_utf8(&out[..width]), Ok(&format!("{number:0width$X}")[..]));
            }
        }
    }
}
