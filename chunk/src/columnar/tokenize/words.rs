//! How often words and fields occur in some lines, by a hash of them: what shares a place is counted together, which costs
//! a worse skeleton and no line.

use super::{DIGIT, FIELD_END, RUN, kind};

/// How often words and fields occur.
pub(crate) struct Words {
    /// Nothing until some are counted.
    counts: Vec<u16>,
    /// How often is often.
    pub(crate) frequent: u16,
    /// Whether a field is frequent only as a whole, and not where all its words are.
    pub(crate) whole: bool,
}

/// What a line has from some place up to the end of the field there.
pub(super) struct Field {
    pub(super) bytes: usize,
    /// Which kinds of bytes.
    pub(super) seen: u8,
    /// Whether it is frequent, or all its words are.
    pub(super) is_frequent: bool,
}

impl Words {
    const PLACES: usize = 1 << 15;

    pub(crate) fn new() -> Self {
        Self { counts: Vec::new(), frequent: 1, whole: false }
    }

    /// The place of a word of so many bytes that some text starts with.
    #[inline]
    fn place(text: &[u8], bytes: usize) -> usize {
        const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
        let mix = |hash: u64, part: u64| (hash.rotate_left(23) ^ part).wrapping_mul(FACTOR);
        let mut hash = bytes as u64;
        if let (1..8, Some(chunk)) = (bytes, text.first_chunk::<8>()) {
            hash = mix(hash, u64::from_le_bytes(*chunk) & (u64::MAX >> (64 - 8 * bytes)));
        } else {
            let word = text.get(..bytes).unwrap_or_default();
            let (chunks, rest) = word.as_chunks::<8>();
            hash = chunks.iter().fold(hash, |hash, chunk| mix(hash, u64::from_le_bytes(*chunk)));
            if !rest.is_empty() {
                hash = mix(hash, tail(word, rest));
            }
        }
        usize::try_from((hash >> 32) % Self::PLACES as u64).unwrap_or(0)
    }

    /// Counts the words and fields of a line.
    pub(crate) fn count(&mut self, line: &[u8]) {
        self.counts.resize(Self::PLACES, 0);
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
        if let Some(count) = self.counts.get_mut(Self::place(word, word.len())) {
            *count = count.saturating_add(1);
        }
    }

    /// Whether the word of so many bytes that some text starts with is frequent.
    #[inline]
    fn has(&self, text: &[u8], bytes: usize) -> bool {
        self.counts.get(Self::place(text, bytes)).is_some_and(|&count| count >= self.frequent)
    }

    /// Looks at the field that some text starts with, once.
    pub(super) fn field(&self, text: &[u8]) -> Field {
        let by_words = !self.whole || text.first().is_some_and(u8::is_ascii_digit);
        let (mut all, mut run, mut start, mut is_frequent) = (0, 0, 0, true);
        let mut at = 0;
        loop {
            let kind = match text.get(at) {
                Some(&byte) => kind(byte),
                None => FIELD_END,
            };
            if kind & RUN != 0 {
                run |= kind;
                at += 1;
                continue;
            }
            if run != 0 {
                if by_words && is_frequent {
                    let word = text.get(start..).unwrap_or_default();
                    is_frequent = if run & DIGIT == 0 {
                        self.has(word, at - start)
                    } else {
                        switches(word.get(..at - start).unwrap_or_default()) <= 2
                    };
                }
                all |= run;
                run = 0;
            }
            if kind & FIELD_END != 0 {
                break;
            }
            at += 1;
            start = at;
        }
        if !by_words {
            is_frequent = self.has(text, at);
        }
        Field { bytes: at, seen: all, is_frequent }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`Words::field`] finds in one pass, found part by part.
    fn by_parts(words: &Words, text: &[u8]) -> (usize, u8, bool) {
        let bytes = text.iter().position(|&byte| kind(byte) & FIELD_END != 0).unwrap_or(text.len());
        let field = &text[..bytes];
        let seen = field.iter().fold(0, |seen, &byte| seen | kind(byte) & RUN);
        let is_frequent =
            if words.whole && !field.first().is_some_and(u8::is_ascii_digit) {
                words.has(field, bytes)
            } else {
                all_runs(field, |run, seen| {
                    if seen & DIGIT != 0 { switches(run) <= 2 } else { words.has(run, run.len()) }
                })
            };
        (bytes, seen, is_frequent)
    }

    #[test]
    fn a_field_is_what_its_parts_are() {
        let lines = [
            &b"GET /index.html HTTP/1.1"[..],
            b"a=b1c2d3e, x9 -- 0042 7f6e5d4c3b2a (deadbeef)",
            b"one.two-three/four_five six.seven-eightandmore nine",
            b"\xC3\xA9t\xC3\xA9 \xFF\xFF",
            b"x",
        ];
        let mut words = Words::new();
        for line in lines {
            words.count(line);
        }
        lines[..2].iter().for_each(|line| words.count(line));
        for (whole, frequent) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
            (words.whole, words.frequent) = (whole, frequent);
            for line in lines {
                for at in 0..=line.len() {
                    let found = words.field(&line[at..]);
                    let found = (found.bytes, found.seen, found.is_frequent);
                    assert_eq!(found, by_parts(&words, &line[at..]), "{}", line[at..].escape_ascii());
                }
            }
        }
    }

    #[test]
    fn a_word_has_one_place_whatever_is_behind_it() {
        for length in 0..30 {
            let text = b"abcdefghijklmnopqrstuvwxyz012345";
            let alone = Words::place(&text[..length], length);
            assert_eq!(Words::place(text, length), alone, "{length} bytes");
        }
    }
}
