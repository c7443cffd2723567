//! The block format of LZ4 (lz4/lz4, `lz4_Block_format.md`), written. A match is looked for in a table of 65,536
//! places by the hash of six bytes, and the first one is taken: about as small as what Loki writes, where the usual 4,096
//! places are larger.

#![warn(clippy::indexing_slicing)]

use std::cell::RefCell;

const PLACES: usize = 1 << 16;
/// A match is at least so long.
const MIN_MATCH: usize = 4;
/// A block ends in so many literals at least.
const LAST_LITERALS: usize = 5;
/// Before the last match there are at least so many bytes left.
const MATCH_LIMIT: usize = 12;
/// How far back a match can reach.
const MAX_OFFSET: usize = 65_535;
/// Where nothing matches, steps grow by one for every so many bytes, as a power of two.
const SKIP_TRIGGER: u32 = 6;
/// What a length of four bits continues behind.
const NIBBLE: usize = 15;

thread_local! {
    static TABLE: RefCell<Table> = RefCell::new(Table { places: Box::new([0; PLACES]), base: 1 });
}

/// Where six bytes of some hash were seen last.
struct Table {
    /// The place in its block and the base that the block had: of blocks before it is below this one's.
    places: Box<[u32; PLACES]>,
    base: u32,
}

impl Table {
    /// Makes room for places in a block of `length` bytes; those of blocks before are forgotten.
    fn start(&mut self, length: u32) {
        if self.base.checked_add(length).is_none() {
            self.places.fill(0);
            self.base = 1;
        }
    }

    /// How far before `at` the six bytes were that had the hash of this word, at most as far as a match can reach and
    /// not before the block; `at` takes over.
    #[inline]
    fn replace(&mut self, word: u64, at: usize) -> Option<usize> {
        let place = self.base.wrapping_add(u32::try_from(at).unwrap_or(u32::MAX));
        let slot = self.places.get_mut(hash(word))?;
        let distance = place.wrapping_sub(std::mem::replace(slot, place));
        let distance = usize::try_from(distance).ok()?;
        (distance.wrapping_sub(1) < at.min(MAX_OFFSET)).then_some(distance)
    }
}

#[inline]
fn hash(word: u64) -> usize {
    const FACTOR: u64 = 0x9E37_79B1_85EB_CA87;
    let [high, low, ..] = (word << 16).wrapping_mul(FACTOR).to_be_bytes();
    u16::from_be_bytes([high, low]).into()
}

/// Appends the block of `plain`, which is at most 4 MiB.
pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) {
    // What does not compress takes one byte in 255 more, and so do the ends.
    out.reserve(plain.len() + plain.len() / 255 + 32);
    let anchor = TABLE.with_borrow_mut(|table| {
        let length = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        table.start(length);
        let anchor = matches(table, plain, out);
        table.base = table.base.saturating_add(length);
        anchor
    });
    let literals = plain.get(anchor..).unwrap_or_default();
    out.push(nibble(literals.len()) << 4);
    put_rest(out, literals.len());
    out.extend_from_slice(literals);
}

/// A match: where it is, where it is copied from, and how long it is.
#[derive(Clone, Copy)]
struct Match {
    at: usize,
    from: usize,
    length: usize,
}

/// Appends all sequences that end in a match; says where the bytes behind them start.
fn matches(table: &mut Table, plain: &[u8], out: &mut Vec<u8>) -> usize {
    let Some(limit) = plain.len().checked_sub(MATCH_LIMIT) else { return 0 };
    let mut anchor = 0;
    let mut at = 0;
    while at < limit {
        let Some(seed) = find(table, plain, at) else {
            at += 1 + ((at - anchor) >> SKIP_TRIGGER);
            continue;
        };
        let Match { at: start, from, length } = seed.extended(plain);
        let back =
            common_back(plain.get(anchor..start).unwrap_or_default(), plain.get(..from).unwrap_or_default());
        put_sequence(
            out,
            plain.get(anchor..).unwrap_or_default(),
            start - back - anchor,
            start - from,
            length + back,
        );
        at = start + length;
        anchor = at;
        for place in [at - 2, at - 1] {
            if place < limit {
                table.replace(word(plain, place), place);
            }
        }
    }
    anchor
}

/// Two places with the same four bytes at least.
#[derive(Clone, Copy)]
struct Seed {
    at: usize,
    from: usize,
    /// What differs in the first eight.
    differs: u64,
}

impl Seed {
    fn extended(self, plain: &[u8]) -> Match {
        let Self { at, from, differs } = self;
        let length = if differs == 0 { 8 + common(plain, from + 8, at + 8) } else { bytes_alike(differs) };
        let most = plain.len() - LAST_LITERALS - at;
        Match { at, from, length: length.min(most) }
    }
}

/// The match at `at`, if the table knows one.
#[inline]
fn find(table: &mut Table, plain: &[u8], at: usize) -> Option<Seed> {
    let here = word(plain, at);
    let from = at - table.replace(here, at)?;
    let differs = word(plain, from) ^ here;
    // The low four bytes are the first ones.
    (differs << 32 == 0).then_some(Seed { at, from, differs })
}

