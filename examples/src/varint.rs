//! LEB128 integers as the record format uses them, read with every bound checked.

/// Appends `value` in base 128, least significant group first: 1 to 10 bytes.
pub fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Appends `value` in zigzag order, so that small negative numbers are short too.
pub fn write_signed(out: &mut Vec<u8>, value: i64) {
    write(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Takes one integer off the front of `bytes`; `None` where it is cut short, over 64 bits,
/// or longer than it need be (a value has one spelling).
pub fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        let group = u64::from(byte & 0x7f);
        if (shift == 63 && group > 1) || (shift > 0 && byte == 0) {
            return None;
        }
        *bytes = rest;
        value |= group << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Takes one zigzag integer off the front of `bytes`.
pub fn read_signed(bytes: &mut &[u8]) -> Option<i64> {
    let raw = read(bytes)?;
    Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Takes a length and that many bytes off the front of `bytes`.
pub fn read_slice<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read(bytes)?).ok()?;
    let (slice, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(slice)
}

/// Appends the length of `slice` and its bytes.
pub fn write_slice(out: &mut Vec<u8>, slice: &[u8]) {
    write(out, slice.len() as u64);
    out.extend_from_slice(slice);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_back(unsigned: u64, signed: i64, slice: Vec<u8>) {
            let mut out = Vec::new();
            write(&mut out, unsigned);
            write_signed(&mut out, signed);
            write_slice(&mut out, &slice);
            let mut bytes = out.as_slice();
            prop_assert_eq!(read(&mut bytes), Some(unsigned));
            prop_assert_eq!(read_signed(&mut bytes), Some(signed));
            prop_assert_eq!(read_slice(&mut bytes), Some(slice.as_slice()));
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while read_slice(&mut rest).is_some() {}
            prop_assert!(rest.len() <= bytes.len());
        }
    }

    #[test]
    fn an_integer_over_64_bits_is_refused() {
        assert_eq!(read(&mut [0xff; 9].iter().copied().chain([0x02]).collect::<Vec<_>>().as_slice()), None);
    }
}
