//! How often words and fields occur in some lines, by a hash of them: what shares a place is counted together, which costs
//! a worse skeleton and no line.

use super::{DIGIT, FIELD_END, RUN, kind};

/// How often words and fields occur.
pub(crate) struct Words {
    counts: Vec<u16>,
    /// How often is often.
    pub(crate) frequent: u16,
    /// Whether a field is frequent only as a whole, and not where all its words are.
    pub(crate) whole: bool,
}

impl Words {
    const PLACES: usize = 1 << 15;

    pub(crate) fn new() -> Self {
        Self { counts: vec![0; Self::PLACES], frequent: 1, whole: false }
    }

    fn place(word: &[u8]) -> usize {
        let (chunks, rest) = word.as_chunks::<8>();
        let parts = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk));
        let rest = (!rest.is_empty()).then(|| tail(word, rest));
        let hash = parts.chain(rest).fold(word.len() as u64, |hash, part| {
            (hash.rotate_left(23) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        usize::try_from((hash >> 32) % Self::PLACES as u64).unwrap_or(0)
    }

    /// Counts the words and fields of a line.
    pub(crate) fn count(&mut self, line: &[u8]) {
        let mut start = 0;
        for (at, &byte) in line.iter().enumerate() {
            if kind(byte) & FIELD_END != 0 {
                self.count_field(line.get(start..at).unwrap_or_default());
                start = at + 1;
            }
        }
        self.count_field(line.get(start..).unwrap_or_default());
    }

    fn count_field(&mut self, field: &[u8]) {
        if field.is_empty() {
            return;
        }
        self.add(field);
        all_runs(field, |word, seen| {
            if seen & DIGIT == 0 && word.len() < field.len() {
                self.add(word);
            }
            true
        });
    }

    /// Says from which count on a word is frequent, at least four, and whether only whole fields are.
    pub(crate) fn require(&mut self, whole: bool, count: usize) {
        self.whole = whole;
        self.frequent = u16::try_from(count).unwrap_or(u16::MAX).max(4);
    }

    fn add(&mut self, word: &[u8]) {
        if let Some(count) = self.counts.get_mut(Self::place(word)) {
            *count = count.saturating_add(1);
        }
    }

    fn has(&self, word: &[u8]) -> bool {
        self.counts.get(Self::place(word)).is_some_and(|&count| count >= self.frequent)
    }

    pub(super) fn are_frequent(&self, field: &[u8]) -> bool {
        if self.whole && !field.first().is_some_and(u8::is_ascii_digit) {
            return self.has(field);
        }
        all_runs(field, |run, seen| if seen & DIGIT != 0 { switches(run) <= 2 } else { self.has(run) })
    }
}

/// The last bytes of a word, fewer than eight, as one number.
fn tail(word: &[u8], rest: &[u8]) -> u64 {
    match word.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)),
    }
}

/// Whether something holds for all runs of letters and digits in some text, of which it is told which kinds of bytes
/// each has.
fn all_runs(text: &[u8], mut holds: impl FnMut(&[u8], u8) -> bool) -> bool {
    let (mut start, mut seen) = (0, 0);
    for (at, &byte) in text.iter().enumerate() {
        let kind = kind(byte) & RUN;
        if kind != 0 {
            seen |= kind;
            continue;
        }
        if seen != 0 && !holds(text.get(start..at).unwrap_or_default(), seen) {
            return false;
        }
        (start, seen) = (at + 1, 0);
    }
    seen == 0 || holds(text.get(start..).unwrap_or_default(), seen)
}

/// How often letters and digits take turns in a run.
fn switches(run: &[u8]) -> usize {
    run.windows(2).filter(|pair| (kind(pair[0]) ^ kind(pair[1])) & DIGIT != 0).count()
}
