//! Some text that is looked for.

use std::fmt;

use memchr::memchr2;
use memchr::memmem::Finder;

/// Whether ASCII letters have to be as they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Exact,
    Any,
}

impl Case {
    /// Whether two texts are the same.
    #[inline]
    pub(crate) fn same(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Self::Exact => a == b,
            Self::Any => a.eq_ignore_ascii_case(b),
        }
    }
}

/// Text that is looked for.
#[derive(Clone)]
pub(crate) struct Needle {
    case: Case,
    /// Of the text in small letters, if their case does not count.
    finder: Finder<'static>,
}

/// A text that is longer is put to small letters bit by bit, to be searched in a time that is linear.
const SHORT: usize = 256;
/// As much at once.
const PART: usize = 32 << 10;

impl Needle {
    pub(crate) fn new(text: &[u8], case: Case) -> Self {
        let finder = match case {
            Case::Exact => Finder::new(text).into_owned(),
            Case::Any => Finder::new(&text.to_ascii_lowercase()).into_owned(),
        };
        Self { case, finder }
    }

    /// What is looked for; in small letters if their case does not count.
    pub(crate) fn text(&self) -> &[u8] {
        self.finder.needle()
    }

    pub(crate) fn case(&self) -> Case {
        self.case
    }

    /// Whether it is somewhere in this.
    #[inline]
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        self.find(text).is_some()
    }

    /// Where it is first.
    #[inline]
    pub(crate) fn find(&self, text: &[u8]) -> Option<usize> {
        match self.case {
            Case::Exact => self.finder.find(text),
            Case::Any if text.len() <= SHORT => self.find_in_short(text),
            Case::Any => self.find_in_long(text),
        }
    }

    fn find_in_short(&self, text: &[u8]) -> Option<usize> {
        let Some(&first) = self.text().first() else { return Some(0) };
        let length = self.text().len();
        let last = text.len().checked_sub(length)?;
        let mut at = 0;
        loop {
            let starts = text.get(at..=last)?;
            at += memchr2(first, first.to_ascii_uppercase(), starts)?;
            if text.get(at..at + length)?.eq_ignore_ascii_case(self.text()) {
                return Some(at);
            }
            at += 1;
        }
    }

    fn find_in_long(&self, text: &[u8]) -> Option<usize> {
        let overlap = self.text().len().saturating_sub(1);
        let mut small = Vec::with_capacity(text.len().min(PART + overlap));
        let mut at = 0;
        while at < text.len() {
            let end = text.len().min(at + PART + overlap);
            small.clear();
            small.extend_from_slice(text.get(at..end)?);
            small.make_ascii_lowercase();
            if let Some(found) = self.finder.find(&small) {
                return Some(at + found);
            }
            at += PART;
        }
        None
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = if self.case == Case::Any { "(any case)" } else { "" };
        write!(f, "\"{}\"{case}", self.text().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By trying every place.
    fn naive(text: &[u8], needle: &[u8]) -> Option<usize> {
        (0..=text.len().checked_sub(needle.len())?)
            .find(|&at| text[at..at + needle.len()].eq_ignore_ascii_case(needle))
    }

    #[test]
    fn text_is_found_whatever_its_case_and_wherever_it_lies() {
        for text in ["", "a", "Error", "xERROr", "\u{e9}RROR", "eRRoR"] {
            let needle = Needle::new(text.as_bytes(), Case::Any);
            for before in [0, 1, 200, SHORT, PART - 3, PART - 1, PART, PART + 1, 2 * PART - 2] {
                for after in [0, 300] {
                    let mut line = vec![b'.'; before];
                    line.extend(text.to_ascii_uppercase().as_bytes());
                    line.resize(before + text.len() + after, b'.');
                    assert_eq!(needle.find(&line), naive(&line, text.as_bytes()), "{text} at {before}");
                    line.truncate((before + text.len()).saturating_sub(1));
                    assert_eq!(needle.find(&line), naive(&line, text.as_bytes()), "{text} at {before}, cut");
                }
            }
        }
    }

    #[test]
    fn letters_beyond_ascii_have_no_other_case() {
        assert!(Needle::new("\u{e9}".as_bytes(), Case::Any).is_in("caf\u{e9}".as_bytes()));
        assert!(!Needle::new("\u{e9}".as_bytes(), Case::Any).is_in("CAF\u{c9}".as_bytes()));
        assert!(!Needle::new(b"k", Case::Any).is_in("\u{212a}".as_bytes()));
    }
}
