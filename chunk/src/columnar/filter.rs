//! Which words occur in a group, so that a search for another one need not look: a split block Bloom filter
//! (Putze, Sanders and Singler's blocked filter, in the layout of Parquet's: blocks of 256 bits, eight of them
//! set for a word) of ten bits a word, wrong once in some hundred times and only by saying that one occurs.
//!
//! A word is a run of ASCII letters and bytes beyond ASCII, as long as it goes, of 3 to 64 bytes, that no digit is in
//! front of and that is not made of hex digits alone. So it is never part of a value that is a number: all words are in
//! literal text, in text of columns and in lines without a skeleton, each of which is there once where lines repeat it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::fault::Fault;
use super::stream::{Kind, Streams};
use crate::loki::format::{put_uvarint, take_uvarint};

const BLOCK: usize = 32;
const BITS_PER_WORD: usize = 10;
/// A filter takes at most one in this many of the group's bytes.
const SHARE: usize = 25;
/// About what a stream takes besides its bytes.
const OVERHEAD: usize = 16;
const SHORTEST: usize = 3;
const LONGEST: usize = 64;
/// One odd number for each of the eight bits, from Parquet's format.
const SALTS: [u32; 8] =
    [0x47B6_137B, 0x4497_4D91, 0x8824_AD5B, 0xA2B7_289D, 0x7054_95C7, 0x2DF1_424B, 0x9EFC_4947, 0x5C6B_FB31];
/// Names in times, which are columns of numbers.
const NAMES: [&[u8; 3]; 19] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec", b"Mon",
    b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun",
];

/// Whether a byte belongs to a word.
pub(crate) const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte >= 0x80
}

/// The words of some text that a filter may know. One at an end of the text may be part of a longer one.
pub(crate) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            let bytes = rest.iter().position(|&byte| !is_in_word(byte)).unwrap_or(rest.len());
            at = at.saturating_add(bytes).saturating_add(1);
            let word = rest.get(..bytes).unwrap_or_default();
            if is_word(word) && !before.is_some_and(u8::is_ascii_digit) {
                return Some(word);
            }
        }
    })
}

/// The words of some text that are words of whatever it is in: those that do not reach to its ends.
pub(crate) fn inner_words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_other = |byte: &u8| !is_in_word(*byte);
    let (first, last) = (text.iter().position(is_other), text.iter().rposition(is_other));
    // With what is around them: a digit in front of a word counts.
    let inner = first.zip(last).and_then(|(first, last)| text.get(first..=last));
    words(inner.unwrap_or_default())
}

/// Whether a run of letters is a word.
fn is_word(letters: &[u8]) -> bool {
    (SHORTEST..=LONGEST).contains(&letters.len()) && !letters.iter().all(u8::is_ascii_hexdigit)
}

/// The words of a group, while they are collected.
pub(crate) struct Words {
    hashes: Hashes,
    seen: Seen,
    /// More than so many are of no use.
    most: usize,
}

fn most(bytes: usize) -> usize {
    (bytes / SHARE).saturating_mul(8) / BITS_PER_WORD
}

impl Words {
    /// None yet, of a group that takes at most so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { hashes: Hashes::default(), seen: Seen::default(), most: most(bytes) }
    }

    /// Adds the words of some text. Linear in its bytes, until there are too many words.
    pub(crate) fn add(&mut self, text: &[u8]) {
        if self.hashes.len() > self.most {
            return;
        }
        for word in words(text) {
            if !self.seen.has(word) {
                self.hashes.add(xxh3_64(word));
            }
        }
    }

    /// Writes the filter of a group that takes `stored` bytes without it, unless it would be too large.
    pub(crate) fn write(&self, stored: usize, out: &mut Streams) {
        let blocks = self.hashes.len().saturating_mul(BITS_PER_WORD).div_ceil(BLOCK.saturating_mul(8));
        let bytes = blocks.saturating_mul(BLOCK).saturating_add(OVERHEAD);
        if blocks == 0 || self.hashes.len() > self.most || bytes > stored / SHARE {
            return;
        }
        let mut bits = vec![[0u32; 8]; blocks];
        for &hash in self.hashes.hashes() {
            if let Some(block) = bits.get_mut(place(hash, blocks)) {
                for (lane, bit) in block.iter_mut().zip(bits_of(hash)) {
                    *lane |= bit;
                }
            }
        }
        let out = out.out(Kind::Filter);
        put_uvarint(out, blocks as u64);
        bits.iter().flatten().for_each(|lane| out.extend_from_slice(&lane.to_le_bytes()));
    }
}

/// Which bytes belong to words, without asking.
#[expect(clippy::indexing_slicing, reason = "a byte is below 256, and it is done while compiling")]
const IN_WORD: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0u8;
    loop {
        all[byte as usize] = is_letter(byte);
        if byte == u8::MAX {
            break all;
        }
        byte = byte.wrapping_add(1);
    }
};

