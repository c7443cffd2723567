//! Which lines are wanted, by the text that they have or have not. What it says of a line is said by [`LineFilter::matches`];
//! reads of columnar chunks find out the same without making most lines.

mod needle;

use std::fmt;
use std::sync::Arc;

pub(crate) use needle::{Case, Needle};

/// Conditions on a line, all of which have to hold. Without any, every line is wanted.
///
/// Text is found as bytes, whatever they are: lines need not be UTF-8, and nothing is normalised. A pattern of another
/// kind, such as a regular expression, can be asked for in part: if a line has to have one of some texts to match it,
/// these make a filter, and the lines that come out are for the caller to test.
///
/// ```
/// use forebay_chunk::LineFilter;
///
/// let filter = LineFilter::new().any_of(["error", "panic"]).none_of(["retrying"]);
/// assert!(filter.matches(b"level=error msg=\"no space\""));
/// assert!(!filter.matches(b"level=error msg=retrying"));
/// assert!(LineFilter::new().any_of_in_any_case(["error"]).matches(b"ERROR: no space"));
/// ```
#[derive(Clone, Default)]
pub struct LineFilter {
    conditions: Arc<[Condition]>,
}

/// What a line has to have, or not.
#[derive(Clone)]
pub(crate) struct Condition {
    pub(crate) needles: Vec<Needle>,
    /// Whether a line may have none of them; otherwise it has to have one.
    pub(crate) is_negated: bool,
}

impl LineFilter {
    /// Every line.
    pub fn new() -> Self {
        Self::default()
    }

    /// And the line has one of these. The empty text is in every line; of no text, none is.
    #[must_use]
    pub fn any_of(self, texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.and(texts, Case::Exact, false)
    }

    /// And the line has none of these.
    #[must_use]
    pub fn none_of(self, texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.and(texts, Case::Exact, true)
    }

    /// And the line has one of these, whether their ASCII letters are large or small. Other letters have to be the same:
    /// it is not what regular expressions take for any case where a text has letters beyond ASCII, or `k` or `s`, of
    /// which Unicode has another one each.
    #[must_use]
    pub fn any_of_in_any_case(self, texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.and(texts, Case::Any, false)
    }

    /// And the line has none of these, whether their ASCII letters are large or small.
    #[must_use]
    pub fn none_of_in_any_case(self, texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.and(texts, Case::Any, true)
    }

    fn and(self, texts: impl IntoIterator<Item = impl AsRef<[u8]>>, case: Case, is_negated: bool) -> Self {
        let needles = texts.into_iter().map(|text| Needle::new(text.as_ref(), case)).collect();
        let new = Condition { needles, is_negated };
        Self { conditions: self.conditions.iter().cloned().chain([new]).collect() }
    }

    /// Whether a line is wanted. Linear in its bytes for each text.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.conditions.iter().all(|condition| condition.holds(line))
    }

    /// Whether every line is wanted.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    pub(crate) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl Condition {
    fn holds(&self, line: &[u8]) -> bool {
        self.needles.iter().any(|needle| needle.is_in(line)) != self.is_negated
    }
}

impl fmt::Debug for LineFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.conditions()).finish()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_negated { "none of " } else { "any of " })?;
        f.debug_list().entries(&self.needles).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_conditions_have_to_hold() {
        let filter = LineFilter::new().any_of(["a", "b"]).any_of(["c"]).none_of(["d", "e"]);
        for (line, wanted) in [("ac", true), ("bc", true), ("c", false), ("a", false), ("acd", false)] {
            assert_eq!(filter.matches(line.as_bytes()), wanted, "{line}");
        }
        assert_eq!(format!("{filter:?}"), r#"[any of ["a", "b"], any of ["c"], none of ["d", "e"]]"#);
    }

    #[test]
    fn the_empty_text_is_in_every_line_and_no_text_in_none() {
        let none: [&str; 0] = [];
        for line in [&b""[..], b"a", b"\xFF"] {
            assert!(LineFilter::new().matches(line));
            assert!(LineFilter::new().any_of([""]).matches(line));
            assert!(LineFilter::new().any_of_in_any_case([""]).matches(line));
            assert!(!LineFilter::new().none_of([""]).matches(line));
            assert!(!LineFilter::new().any_of(none).matches(line));
            assert!(LineFilter::new().none_of(none).matches(line));
        }
    }
}
