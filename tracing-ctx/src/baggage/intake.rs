//! Received fields, judged member by member.
//!
//! What is copied is within the limits, however long the fields are, and nothing is copied as long as there
//! is one field of which everything is kept.

use std::fmt;

use http::HeaderValue;

use super::draft::Draft;
use super::{Baggage, MAX_BAGGAGE_LEN, MAX_BAGGAGE_MEMBERS, grammar};
use crate::carrier::FieldValue;
use crate::ows;

/// How many of the received members are not in the baggage, by reason.
///
/// ```
/// # use forebay_tracing_ctx::Baggage;
/// # use http::HeaderValue;
/// let (_, dropped) = Baggage::from_fields([&HeaderValue::from_static("a=1,b,c=3,d=\"4\"")]);
/// assert!(!dropped.is_empty());
/// assert_eq!(
///     dropped.to_string(),
///     "2 baggage members dropped, the first is member 1: \
///      2 malformed, 0 after 64 others, 0 after 8192 bytes"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Dropped {
    /// Outside the grammar, wherever they stand.
    pub malformed: usize,
    /// Good, but there were [`MAX_BAGGAGE_MEMBERS`] before them.
    pub too_many: usize,
    /// Good, but the first of them would have made more than [`MAX_BAGGAGE_LEN`] bytes.
    pub too_long: usize,
    /// Which member was the first of all these, from 0 over all fields, not counting empty members.
    pub first: Option<usize>,
}

impl Dropped {
    /// Whether nothing was left out.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// How many were left out for any reason.
    pub const fn members(&self) -> usize {
        self.malformed + self.too_many + self.too_long
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { malformed, too_many, too_long, .. } = self;
        write!(f, "{} baggage members dropped", self.members())?;
        let Some(first) = self.first else { return Ok(()) };
        write!(f, ", the first is member {first}: {malformed} malformed, ")?;
        write!(f, "{too_many} after {MAX_BAGGAGE_MEMBERS} others, {too_long} after {MAX_BAGGAGE_LEN} bytes")
    }
}

/// What is kept of the fields so far.
#[derive(Default)]
pub(super) struct Intake {
    tally: Tally,
    /// The field all members are from, of which nothing was left out and which may be sent as it is.
    whole: Option<HeaderValue>,
    /// The members, unless there is such a field.
    draft: Draft,
}

impl Intake {
    pub(super) fn field(&mut self, field: &impl FieldValue) {
        let text = field.as_bytes();
        if self.tally.members == 0 && sendable(text) {
            let mut tally = self.tally;
            let good = grammar::pieces(text).all(|piece| tally.admit(piece.len));
            // Values have no commas, so one more than there are members stands beside an empty one.
            let commas = text.iter().filter(|&&byte| byte == b',').count();
            if good && tally.members == commas + 1 {
                self.whole = field.shared().filter(|kept| kept.as_bytes() == text);
            }
            if self.whole.is_some() {
                self.tally = tally;
                return;
            }
        }
        self.text(text);
    }

    /// A field that is not kept as it is.
    pub(super) fn text(&mut self, text: &[u8]) {
        for piece in grammar::pieces(text) {
            if self.tally.admit(piece.len) {
                if let Some(whole) = self.whole.take() {
                    grammar::pieces(whole.as_bytes()).for_each(|before| self.draft.push(before.text));
                }
                self.draft.push(piece.text);
            }
        }
    }

    pub(super) fn finish(self) -> (Baggage, Dropped) {
        let baggage = match self.whole {
            Some(field) => Baggage { field: Some(field) },
            None => self.draft.finish(),
        };
        (baggage, self.tally.dropped)
    }
}

/// The limits, and what was dropped for them.
#[derive(Default, Clone, Copy)]
struct Tally {
    /// Members seen.
    seen: usize,
    /// Members kept.
    members: usize,
    /// Bytes kept, without padding but with commas.
    len: usize,
    dropped: Dropped,
}

impl Tally {
    /// Whether the next member is to be kept, which has this length without padding unless it is malformed.
    fn admit(&mut self, len: Option<usize>) -> bool {
        let at = self.seen;
        self.seen += 1;
        let comma = usize::from(self.members > 0);
        let grown = len.map(|len| self.len + comma + len);
        let dropped = &mut self.dropped;
        let count = match grown {
            None => &mut dropped.malformed,
            // A limit stays reached, even if a later member were short enough.
            Some(_) if self.members == MAX_BAGGAGE_MEMBERS => &mut dropped.too_many,
            Some(len) if dropped.too_long > 0 || len > MAX_BAGGAGE_LEN => &mut dropped.too_long,
            Some(len) => {
                self.members += 1;
                self.len = len;
                return true;
            }
        };
        *count += 1;
        dropped.first.get_or_insert(at);
        false
    }
}

/// Whether a field may be sent as it came if everything in it is kept.
fn sendable(text: &[u8]) -> bool {
    text.len() <= MAX_BAGGAGE_LEN && ows::trim(text).len() == text.len()
}
