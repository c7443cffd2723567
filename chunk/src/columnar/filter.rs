//! Which tokens occur in a group, so that a search for another one need not look: a split block Bloom filter
//! (Putze, Sanders and Singler's blocked filter, in the layout of Parquet's: blocks of 256 bits, eight of them
//! set for a token) of ten bits a token, wrong once in some hundred times and only by saying that one occurs.
//!
//! A token is a run of ASCII letters, digits and `_`, or bytes beyond ASCII, as long as it goes, of 3 to 64
//! bytes, anywhere in a line.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::fault::Fault;
use super::stream::{Kind, Streams};
use crate::loki::format::{put_uvarint, take_uvarint};

const BLOCK: usize = 32;
const BITS_PER_TOKEN: usize = 10;
/// A filter takes at most one in this many of the group's bytes.
const SHARE: usize = 25;
const SHORTEST: usize = 3;
const LONGEST: usize = 64;
/// Flag: tokens of nothing but digits are not in it.
const NO_NUMBERS: u8 = 1;
/// One odd number for each of the eight bits, from Parquet's format.
const SALTS: [u32; 8] =
    [0x47B6_137B, 0x4497_4D91, 0x8824_AD5B, 0xA2B7_289D, 0x7054_95C7, 0x2DF1_424B, 0x9EFC_4947, 0x5C6B_FB31];

/// Whether a byte belongs to a token.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The tokens of some text that a filter may know. One at an end of the text may be part of a longer one.
pub(crate) fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| !is_token_byte(byte)).filter(|token| (SHORTEST..=LONGEST).contains(&token.len()))
}

fn is_number(token: &[u8]) -> bool {
    token.iter().all(u8::is_ascii_digit)
}

/// Writes the filter of a group that takes `stored` bytes without it. Tokens of digits are left out where it
/// would be too large with them, and the filter where it would be even so.
///
/// Linear in the bytes of the lines, until there are too many tokens.
pub(crate) fn build(lines: &[&[u8]], stored: usize, out: &mut Streams) {
    let most = (stored / SHARE).saturating_mul(8) / BITS_PER_TOKEN;
    let (mut words, mut numbers) = (Hashes::default(), Hashes::default());
    let mut seen = Seen::default();
    let mut add = |token: &[u8]| {
        if seen.has(token) {
            return true;
        }
        if is_number(token) {
            if numbers.len() <= most {
                numbers.add(xxh3_64(token));
            }
            return true;
        }
        !words.add(xxh3_64(token)) || words.len() <= most
    };
    if !lines.iter().all(|line| each_token(line, &mut add)) {
        return;
    }
    let all = words.len().saturating_add(numbers.len()) <= most;
    let count = words.len().saturating_add(if all { numbers.len() } else { 0 });
    let blocks = count.saturating_mul(BITS_PER_TOKEN).div_ceil(BLOCK * 8);
    if blocks == 0 {
        return;
    }
    let mut bits = vec![[0u32; 8]; blocks];
    for &hash in words.hashes().chain(numbers.hashes().filter(|_| all)) {
        if let Some(block) = bits.get_mut(place(hash, blocks)) {
            for (lane, bit) in block.iter_mut().zip(bits_of(hash)) {
                *lane |= bit;
            }
        }
    }
    let out = out.out(Kind::Filter);
    out.push(if all { 0 } else { NO_NUMBERS });
    put_uvarint(out, blocks as u64);
    bits.iter().flatten().for_each(|lane| out.extend_from_slice(&lane.to_le_bytes()));
}

/// Shows the tokens of a text until one is not wanted; whether all were.
fn each_token(text: &[u8], mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        if is_in_token(byte) {
            continue;
        }
        let length = at.wrapping_sub(start);
        if (SHORTEST..=LONGEST).contains(&length) && !wanted(text.get(start..at).unwrap_or_default()) {
            return false;
        }
        start = at.wrapping_add(1);
    }
    let last = text.get(start..).unwrap_or_default();
    !(SHORTEST..=LONGEST).contains(&last.len()) || wanted(last)
}

/// Which bytes belong to tokens, without asking.
#[expect(clippy::indexing_slicing, reason = "a byte is below 256, and it is done while compiling")]
const IN_TOKEN: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0u8;
    loop {
        all[byte as usize] = is_token_byte(byte);
        if byte == u8::MAX {
            break all;
        }
        byte = byte.wrapping_add(1);
    }
};

