//! What lines have in common: literal text with slots between. While encoding, skeletons are the keys that the
//! lexer makes, each once, with the number of rows that have it.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::class::Class;

/// A piece of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part<'a> {
    Literal(&'a [u8]),
    /// A slot, and where its mark ends in the key: the bytes up to there are its prefix.
    Slot(Class, usize),
}

/// The pieces of a key.
pub(crate) fn parts(key: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = key.get(at..).filter(|rest| !rest.is_empty())?;
        if let Some(&[0, class, width]) = rest.get(..3) {
            at += 3;
            let class = Class::from_bytes([class, width]).expect("a key is made of classes");
            return Some(Part::Slot(class, at));
        }
        let length = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        at += length;
        rest.get(..length).map(Part::Literal)
    })
}

/// Keys by number, in the order they were first seen.
#[derive(Default)]
pub(crate) struct Table {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Rows of each key.
    pub(crate) rows: Vec<u32>,
    /// Hash and number of each key: hashes are kept because keys are long.
    places: HashTable<(u64, u32)>,
    hasher: RandomState,
}

impl Table {
    /// Counts a row of this key, and gives the key's number.
    pub(crate) fn add(&mut self, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(key);
        let (bytes, ends) = (&self.bytes, &self.ends);
        let next = u32::try_from(ends.len()).expect("a group has fewer rows than 4 Gi");
        let entry = self.places.entry(
            hash,
            |&(other, number)| other == hash && key_of(bytes, ends, number) == key,
            |&(hash, _)| hash,
        );
        let number = entry.or_insert((hash, next)).get().1;
        if number == next {
            self.bytes.extend_from_slice(key);
            self.ends.push(self.bytes.len());
            self.rows.push(0);
        }
        self.count(number);
        number
    }

    /// Counts one more row of a key that is there.
    pub(crate) fn count(&mut self, number: u32) {
        if let Some(rows) = self.rows.get_mut(number as usize) {
            *rows += 1;
        }
    }

    /// All keys, in the order of their numbers.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..).take(self.ends.len()).map(|number| self.key(number))
    }

    pub(crate) fn key(&self, number: u32) -> &[u8] {
        key_of(&self.bytes, &self.ends, number)
    }

    /// The keys of at least `least` rows, those of most rows first, at most `most` of them.
    pub(crate) fn ranked(&self, least: u32, most: usize) -> Vec<u32> {
        let mut kept: Vec<(u32, u32)> = (0..)
            .zip(&self.rows)
            .filter(|&(_, &rows)| rows >= least)
            .map(|(number, &rows)| (rows, number))
            .collect();
        kept.sort_unstable_by_key(|&(rows, number)| (std::cmp::Reverse(rows), number));
        kept.truncate(most);
        kept.into_iter().map(|(_, number)| number).collect()
    }
}

fn key_of<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    let end = ends.get(number).copied().unwrap_or(start);
    bytes.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_apart_into_what_it_was_made_of() {
        let key = b"a \0\x03\x08 b\0\x00\x00";
        let found: Vec<_> = parts(key).collect();
        assert_eq!(
            found,
            [
                Part::Literal(b"a "),
                Part::Slot(Class::Hex(8), 5),
                Part::Literal(b" b"),
                Part::Slot(Class::Text, 10)
            ]
        );
        assert_eq!(parts(b"").count(), 0);
    }

    #[test]
    fn keys_rank_by_rows_and_then_by_first_sight() {
        let mut table = Table::default();
        for key in ["c", "a", "b", "a", "b", "d"] {
            table.add(key.as_bytes());
        }
        let ranked: Vec<_> =
            table.ranked(1, 3).into_iter().map(|number| table.key(number).to_vec()).collect();
        assert_eq!(ranked, [b"a", b"b", b"c"]);
        assert_eq!(table.ranked(2, 9).len(), 2);
    }
}