/// Eight bytes, or 0 where there are fewer.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

#[inline]
fn bytes_alike(differs: u64) -> usize {
    usize::try_from(differs.trailing_zeros() / 8).unwrap_or_default()
}

/// How many bytes from these two places on are the same.
#[inline]
fn common(bytes: &[u8], from: usize, at: usize) -> usize {
    let (from, at) = (bytes.get(from..).unwrap_or_default(), bytes.get(at..).unwrap_or_default());
    let mut length = 0;
    for (a, b) in from.as_chunks::<8>().0.iter().zip(at.as_chunks::<8>().0) {
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 {
            return length + bytes_alike(differs);
        }
        length += 8;
    }
    let rest = from.iter().skip(length).zip(at.iter().skip(length));
    length + rest.take_while(|(a, b)| a == b).count()
}

/// How many bytes at the ends of these two are the same.
#[inline]
fn common_back(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// Appends the first of `plain` as literals, then a match.
#[inline]
fn put_sequence(out: &mut Vec<u8>, plain: &[u8], literals: usize, offset: usize, length: usize) {
    /// Literals whose number the token has.
    const FEW: usize = 14;
    let length = length - MIN_MATCH;
    let token = nibble(literals) << 4 | nibble(length);
    let [low, high, ..] = offset.to_le_bytes();
    match plain.first_chunk::<FEW>() {
        // A move of a known size, and then as many bytes as there are.
        Some(few) if literals <= FEW => {
            let mut sequence = [0; 1 + FEW + 2];
            let (first, rest) = sequence.split_at_mut(1);
            first.fill(token);
            if let Some(place) = rest.first_chunk_mut() {
                *place = *few;
            }
            if let Some(place) = rest.get_mut(literals..).and_then(<[u8]>::first_chunk_mut) {
                *place = [low, high];
            }
            let end = out.len() + 1 + literals + 2;
            out.extend_from_slice(&sequence);
            out.truncate(end);
        }
        _ => {
            out.push(token);
            put_rest(out, literals);
            out.extend_from_slice(plain.get(..literals).unwrap_or_default());
            out.extend_from_slice(&[low, high]);
        }
    }
    put_rest(out, length);
}

/// What of a length is in the token.
#[inline]
fn nibble(length: usize) -> u8 {
    u8::try_from(length.min(NIBBLE)).unwrap_or(15)
}

/// What of a length is not in the token.
#[inline]
fn put_rest(out: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(NIBBLE) else { return };
    while rest >= 255 {
        out.push(255);
        rest -= 255;
    }
    out.push(u8::try_from(rest).unwrap_or(u8::MAX));
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that goes past the end should fail")]
mod tests {
    use super::*;

    fn round_trip(plain: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        compress(plain, &mut block);
        let back = lz4_flex::block::decompress(&block, plain.len()).unwrap();
        assert!(back == plain, "{} bytes differ", plain.len());
        block
    }

    #[test]
    fn short_blocks_are_literals() {
        for length in 0..=12 {
            let plain = vec![b'a'; length];
            assert_eq!(round_trip(&plain).len(), length + 1);
        }
    }

    /// The last match starts 12 bytes before the end, and the last 5 bytes are literals.
    #[test]
    fn a_block_ends_as_the_format_demands() {
        for length in 13..300 {
            let block = round_trip(&vec![b'a'; length]);
            assert!(block.len() < length.max(17), "{length}");
            assert!(block.ends_with(b"aaaaa"), "{length}");
        }
    }

    #[test]
    fn lengths_of_every_size_come_back() {
        for literals in [0, 1, 14, 15, 16, 269, 270, 271, 600] {
            for repeated in [4, 8, 18, 19, 20, 273, 274, 275, 3000] {
                let fresh: Vec<u8> =
                    (0..literals + 40u32).flat_map(|n| n.wrapping_mul(0x9E37_79B1).to_le_bytes()).collect();
                let plain =
                    [&fresh[..], &fresh[..usize::min(repeated, fresh.len())], b"0123456789abcdef"].concat();
                round_trip(&plain);
            }
        }
    }

    #[test]
    fn matches_beyond_the_window_are_not_taken() {
        for gap in [65_534, 65_535, 65_536, 70_000] {
            let phrase = b"a phrase of its own, longer than a match";
            let filler: Vec<u8> = (0..gap - phrase.len())
                .map(|n| u32::try_from(n).unwrap().wrapping_mul(0x9E37_79B1).to_be_bytes()[0])
                .collect();
            let plain = [&phrase[..], &filler, phrase, b"and the last of it"].concat();
            round_trip(&plain);
        }
    }

    #[test]
    fn places_of_blocks_before_are_forgotten() {
        let plain = b"one line and one line and one line again".repeat(3);
        let first = round_trip(&plain);
        TABLE.with_borrow_mut(|table| table.base = u32::MAX - 50);
        assert_eq!(round_trip(&plain), first);
        assert_eq!(round_trip(&plain), first);
    }
}
