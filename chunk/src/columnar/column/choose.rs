//! Which encoding of a column is likely to be smallest, without compressing any: distinct values are counted,
//! and what the compressor will make of bytes is guessed by their entropy. All in integers, so that every
//! machine chooses alike.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::bits::width_of;
use crate::columnar::class::decimal_digits;
use crate::loki::format::uvarint_bytes;

/// More distinct values than this have no dictionary.
pub(crate) const MAX_DISTINCT: usize = 1 << 14;

/// Values after which a column of nearly as many distinct ones is given up.
const HOPE: usize = 1024;

/// Distinct values of a column: the number of each by first appearance.
#[derive(Default)]
pub(crate) struct Distinct {
    places: Vec<(u64, u32, u32)>,
    round: u32,
    /// The distinct values, in order.
    pub(crate) values: Vec<u64>,
    /// For each value of the column, its number among them.
    pub(crate) ids: Vec<u16>,
    counts: Vec<u32>,
    /// Seeded by the process, so that nobody can choose values that collide; the numbers do not depend on it.
    hasher: RandomState,
}

impl Distinct {
    /// Numbers the values, unless more than `most` of them are distinct.
    pub(crate) fn number(&mut self, column: &[u64], most: usize) -> bool {
        let most = most.min(MAX_DISTINCT);
        self.values.clear();
        self.ids.clear();
        self.counts.clear();
        let bits = width_of((most as u64) * 2).max(6);
        if self.places.len() < 1 << bits {
            self.places = vec![(0, 0, 0); 1 << bits];
            self.round = 0;
        }
        self.round += 1;
        let mask = (1usize << bits) - 1;
        let mut before = None;
        for (row, &value) in column.iter().enumerate() {
            // What is nearly all new so far will not repeat later.
            if row == HOPE && self.values.len() > HOPE * 7 / 8 {
                return false;
            }
            if let Some((_, id)) = before.filter(|&(before, _)| before == value) {
                self.ids.push(id);
                if let Some(count) = self.counts.get_mut(usize::from(id)) {
                    *count += 1;
                }
                continue;
            }
            let hash = self.hasher.hash_one(value) >> (64 - bits);
            let mut at = usize::try_from(hash).unwrap_or(0);
            let id = loop {
                let Some(place) = self.places.get_mut(at) else { return false };
                if place.2 != self.round {
                    let Ok(id) = u16::try_from(self.values.len()) else { return false };
                    if self.values.len() == most {
                        return false;
                    }
                    *place = (value, u32::from(id), self.round);
                    self.values.push(value);
                    self.counts.push(0);
                    break id;
                }
                if place.0 == value {
                    break place.1.to_le_bytes().first_chunk().map_or(0, |&low| u16::from_le_bytes(low));
                }
                at = (at + 1) & mask;
            };
            if let Some(count) = self.counts.get_mut(usize::from(id)) {
                *count += 1;
            }
            self.ids.push(id);
            before = Some((value, id));
        }
        true
    }

    /// Bytes that the numbers are likely to take.
    pub(crate) fn ids_bytes(&self) -> u64 {
        let runs = 1 + self.ids.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64;
        (entropy_bits(&self.counts) / 8).min(runs * 2)
    }
}

/// Fewer values than this are taken for what they are.
const FEW: u64 = 64;

/// What a column of numbers comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Numbers {
    Dict,
    For { base: u64, width: u8 },
    Delta,
    DeltaFor { least: i64, width: u8 },
    Planes { base: u64, bytes: u8 },
}

/// Bytes that the text of a dictionary takes, of each byte before compression: in eighths.
const TEXT_EIGHTHS: u64 = 5;

