//! A hash of what a chunk holds, whatever it is written in: of every entry in order, its time, its line, and
//! its metadata as a set of pairs. Hashes of two stretches of entries make that of both.
//!
//! It finds damage, mistakes and copies. It is no defence against somebody who makes two contents of one hash
//! on purpose.

#![warn(clippy::arithmetic_side_effects)]

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::entry::Entry;
use crate::error::to_u64;
use crate::loki::format::put_uvarint;

/// 2^61 - 1, a prime.
const MODULUS: u64 = (1 << 61) - 1;
/// The two points at which the polynomial of all entries is taken: digits of pi.
const POINTS: [u64; 2] = [0x0243_F6A8_885A_308D, 0x0319_8A2E_0370_7344];

/// The hash of some entries in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContentHash {
    sums: [u64; 2],
    entries: u64,
    scratch: Vec<u8>,
}

impl ContentHash {
    /// That of entries of which only the value and the number are known.
    pub(crate) fn known(value: u128, entries: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "each half is 64 bits")]
        let sums = [(value >> 64) as u64, value as u64];
        Self { sums: sums.map(reduced), entries, scratch: Vec::new() }
    }

    /// Adds the next entry.
    pub(crate) fn push(&mut self, entry: &Entry<'_>) {
        let mut seed = entry.timestamp_ns.cast_unsigned();
        if !entry.metadata.is_empty() {
            let mut pairs: Vec<_> = entry.metadata.iter().collect();
            pairs.sort_unstable();
            self.scratch.clear();
            for part in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
                put_uvarint(&mut self.scratch, to_u64(part.len()));
                self.scratch.extend_from_slice(part);
            }
            seed = xxh3_64_with_seed(&self.scratch, seed);
        }
        self.append(xxh3_128_with_seed(entry.line, seed), 1, POINTS);
    }

    /// Adds the entries of another hash, all after those that are in.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.append(other.value(), other.entries, POINTS.map(|point| power(point, other.entries)));
    }

    fn append(&mut self, value: u128, entries: u64, points: [u64; 2]) {
        let added = Self::known(value, entries);
        for ((sum, point), added) in self.sums.iter_mut().zip(points).zip(added.sums) {
            *sum = add(multiply(*sum, point), added);
        }
        self.entries = self.entries.wrapping_add(entries);
    }

    pub(crate) fn value(&self) -> u128 {
        let [high, low] = self.sums;
        u128::from(high) << 64 | u128::from(low)
    }
}

/// A number modulo the prime.
fn reduced(number: u64) -> u64 {
    add(number & MODULUS, number >> 61)
}

fn add(a: u64, b: u64) -> u64 {
    let sum = a.wrapping_add(b);
    sum.checked_sub(MODULUS).unwrap_or(sum)
}

fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    #[expect(clippy::cast_possible_truncation, reason = "both parts are below 2^61")]
    let (low, high) = (product as u64 & MODULUS, (product >> 61) as u64);
    add(low, high)
}

fn power(point: u64, mut exponent: u64) -> u64 {
    let (mut result, mut square) = (1, point);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&str, &str); 2] = [("a", "1"), ("b", "2")];

    fn of(entries: &[Entry<'_>]) -> ContentHash {
        let mut hash = ContentHash::default();
        entries.iter().for_each(|entry| hash.push(entry));
        hash
    }

    #[test]
    fn the_hash_of_two_stretches_is_that_of_all() {
        let lines: Vec<String> = (0..50).map(|n| format!("line {n}")).collect();
        let all: Vec<Entry<'_>> = (0i64..).zip(&lines).map(|(n, line)| Entry::new(n, line)).collect();
        for middle in 0..=all.len() {
            let (left, right) = all.split_at(middle);
            let mut both = of(left);
            both.extend(&ContentHash::known(of(right).value(), to_u64(right.len())));
            assert_eq!(both.value(), of(&all).value());
        }
        assert_eq!(ContentHash::default().value(), 0);
    }

    #[test]
    fn whatever_is_another_entry_or_another_order_is_another_hash() {
        let base = Entry::new(1, "a");
        let reversed = [PAIRS[1], PAIRS[0]];
        let others = [
            vec![Entry::new(2, "a")],
            vec![Entry::new(1, "b")],
            vec![Entry::new(1, "")],
            vec![base.with_metadata(&PAIRS)],
            vec![base.with_metadata(&[("a", "12"), ("b", "")])],
            vec![base, base],
            vec![base, Entry::new(1, "b")],
            vec![Entry::new(1, "b"), base],
            vec![base],
        ];
        let hashes: Vec<u128> = others.iter().map(|entries| of(entries).value()).collect();
        let different: std::collections::HashSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), others.len());
        // Pairs are a set.
        assert_eq!(of(&[base.with_metadata(&reversed)]).value(), of(&[base.with_metadata(&PAIRS)]).value());
    }

    /// Stored in chunks, so it must never change.
    #[test]
    fn the_hash_is_always_this_one() {
        let entries =
            [Entry::new(1_700_000_000_000_000_000, "GET / 200"), Entry::new(-1, "").with_metadata(&PAIRS)];
        assert_eq!(format!("{:032x}", of(&entries).value()), "0a5e7632a2c7876a02e66d4cf9bcdd9c");
    }

    #[test]
    fn arithmetic_is_modulo_the_prime() {
        assert_eq!(multiply(MODULUS - 1, MODULUS - 1), 1);
        assert_eq!(add(MODULUS - 1, 1), 0);
        for number in [0, 1, MODULUS - 1, MODULUS, MODULUS + 1, 7 << 61, u64::MAX - 7, u64::MAX] {
            assert_eq!(reduced(number), number % MODULUS, "{number}");
        }
        assert_eq!(power(3, 5), 243);
        assert_eq!(power(POINTS[0], MODULUS - 1), 1, "Fermat");
    }
}
