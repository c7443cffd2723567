//! Small numbers by bytes: all low bytes, then all second bytes, and so on; `FORMAT.md` calls it planes.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Appends the width in bytes, then the planes of the numbers. Nothing if there are none.
pub(crate) fn put(numbers: impl Iterator<Item = u32> + Clone, out: &mut Vec<u8>) {
    let Some(greatest) = numbers.clone().max() else { return };
    let width =
        greatest.to_le_bytes().iter().rposition(|&byte| byte > 0).map_or(1, |last| last.saturating_add(1));
    out.push(u8::try_from(width).expect("at most four"));
    for plane in 0..width {
        out.extend(numbers.clone().filter_map(|number| number.to_le_bytes().get(plane).copied()));
    }
}

/// How many numbers these bytes hold; `None` if they are not of a width and its planes.
pub(crate) fn count(bytes: &[u8]) -> Option<usize> {
    let Some((&width, planes)) = bytes.split_first() else { return Some(0) };
    let width = usize::from(width);
    let whole = (1..=4).contains(&width) && planes.len().checked_rem(width) == Some(0) && !planes.is_empty();
    if whole { planes.len().checked_div(width) } else { None }
}

/// The numbers in these bytes; `None` as [`count`].
pub(crate) fn numbers(bytes: &[u8]) -> Option<Vec<u32>> {
    let mut numbers = vec![0u32; count(bytes)?];
    let planes = bytes.get(1..).unwrap_or_default();
    for plane in planes.chunks(numbers.len().max(1)).rev() {
        for (number, &byte) in numbers.iter_mut().zip(plane) {
            *number = *number << 8 | u32::from(byte);
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_as_many_bytes_as_the_greatest_needs() {
        for (list, width) in
            [(&[0, 0][..], 1), (&[255, 1], 1), (&[256], 2), (&[1 << 16, 5], 3), (&[u32::MAX, 0], 4)]
        {
            let mut out = Vec::new();
            put(list.iter().copied(), &mut out);
            assert_eq!(out.len(), 1 + width * list.len());
            assert_eq!(numbers(&out).as_deref(), Some(list));
            out.push(0);
            assert!(width == 1 || numbers(&out).is_none());
        }
        let mut none = Vec::new();
        put(std::iter::empty(), &mut none);
        assert_eq!((none.len(), numbers(&none)), (0, Some(vec![])));
        for broken in [&[0][..], &[1], &[5, 1, 2, 3, 4, 5], &[2, 1]] {
            assert_eq!(numbers(broken), None);
        }
    }
}
