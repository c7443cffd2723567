//! Numbers of a fixed number of bits, back to back, the least significant bit first.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::column::unpack_from;

/// How many bits a number needs.
pub(crate) fn width(value: u64) -> u32 {
    u64::BITS.saturating_sub(value.leading_zeros())
}

/// How many bytes `count` numbers of `width` bits take, if that many fit into memory.
pub(crate) fn packed_len(count: usize, width: u32) -> Option<usize> {
    let bits = count.checked_mul(usize::try_from(width).ok()?)?;
    Some(bits.div_ceil(8))
}

/// Appends numbers of at most `width` bits each, and zeros up to the next byte. 64 bits are at most.
pub(crate) fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    // The bits that are not written yet, and how many: fewer than 64.
    let (mut held, mut bits) = (0u64, 0u32);
    for value in values {
        debug_assert!(self::width(value) <= width, "{value} of {width} bits");
        held |= value.wrapping_shl(bits);
        bits = bits.wrapping_add(width);
        if bits >= u64::BITS {
            out.extend_from_slice(&held.to_le_bytes());
            bits = bits.wrapping_sub(u64::BITS);
            // What of it did not fit.
            held = value.checked_shr(width.wrapping_sub(bits)).unwrap_or(0);
        }
    }
    let bytes = usize::try_from(bits.div_ceil(8)).unwrap_or(0);
    out.extend(held.to_le_bytes().into_iter().take(bytes));
}

/// Appends the `count` numbers of `width` bits in `packed`; nothing and false if it is not as long as they
/// are, or `width` is more than 64.
pub(crate) fn unpack(packed: &[u8], width: u32, count: usize, out: &mut Vec<u64>) -> bool {
    if width > 64 || packed_len(count, width) != Some(packed.len()) {
        return false;
    }
    if width == 0 {
        out.resize(out.len().saturating_add(count), 0);
        return true;
    }
    out.extend(unpack_from(packed, width.to_le_bytes()[0], 0, count));
    true
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_number_is_in_the_low_bits_of_the_first_byte() {
        let mut out = Vec::new();
        pack([1, 2, 5].into_iter(), 3, &mut out);
        assert_eq!(out, [0b01_010_001, 0b1]);
        assert!(!unpack(&out, 3, 2, &mut Vec::new()), "too long");
        assert!(!unpack(&out, 3, 6, &mut Vec::new()), "too short");
        assert!(!unpack(&out, 65, 0, &mut Vec::new()));
        assert!(!unpack(&[], 64, usize::MAX, &mut Vec::new()));
    }

    proptest! {
        #[test]
        fn numbers_come_back(width in 0u32..=64, values in prop::collection::vec(any::<u64>(), 0..70)) {
            let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
            let values: Vec<u64> = values.iter().map(|value| value & mask).collect();
            let mut packed = Vec::new();
            pack(values.iter().copied(), width, &mut packed);
            prop_assert_eq!(Some(packed.len()), packed_len(values.len(), width));
            let mut found = vec![7];
            prop_assert!(unpack(&packed, width, values.len(), &mut found));
            prop_assert_eq!(&found[1..], &values[..]);
        }
    }
}
