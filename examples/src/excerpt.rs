//! The beginning of a text that comes from outside, for errors and logs: it may be a megabyte.

use std::fmt;

/// The characters that are shown.
const SHOWN: usize = 64;

/// Prints at most 64 characters of a text, quoted and with what a terminal would obey escaped; `…` follows where
/// there are more.
pub(crate) struct Excerpt<'a>(pub(crate) &'a str);

impl fmt::Debug for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_at_a_character() {
        assert_eq!(format!("{:?}", Excerpt("a\n")), r#""a\n""#);
        let long = "ä".repeat(70);
        assert_eq!(format!("{:?}", Excerpt(&long)), format!("\"{}\"…", "ä".repeat(64)));
    }
}