/// The encoding of a column of numbers; `distinct` numbers them if the column has a dictionary.
pub(crate) fn numbers(column: &[u64], is_time: bool, distinct: &mut Distinct) -> Numbers {
    let rows = column.len() as u64;
    let (mut least, mut greatest) = (u64::MAX, 0);
    for &value in column {
        least = least.min(value);
        greatest = greatest.max(value);
    }
    let width = width_of(greatest - least);
    let mut best = (Numbers::For { base: least, width }, (rows * u64::from(width)).div_ceil(8));
    let consider = |best: &mut (Numbers, u64), choice, bytes| {
        if bytes < best.1 {
            *best = (choice, bytes);
        }
    };

    let (mut least_delta, mut greatest_delta) = (i64::MAX, i64::MIN);
    for pair in column.windows(2) {
        let delta = step(pair);
        least_delta = least_delta.min(delta);
        greatest_delta = greatest_delta.max(delta);
    }
    let (mut delta_bytes, mut zeros, mut pairs) = (0u64, 0u64, 0u64);
    for pair in sample(column).flat_map(|part| part.windows(2)) {
        let zigzag = zigzag(step(pair));
        zeros += u64::from(zigzag == 0);
        delta_bytes += uvarint_bytes(zigzag) as u64;
        pairs += 1;
    }
    let first_bytes = uvarint_bytes(column.first().copied().unwrap_or(0)) as u64;
    let of_all = |of_sample: u64| of_sample * (rows - 1) / pairs.max(1);
    let beyond_first = of_all(delta_bytes - pairs);
    // Of a few values their entropy is not worth its price.
    let first = if rows < FEW { rows } else { of_all(low_bytes(column)) };
    let delta_guess = first.min((rows - of_all(zeros)) * 2) + beyond_first * 7 / 8;
    consider(&mut best, Numbers::Delta, delta_guess + first_bytes + 2);
    if rows > 1 && least_delta <= greatest_delta {
        let width = width_of(greatest_delta.wrapping_sub(least_delta).cast_unsigned());
        consider(
            &mut best,
            Numbers::DeltaFor { least: least_delta, width },
            (rows * u64::from(width)).div_ceil(8) + first_bytes,
        );
    }
    if width > 8 && rows >= FEW {
        let bytes = width.div_ceil(8);
        consider(
            &mut best,
            Numbers::Planes { base: least, bytes },
            plane_bytes(column, least, bytes) * 17 / 16 + 2,
        );
    }
    let most = if is_time { rows / 4 } else { rows / 2 };
    if best.1 > 4 && distinct.number(column, usize::try_from(most).unwrap_or(0)) {
        let text: u64 = distinct.values.iter().map(|&value| decimal_digits(value) as u64 + 1).sum();
        consider(&mut best, Numbers::Dict, text * TEXT_EIGHTHS / 8 + distinct.ids_bytes() + 1);
    }
    best.0
}

/// Whether text is smaller with a dictionary: `distinct` has numbered it, and these are the bytes of all values
/// and of the distinct ones.
pub(crate) fn text_has_dictionary(distinct: &Distinct, all_bytes: u64, distinct_bytes: u64) -> bool {
    distinct_bytes * TEXT_EIGHTHS / 8 + distinct.ids_bytes() < all_bytes * TEXT_EIGHTHS / 8
}

/// The distance of two values that follow each other.
fn step(pair: &[u64]) -> i64 {
    match pair {
        [before, after] => after.wrapping_sub(*before).cast_signed(),
        _ => 0,
    }
}

fn zigzag(step: i64) -> u64 {
    ((step << 1) ^ (step >> 63)).cast_unsigned()
}

/// What the low bytes of the steps take.
fn low_bytes(column: &[u64]) -> u64 {
    let mut counts = [0u32; 256];
    for pair in sample(column).flat_map(|part| part.windows(2)) {
        counts[usize::from(zigzag(step(pair)).to_le_bytes()[0])] += 1;
    }
    entropy_bits(&counts) / 8
}

/// Columns of more values are judged by some of them.
const SAMPLED: usize = 1024;

/// All of a column, or of a long one a quarter, 16 values in a row and the next one.
fn sample(column: &[u64]) -> impl Iterator<Item = &[u64]> {
    let (stride, most) = if column.len() > SAMPLED { (64, 17) } else { (column.len().max(1), column.len()) };
    column.chunks(stride).map(move |part| part.get(..most).unwrap_or(part))
}

fn plane_bytes(column: &[u64], base: u64, bytes: u8) -> u64 {
    let mut total = 0;
    let all = sample(column).map(<[u64]>::len).sum::<usize>().max(1) as u64;
    for plane in 0..u32::from(bytes) {
        let mut counts = [0u32; 256];
        for &value in sample(column).flatten() {
            counts[usize::from(((value - base) >> (8 * plane)).to_le_bytes()[0])] += 1;
        }
        total += entropy_bits(&counts) / 8 * column.len() as u64 / all;
    }
    total
}