#[inline]
fn is_in_token(byte: u8) -> bool {
    IN_TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Some of the tokens that were there before: lines have the same ones again and again.
struct Seen(Vec<(u64, u64, usize)>);

impl Default for Seen {
    fn default() -> Self {
        Self(vec![(0, 0, 0); Self::PLACES])
    }
}

impl Seen {
    const PLACES: usize = 1 << 10;

    /// Whether it is known that a token was there before; afterwards it is. Its first and last bytes have to tell it from
    /// all others, so it is not known of long ones.
    fn has(&mut self, token: &[u8]) -> bool {
        let end = |chunk: Option<&[u8; 8]>| chunk.map(|chunk| u64::from_le_bytes(*chunk));
        let known = match end(token.first_chunk()).zip(end(token.last_chunk())) {
            Some((first, last)) if token.len() <= 16 => (first, last, token.len()),
            Some(_) => return false,
            None => {
                let all = token.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
                (all, 0, token.len())
            }
        };
        let mixed = (known.0 ^ known.1.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let place = usize::try_from(mixed >> 54).ok().and_then(|place| self.0.get_mut(place));
        place.is_some_and(|place| std::mem::replace(place, known) == known)
    }
}

/// Distinct hashes.
#[derive(Default)]
struct Hashes(HashTable<u64>);

impl Hashes {
    /// Adds one; whether it was not there.
    fn add(&mut self, hash: u64) -> bool {
        match self.0.entry(hash, |other| *other == hash, |other| *other) {
            hashbrown::hash_table::Entry::Occupied(_) => false,
            hashbrown::hash_table::Entry::Vacant(place) => {
                place.insert(hash);
                true
            }
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn hashes(&self) -> impl Iterator<Item = &u64> {
        self.0.iter()
    }
}

/// The block of a token: the upper half of its hash says how far in.
fn place(hash: u64, blocks: usize) -> usize {
    let place = u128::from(hash >> 32).saturating_mul(blocks as u128) >> 32;
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// Its bit in each lane of the block.
fn bits_of(hash: u64) -> [u32; 8] {
    let low = u32::try_from(hash & 0xFFFF_FFFF).unwrap_or_default();
    SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27))
}

/// A filter that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter<'a> {
    numbers: bool,
    blocks: &'a [u8],
}

impl<'a> Filter<'a> {
    /// The filter of a group, if it has one.
    pub(crate) fn open(streams: &'a Streams) -> Result<Option<Self>, Fault> {
        let whole = streams.get(Kind::Filter)?;
        let Some((&flags, mut rest)) = whole.split_first() else { return Ok(None) };
        let corrupt = |what: String| Fault::corrupt(Kind::Filter, 0, what);
        if flags & !NO_NUMBERS != 0 {
            return Err(corrupt(format!("no filter has flags {flags}")));
        }
        let blocks = take_uvarint(&mut rest).and_then(|blocks| usize::try_from(blocks).ok());
        if blocks.is_none_or(|blocks| blocks == 0 || blocks.checked_mul(BLOCK) != Some(rest.len())) {
            return Err(corrupt(format!("{blocks:?} blocks in {} bytes", rest.len())));
        }
        Ok(Some(Self { numbers: flags & NO_NUMBERS == 0, blocks: rest }))
    }

    /// Whether a line may have this whole token. True for what a filter cannot know.
    pub(crate) fn may_hold(&self, token: &[u8]) -> bool {
        let known =
            (SHORTEST..=LONGEST).contains(&token.len()) && token.iter().all(|&byte| is_token_byte(byte));
        if !known || (!self.numbers && is_number(token)) {
            return true;
        }
        let hash = xxh3_64(token);
        let number = place(hash, self.blocks.len().checked_div(BLOCK).unwrap_or(0));
        let Some(block) = self.blocks.chunks_exact(BLOCK).nth(number) else { return true };
        let lanes = block.chunks_exact(4).filter_map(|lane| lane.first_chunk::<4>());
        lanes.zip(bits_of(hash)).all(|(lane, bit)| u32::from_le_bytes(*lane) & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(lines: &[String], stored: usize) -> Streams {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let mut streams = Streams::default();
        build(&lines, stored, &mut streams);
        streams
    }

    fn lines() -> Vec<String> {
        let numbers = (100_000..).step_by(7);
        (0..500).zip(numbers).map(|(n, m)| format!("user_{n} of \u{e4}\u{f6}\u{fc}{n}, [{m}] ab")).collect()
    }

    #[test]
    fn every_token_is_held_and_few_others() {
        let streams = built(&lines(), 1 << 20);
        let filter = Filter::open(&streams).unwrap().unwrap();
        for line in lines() {
            assert!(tokens(line.as_bytes()).count() == 3);
            assert!(tokens(line.as_bytes()).all(|token| filter.may_hold(token)), "{line}");
        }
        let wrong = (0..10_000).filter(|n| filter.may_hold(format!("other_{n}").as_bytes())).count();
        assert!(wrong < 300, "{wrong} of 10,000");
    }

    #[test]
    fn numbers_are_left_out_before_the_filter_is() {
        // 1000 words take 1250 bytes, and 500 numbers more than that share of the group.
        let streams = built(&lines(), 1300 * SHARE);
        let filter = Filter::open(&streams).unwrap().unwrap();
        assert!(filter.may_hold(b"999999") && filter.may_hold(b"user_7") && !filter.may_hold(b"user_7777"));
        assert!(streams.len(Kind::Filter) <= 1300);
        assert_eq!(built(&lines(), 1000 * SHARE).len(Kind::Filter), 0);
        assert!(Filter::open(&built(&[], 1 << 20)).unwrap().is_none());
    }

    #[test]
    fn what_a_filter_cannot_know_may_be_held() {
        let streams = built(&lines(), 1 << 20);
        let filter = Filter::open(&streams).unwrap().unwrap();
        let long = [b'x'; LONGEST + 1];
        for token in [&b""[..], b"zz", b"two words", &long] {
            assert!(filter.may_hold(token));
        }
        assert!(!filter.may_hold(&[b'x'; LONGEST]));
    }

    #[test]
    fn a_filter_that_lies_about_its_size_is_refused() {
        let mut streams = built(&lines(), 1 << 20);
        let whole = streams.out(Kind::Filter).clone();
        for length in 1..whole.len() {
            *streams.out(Kind::Filter) = whole.get(..length).unwrap().to_vec();
            assert!(Filter::open(&streams).is_err());
        }
        *streams.out(Kind::Filter) = [&[2], whole.get(1..).unwrap()].concat();
        assert!(Filter::open(&streams).is_err());
    }
}
