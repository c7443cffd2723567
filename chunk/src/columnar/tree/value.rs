//! The value of a slot where a line is known up to it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::columnar::class::hex_value;
use crate::columnar::timestamp::{self, Format};

/// The last time that was seen in a slot.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    text: [u8; 32],
    width: usize,
    /// Digits of the fraction, and what they count.
    digits: usize,
    scale: u64,
    whole: u64,
}

impl Seen {
    pub(super) fn none(format: Format) -> Self {
        let digits = format.fraction_digits();
        let scale = 1_000_000_000u64.checked_div(format.unit_ns()).unwrap_or(1);
        Self { text: [0; 32], width: 0, digits, scale, whole: 0 }
    }

    /// The time at a place, and its bytes. Where all but the fraction is what it was the last time, only that is read.
    pub(super) fn read(&mut self, line: &[u8], at: usize, format: Format) -> Option<(u64, usize)> {
        let bytes = self.width.saturating_add(self.digits);
        let found = line.get(at..at.saturating_add(bytes))?;
        let (whole, fraction) = found.split_at_checked(self.width)?;
        let behind = line.get(at.saturating_add(bytes)).copied().unwrap_or_default();
        // With more of a fraction it has another format.
        let is_whole =
            if self.digits == 0 { !matches!(behind, b'.' | b',') } else { !behind.is_ascii_digit() };
        if is_whole && self.width > 0 && self.text.get(..self.width) == Some(whole) {
            let (value, digits) = digits(fraction);
            return (digits == self.digits).then(|| (self.whole.wrapping_add(value), bytes));
        }
        let stamp = timestamp::of_format(line, at, format)?;
        self.width = stamp.bytes.saturating_sub(self.digits);
        let whole = line.get(at..at.saturating_add(self.width))?;
        self.text.get_mut(..self.width)?.copy_from_slice(whole);
        self.whole = stamp.value.wrapping_sub(stamp.value.checked_rem(self.scale).unwrap_or(0));
        Some((stamp.value, stamp.bytes))
    }
}

/// The number that some text starts with, and its digits. Those of up to eight digits are read at once, if so many bytes
/// are there.
#[inline]
pub(super) fn digits(text: &[u8]) -> (u64, usize) {
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    const NINES: u64 = u64::from_le_bytes([0x80 - 10; 8]);
    if let Some(&chunk) = text.first_chunk::<8>() {
        let from_zero = u64::from_le_bytes(chunk) ^ u64::from_le_bytes([b'0'; 8]);
        let others = ((from_zero & !HIGHS).wrapping_add(NINES) | from_zero) & HIGHS;
        if others != 0 {
            let bits = others.trailing_zeros() & !7;
            // Zeros in front of the number, which has its last digit in the highest byte.
            let digits = from_zero.checked_shl(64u32.wrapping_sub(bits)).unwrap_or(0);
            let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00FF_00FF_00FF_00FF;
            let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_FFFF_0000_FFFF;
            let value = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF;
            return (value, (bits / 8) as usize);
        }
    }
    long_digits(text)
}

pub(super) fn long_digits(text: &[u8]) -> (u64, usize) {
    let (mut value, mut count) = (0u64, 0usize);
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        count = count.wrapping_add(1);
    }
    (value, count)
}

/// A number of so many hex digits, none of the other case.
pub(super) fn hex(text: &[u8], width: u8, other: impl Fn(&u8) -> bool) -> Option<u64> {
    let digits = text.get(..usize::from(width))?;
    if digits.iter().any(other) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| Some(value << 4 | u64::from(hex_value(byte)?)))
}