/// Bits that values of these counts take, coded one by one: the sum of count * log2(all / count). Few values
/// look more regular than they are, by about 3/4 of a bit for each that is distinct.
fn entropy_bits(counts: &[u32]) -> u64 {
    let all: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    let of_all = log2(all);
    let (mut bits, mut distinct) = (0, 0);
    for count in counts.iter().filter(|count| **count > 0).map(|&count| u64::from(count)) {
        bits += count * (of_all - log2(count));
        distinct += 1;
    }
    bits / 256 + (distinct - 1u64.min(distinct)) * 3 / 4
}

/// log2 of a number in 1/256, a straight line between powers of two that is off by at most 0.09.
fn log2(value: u64) -> u64 {
    let value = value.max(1);
    let whole = u64::from(63 - value.leading_zeros());
    let mantissa = if whole >= 8 { value >> (whole - 8) } else { value << (8 - whole) };
    whole * 256 + (mantissa & 0xFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(column: &[u64]) -> Numbers {
        numbers(column, false, &mut Distinct::default())
    }

    #[test]
    fn a_counter_is_a_constant_step() {
        let column: Vec<u64> = (0..1000).map(|n| 5_000_000 + n * 3).collect();
        assert_eq!(chosen(&column), Numbers::DeltaFor { least: 3, width: 0 });
    }

    #[test]
    fn noise_is_packed_and_not_compressed() {
        let noise = |n: u64| {
            let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 44
        };
        let column: Vec<u64> = (1..1000).map(noise).collect();
        assert!(matches!(chosen(&column), Numbers::For { width: 20, .. } | Numbers::Planes { bytes: 3, .. }));
    }

    /// Of a long column a quarter is looked at.
    #[test]
    fn a_long_column_is_written_as_a_short_one_like_it() {
        let noise = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(n | 1);
        let columns: [fn(u64, u64) -> u64; 4] = [
            |n, noise| 1_000_000 + n * 1000 + noise % 200,
            |_, noise| noise % 50_000,
            |n, noise| ((n / 300) << 20) + noise % 4,
            |_, noise| ((noise % 3) << 33) + (noise >> 8) % 251,
        ];
        for (number, value) in columns.into_iter().enumerate() {
            let kind = |rows: u64| {
                let column: Vec<u64> = (0..rows).map(|n| value(n, noise(n))).collect();
                std::mem::discriminant(&chosen(&column))
            };
            assert_eq!(kind(SAMPLED as u64), kind(20_000), "column {number}");
        }
    }

    #[test]
    fn a_few_large_values_have_a_dictionary() {
        let column: Vec<u64> = (0..1000).map(|n| [17, 1 << 40, 1 << 50, 99][n * n % 7 % 4]).collect();
        assert_eq!(chosen(&column), Numbers::Dict);
    }

    /// Whoever writes log lines could choose them so that all started at one place of the table.
    #[test]
    fn values_that_are_chosen_to_collide_do_not() {
        let inverse = {
            // Newton's method for the inverse modulo 2^64 of the multiplier that everybody can read.
            let odd = 0x9E37_79B9_7F4A_7C15u64;
            (0..6).fold(odd, |x, _| x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x))))
        };
        let column: Vec<u64> = (0..8000u64).flat_map(|n| [n.wrapping_mul(inverse); 2]).collect();
        let mut distinct = Distinct::default();
        assert!(distinct.number(&column, 8000));
        let used: Vec<bool> = distinct.places.iter().map(|place| place.2 == distinct.round).collect();
        let longest = used.split(|used| !used).map(<[bool]>::len).max().unwrap();
        assert!(longest < 500, "{longest} values side by side");
    }

    #[test]
    fn values_are_numbered_by_first_appearance() {
        let mut distinct = Distinct::default();
        assert!(distinct.number(&[7, 9, 7, u64::MAX, 9], 3));
        assert_eq!(distinct.values, [7, 9, u64::MAX]);
        assert_eq!(distinct.ids, [0, 1, 0, 2, 1]);
        assert!(!distinct.number(&[7, 9, 7, u64::MAX, 9], 2));
        let many: Vec<u64> = (0..20_000).collect();
        assert!(!distinct.number(&many, 20_000));
    }
}