#[inline]
fn is_in_word(byte: u8) -> bool {
    IN_WORD.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Some of the words that were there before: lines have the same ones again and again.
struct Seen(Vec<(u64, u64, usize)>);

impl Default for Seen {
    fn default() -> Self {
        Self(vec![(0, 0, 0); Self::PLACES])
    }
}

impl Seen {
    const PLACES: usize = 1 << 10;

    /// Whether it is known that a word was there before; afterwards it is. Its first and last bytes have to tell it from
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

/// The block of a word: the upper half of its hash says how far in.
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
    blocks: &'a [u8],
}

impl<'a> Filter<'a> {
    /// The filter of a group, if it has one.
    pub(crate) fn open(streams: &'a Streams) -> Result<Option<Self>, Fault> {
        let whole = streams.get(Kind::Filter)?;
        if whole.is_empty() {
            return Ok(None);
        }
        let mut rest = whole;
        let blocks = take_uvarint(&mut rest).and_then(|blocks| usize::try_from(blocks).ok());
        if blocks.is_none_or(|blocks| blocks == 0 || blocks.checked_mul(BLOCK) != Some(rest.len())) {
            return Err(Fault::corrupt(
                Kind::Filter,
                0,
                format!("{blocks:?} blocks in {} bytes", rest.len()),
            ));
        }
        Ok(Some(Self { blocks: rest }))
    }

    /// Whether a line may have this whole word, and no digit in front of it. True for what a filter cannot know.
    pub(crate) fn may_hold(&self, word: &[u8]) -> bool {
        let known = is_word(word)
            && word.iter().all(|&byte| is_letter(byte))
            && !NAMES.iter().any(|name| *name == word);
        if !known {
            return true;
        }
        let hash = xxh3_64(word);
        let number = place(hash, self.blocks.len().checked_div(BLOCK).unwrap_or(0));
        let Some(block) = self.blocks.chunks_exact(BLOCK).nth(number) else { return true };
        let lanes = block.chunks_exact(4).filter_map(|lane| lane.first_chunk::<4>());
        lanes.zip(bits_of(hash)).all(|(lane, bit)| u32::from_le_bytes(*lane) & bit != 0)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn built(lines: &[String], stored: usize) -> Streams {
        let mut words = Words::new(1 << 20);
        lines.iter().for_each(|line| words.add(line.as_bytes()));
        let mut streams = Streams::default();
        words.write(stored, &mut streams);
        streams
    }

    /// A number of letters.
    fn name(n: usize) -> String {
        [n / 676, n / 26 % 26, n % 26]
            .iter()
            .map(|&n| char::from(b'a' + u8::try_from(n).unwrap()))
            .chain(['z'])
            .collect()
    }

    fn lines() -> Vec<String> {
        (0..500).map(|n| format!("{}_{n} of \u{e4}\u{f6}\u{fc}{}, [{n}]ab", name(n), name(n))).collect()
    }

    #[test]
    fn every_word_is_held_and_few_others() {
        let streams = built(&lines(), 1 << 20);
        let filter = Filter::open(&streams).unwrap().unwrap();
        for line in lines() {
            assert!(words(line.as_bytes()).count() == 2);
            assert!(words(line.as_bytes()).all(|word| filter.may_hold(word)), "{line}");
        }
        let wrong = (1000..11_000).filter(|n| filter.may_hold(name(*n).as_bytes())).count();
        assert!(wrong < 300, "{wrong} of 10,000");
    }

    #[test]
    fn words_are_runs_of_letters_that_no_value_of_digits_has() {
        let found: Vec<_> = words(b"took 5ms: user_name, x-deadbeef 0xquit (t\xC3\xA4st) is").collect();
        assert_eq!(found, [&b"took"[..], b"user", b"name", b"t\xC3\xA4st"]);
    }

    #[test]
    fn a_filter_that_would_be_large_is_not_written() {
        // 1000 words take 1250 bytes.
        assert!((1250..1300).contains(&built(&lines(), 1320 * SHARE).len(Kind::Filter)));
        assert_eq!(built(&lines(), 1200 * SHARE).len(Kind::Filter), 0);
        assert!(Filter::open(&built(&[], 1 << 20)).unwrap().is_none());
    }

    #[test]
    fn what_a_filter_cannot_know_may_be_held() {
        let streams = built(&lines(), 1 << 20);
        let filter = Filter::open(&streams).unwrap().unwrap();
        let long = [b'x'; LONGEST + 1];
        for word in [&b""[..], b"zz", b"two words", b"deadbeef", b"Jun", b"x1y2", &long] {
            assert!(filter.may_hold(word));
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
    }
}
