//! Which letters follow each other in the lines of a group, so that a search for text that is nowhere need not look: all
//! threes of letters that occur, a bit for each at a place that its hash says. Places are shared, so one three in some
//! three that do not occur seems to; of a word of seven letters there are five.
//!
//! Letters are those of ASCII, large or small, and bytes beyond it. A run of them may be part of a value that is a number
//! where it is made of hex digits, with an `x` in front or not, and where it is the name of a month or a day. Of other runs
//! all threes are in literal text, in text of columns and in lines without a skeleton, each of which is there once where
//! lines repeat it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::fault::Fault;
use super::stream::{Kind, Streams};

/// Bits for each three that occurs, if there is room for them.
const BITS: usize = 2;
/// A filter takes at most one in this many of the group's bytes.
const SHARE: usize = 50;
/// About what a stream takes besides its bytes.
const OVERHEAD: usize = 16;
/// Threes that can be told apart: five bits of each letter.
const THREES: usize = 1 << 15;
/// Lines that have more of them than this have almost all that is searched for.
const MOST: usize = THREES / 4;
/// Names in times, which are columns of numbers.
const NAMES: [&[u8; 3]; 19] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec", b"Mon",
    b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun",
];

/// Whether a byte belongs to a run of letters.
pub(crate) const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte >= 0x80
}

/// The threes of some text that no number has.
pub(crate) fn threes(text: &[u8]) -> impl Iterator<Item = u16> {
    let runs = text.split(|byte| !is_letter(*byte));
    runs.filter_map(word_of).flat_map(|word| word.windows(3).map(three))
}

/// What of a run of letters cannot be part of a number.
fn word_of(run: &[u8]) -> Option<&[u8]> {
    let word = run.strip_prefix(b"x").or_else(|| run.strip_prefix(b"X")).unwrap_or(run);
    let is_number =
        word.iter().all(u8::is_ascii_hexdigit) || NAMES.iter().any(|name| name.eq_ignore_ascii_case(word));
    (!is_number).then_some(word)
}

/// The number of three letters.
fn three(letters: &[u8]) -> u16 {
    letters.iter().fold(0, |three, &letter| three << 5 | u16::from(letter & 31))
}

/// The bit of a three in so many bytes.
fn place(three: u16, bytes: usize) -> (usize, u8) {
    let hash = u32::from(three).wrapping_mul(0x9E37_79B1);
    let place = u64::from(hash).wrapping_mul((bytes as u64).wrapping_mul(8)) >> 32;
    (usize::try_from(place / 8).unwrap_or(usize::MAX), 1 << (place % 8))
}

/// The threes of a group, while they are collected.
pub(crate) struct Words(Box<[u64; THREES / 64]>);

impl Default for Words {
    fn default() -> Self {
        Self(Box::new([0; THREES / 64]))
    }
}

impl Words {
    /// Adds those of some text. Linear in its bytes.
    pub(crate) fn add(&mut self, text: &[u8]) {
        let (mut three, mut letters) = (0u16, 0u32);
        for &byte in text {
            let number = number_of(byte);
            // Of the last two letters and this one.
            three = (three << 5 | u16::from(number & 31)) & 0x7FFF;
            letters = if number == OTHER { 0 } else { letters.saturating_add(1) };
            if letters >= 3
                && let Some(word) = self.0.get_mut(usize::from(three >> 6))
            {
                *word |= 1 << (three & 63);
            }
        }
    }

    /// Writes the filter of a group that takes `stored` bytes without it, unless it would be of no use in its share of them.
    pub(crate) fn write(&self, stored: usize, out: &mut Streams) {
        let count =
            self.0.iter().fold(0usize, |count, word| count.saturating_add(word.count_ones() as usize));
        let most = (stored / SHARE).saturating_sub(OVERHEAD);
        let bytes = count.saturating_mul(BITS).div_ceil(8).min(most);
        if count == 0 || count > MOST || bytes.saturating_mul(8) < count {
            return;
        }
        let mut bits = vec![0u8; bytes];
        for three in (0..=0x7FFFu16).filter(|three| {
            self.0.get(usize::from(three >> 6)).is_some_and(|word| word >> (three & 63) & 1 == 1)
        }) {
            let (byte, bit) = place(three, bytes);
            if let Some(byte) = bits.get_mut(byte) {
                *byte |= bit;
            }
        }
        out.out(Kind::Filter).extend_from_slice(&bits);
    }
}

