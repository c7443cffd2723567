//! Numbers of a fixed number of bits, back to back, lowest bits first.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Bytes of `count` numbers of `width` bits.
pub(crate) fn packed_bytes(count: usize, width: u8) -> Option<usize> {
    Some(count.checked_mul(usize::from(width))?.div_ceil(8))
}

/// Bits that hold every number up to `greatest`.
pub(crate) fn width_of(greatest: u64) -> u8 {
    u64::BITS.saturating_sub(greatest.leading_zeros()).to_le_bytes()[0]
}

/// All numbers of so many bits.
fn mask(width: u8) -> u64 {
    1u64.checked_shl(width.into()).map_or(u64::MAX, |next| next.wrapping_sub(1))
}

/// The numbers that [`pack`](crate::columnar::bits::pack) wrote, `count` of them. Missing bytes are zero.
pub(crate) fn unpack(packed: &[u8], width: u8, count: usize) -> impl Iterator<Item = u64> {
    unpack_from(packed, width, 0, count)
}

/// The same from number `first` on.
pub(crate) fn unpack_from(packed: &[u8], width: u8, first: usize, count: usize) -> impl Iterator<Item = u64> {
    let mask = u128::from(mask(width));
    (first..first.saturating_add(count)).map(move |index| {
        let bit = index.saturating_mul(width.into());
        let (at, shift) = (bit / 8, bit % 8);
        let word = match packed.get(at..).and_then(<[u8]>::first_chunk::<16>) {
            Some(&bytes) => u128::from_le_bytes(bytes),
            // One starts in the first byte, and has at most 64 bits.
            None => packed.iter().skip(at).take(9).rev().fold(0, |word, &byte| word << 8 | u128::from(byte)),
        };
        u64::try_from(word >> shift & mask).unwrap_or(0)
    })
}

/// Shows the same, in fewer steps.
#[inline]
pub(crate) fn unpack_each(packed: &[u8], width: u8, first: usize, count: usize, mut show: impl FnMut(u64)) {
    if width == 0 || width > 57 {
        return unpack_from(packed, width, first, count).for_each(show);
    }
    let (bits, mask) = (usize::from(width), mask(width));
    // Those that have eight bytes from the one they start in.
    let whole = packed
        .len()
        .checked_sub(8)
        .and_then(|last| last.saturating_mul(8).saturating_add(7).checked_div(bits));
    let whole = whole.map_or(0, |last| last.saturating_add(1)).saturating_sub(first).min(count);
    let mut bit = first.saturating_mul(bits);
    for _ in 0..whole {
        let Some(word) = packed.get(bit / 8..).and_then(<[u8]>::first_chunk::<8>) else { break };
        show((u64::from_le_bytes(*word) >> (bit % 8)) & mask);
        bit = bit.wrapping_add(bits);
    }
    unpack_from(packed, width, first.saturating_add(whole), count.saturating_sub(whole)).for_each(show);
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::columnar::bits::pack;

    #[test]
    fn every_width_packs_and_unpacks() {
        for width in 0..=64u8 {
            let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
            let values: Vec<u64> =
                (1..=67u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) & mask).chain([mask, 0]).collect();
            let mut packed = Vec::new();
            pack(values.iter().copied(), width.into(), &mut packed);
            assert_eq!(Some(packed.len()), packed_bytes(values.len(), width));
            let back: Vec<_> = unpack(&packed, width, values.len()).collect();
            assert_eq!(back, values, "width {width}");
            for first in [0, 1, 7, 60, 68, 69] {
                for count in [0, 1, 5, 69 - first] {
                    let mut back = Vec::new();
                    let count = count.min(69 - first);
                    unpack_each(&packed, width, first, count, |value| back.push(value));
                    assert_eq!(back, values[first..first + count], "width {width}, {count} from {first}");
                }
            }
        }
    }
}