/// That of what is no letter.
const OTHER: u8 = 32;

/// The numbers of letters in threes.
#[expect(clippy::indexing_slicing, reason = "a byte is below 256, and it is done while compiling")]
const NUMBERS: [u8; 256] = {
    let mut all = [OTHER; 256];
    let mut byte = 0u8;
    loop {
        if is_letter(byte) {
            all[byte as usize] = byte & 31;
        }
        if byte == u8::MAX {
            break all;
        }
        byte = byte.wrapping_add(1);
    }
};

#[inline]
fn number_of(byte: u8) -> u8 {
    NUMBERS.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

/// A filter that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter<'a> {
    bits: &'a [u8],
}

impl<'a> Filter<'a> {
    /// The filter of a group, if it has one.
    pub(crate) fn open(streams: &'a Streams) -> Result<Option<Self>, Fault> {
        let bits = streams.get(Kind::Filter)?;
        Ok((!bits.is_empty()).then_some(Self { bits }))
    }

    /// Whether a line may have this text. True for what a filter cannot know.
    pub(crate) fn may_hold(&self, text: &[u8]) -> bool {
        threes(text).all(|three| {
            let (byte, bit) = place(three, self.bits.len());
            self.bits.get(byte).is_none_or(|byte| byte & bit != 0)
        })
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn built(lines: &[String], stored: usize) -> Streams {
        let mut words = Words::default();
        lines.iter().for_each(|line| words.add(line.as_bytes()));
        let mut streams = Streams::default();
        words.write(stored, &mut streams);
        streams
    }

    /// A number as six letters.
    fn name(n: usize) -> String {
        let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let letter = |place: u32| char::from(b'a' + u8::try_from(mixed / 26usize.pow(place) % 26).unwrap());
        (0..6).map(letter).collect()
    }

    fn lines() -> Vec<String> {
        (0..500).map(|n| format!("{}_{n} of \u{e4}\u{f6}\u{fc}{}, [{n}]ab", name(n), name(n))).collect()
    }

    #[test]
    fn all_text_is_held_whole_or_in_part_and_in_any_case_and_little_else() {
        let streams = built(&lines(), 1 << 20);
        let filter = Filter::open(&streams).unwrap().unwrap();
        for line in lines() {
            let line = line.as_bytes();
            assert!(threes(line).count() >= 6);
            for start in 0..line.len() {
                assert!(filter.may_hold(&line[start..]) && filter.may_hold(&line[..start]));
                assert!(filter.may_hold(&line[start..].to_ascii_uppercase()));
            }
        }
        let wrong = (1000..11_000).filter(|n| filter.may_hold(name(*n).as_bytes())).count();
        assert!(wrong < 1000, "{wrong} of 10,000");
    }

    #[test]
    fn what_may_be_part_of_a_number_is_not_known() {
        for text in [
            &b""[..],
            b"no",
            b"a b c",
            b"deadbeef",
            b"0xDeadBeef",
            b"xfeed",
            b"14 Jun",
            b"mar",
            b"x1y2",
            b"5ms",
        ] {
            assert_eq!(threes(text).count(), 0, "{}", text.escape_ascii());
        }
        for (text, count) in [
            (&b"xquit"[..], 2),
            (b"sixty", 3),
            (b"june", 2),
            (b"feeds", 3),
            (b"t\xC3\xA4st", 3),
            (b"abc-def-ghi", 1),
        ] {
            assert_eq!(threes(text).count(), count, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_filter_takes_its_share_and_no_more() {
        let count = built(&lines(), 1 << 20).len(Kind::Filter) * 4;
        assert!((1000..3000).contains(&count), "{count}");
        for (share, expected) in
            [(count, count / 4), (count / 6, count / 6), (count / 8 + 1, count / 8 + 1), (count / 9, 0)]
        {
            let found = built(&lines(), (share + OVERHEAD) * SHARE).len(Kind::Filter);
            assert_eq!(found, expected, "{share} bytes for {count}");
        }
        assert!(Filter::open(&built(&[], 1 << 20)).unwrap().is_none());
    }
}
