//! The `tracestate` header: what the vendors along the way have noted about the trace.
//!
//! A [`TraceState`] is valid by construction: at most 32 members, each within the grammar of level 2, and at
//! most [`MAX_TRACESTATE_LEN`] bytes. One field is kept as it came, without copying, unless there is padding at
//! its ends or so much of it that the list is longer; several are joined once.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderValue;

use crate::carrier::FieldValue;
use crate::ows;

mod member;
mod scan;

/// Most members a list may have. One with more is dropped as a whole.
pub const MAX_TRACESTATE_MEMBERS: usize = 32;

/// Most bytes that are kept: the greatest number of members of the greatest legal length, and the commas between
/// them.
///
/// The specification asks for at least 512. What is longer and valid has padding, and is kept without it.
pub const MAX_TRACESTATE_LEN: usize =
    MAX_TRACESTATE_MEMBERS * (member::MAX_KEY + 1 + member::MAX_VALUE) + MAX_TRACESTATE_MEMBERS - 1;

/// Members longer than this many bytes are the first to go when a list is cut.
const LONG_MEMBER: usize = 128;

/// An ordered list of `key=value` members, the most recently changed first.
///
/// Two are equal if they have the same members in the same order, however these are spaced or were spread
/// over header fields.
///
/// A list that came in one field shares the buffer it was received in, which for HTTP/1 is that of all headers
/// of the request, and keeps it for as long as it lives.
#[derive(Clone, Default)]
pub struct TraceState {
    /// A checked list with at least one member.
    field: Option<HeaderValue>,
}

impl TraceState {
    /// A list without members, which is not sent.
    pub const EMPTY: Self = Self { field: None };

    /// Combines the values of all `tracestate` fields, in the order in which they came.
    ///
    /// Empty members are skipped. Keys that occur several times are tolerated and kept as they are until
    /// the list is edited, and so are spaces and tabs except at the ends of a field, unless they make the list
    /// longer than [`MAX_TRACESTATE_LEN`]. However members are spread over fields, the same are kept. Linear in
    /// the length; allocates only to join several fields or to cut off padding.
    ///
    /// # Errors
    ///
    /// If there are too many members, or a member is outside the grammar. The specification
    /// then allows to drop the whole list, which is what to do, and the trace continues without it.
    pub fn from_fields<V: FieldValue>(fields: impl IntoIterator<Item = V>) -> Result<Self, TraceStateError> {
        let mut fields = fields.into_iter().filter(|field| !ows::trim(field.as_bytes()).is_empty());
        let Some(first) = fields.next() else {
            return Ok(Self::EMPTY);
        };
        match fields.next() {
            None => Self::from_field(&first),
            Some(second) => Self::join([first, second].into_iter().chain(fields)),
        }
    }

    /// One field, shared if it can be.
    fn from_field(field: &impl FieldValue) -> Result<Self, TraceStateError> {
        let value = field.as_bytes();
        let text = ows::trim(value);
        if member::check(text, 0)? == 0 {
            return Ok(Self::EMPTY);
        }
        if text.len() > MAX_TRACESTATE_LEN {
            return Ok(Self::checked(member::compact(text).freeze()));
        }
        if text.len() == value.len()
            && let Some(shared) = field.shared()
            && (std::ptr::eq(shared.as_bytes(), value) || shared.as_bytes() == value)
        {
            return Ok(Self { field: Some(shared) });
        }
        Ok(Self::checked(Bytes::copy_from_slice(text)))
    }

    #[cold]
    fn join<V: FieldValue>(fields: impl Iterator<Item = V>) -> Result<Self, TraceStateError> {
        let mut members = 0;
        let mut joined = BytesMut::new();
        for field in fields {
            let text = ows::trim(field.as_bytes());
            let found = member::check(text, members)?;
            if found == members {
                continue;
            }
            members = found;
            let comma = usize::from(!joined.is_empty());
            let compact;
            let text = if joined.len() + comma + text.len() <= MAX_TRACESTATE_LEN {
                text
            } else {
                // So many members are not longer than that, so it is the padding, of this field or of those before.
                joined = member::compact(&joined);
                compact = member::compact(text);
                &compact
            };
            if !joined.is_empty() {
                joined.put_u8(b',');
            }
            joined.put_slice(text);
        }
        if members == 0 { Ok(Self::EMPTY) } else { Ok(Self::checked(joined.freeze())) }
    }

    /// Whether there are no members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.field.is_none()
    }

    /// The list as one field has it, unchanged since it came or was edited. Empty without members.
    pub fn as_str(&self) -> &str {
        member::printable(self.as_bytes())
    }

    /// The value of the one field to send, or `None` if there is nothing to send. Does not copy.
    #[inline]
    pub fn to_header(&self) -> Option<HeaderValue> {
        self.field.clone()
    }

    /// All members in order, keys that occur several times included.
    ///
    /// Spaces in front of a value belong to it; those behind it do not.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        member::split(self.as_str())
    }

    /// The value of the first member with this key. Linear in the length.
    pub fn get(&self, key: &str) -> Option<&str> {
        member::find(self.as_bytes(), key)
    }

    fn as_bytes(&self) -> &[u8] {
        self.field.as_ref().map_or(&[], HeaderValue::as_bytes)
    }

    /// Where the list is kept. Another place after an edit, which writes the list anew before the old one goes.
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn place(&self) -> Option<*const u8> {
        self.field.as_ref().map(|field| field.as_bytes().as_ptr())
    }

    /// Puts a member at the front, where the one who changed the list last belongs.
    ///
    /// Other members of that key are removed and the rest keep their order, each key's first member only. A
    /// list that is full loses its last member.
    ///
    /// # Errors
    ///
    /// If the key or the value is outside the grammar. The list is then as it was.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), TraceStateError> {
        if !member::is_key(key.as_bytes()) {
            return Err(TraceStateError::Key { found: key.len() });
        }
        if !member::is_value(value.as_bytes()) {
            return Err(TraceStateError::Value { found: value.len() });
        }
        let others = self.members().filter(|member| member.0 != key);
        *self = Self::from_members(first_of_each_key([(key, value)].into_iter().chain(others)));
        Ok(())
    }

    /// Removes all members of this key, and says whether there were any. If so, all but the first member of
    /// other keys go as well.
    pub fn remove(&mut self, key: &str) -> bool {
        let found = self.get(key).is_some();
        if found {
            *self = Self::from_members(first_of_each_key(self.members().filter(|member| member.0 != key)));
        }
        found
    }

    /// Removes members until the list has at most `max_bytes`.
    ///
    /// Whole members go, as the specification says: first those longer than 128 bytes, then the others, each
    /// time the right-most and so the least recently changed first. The rest keep their order. If the list is
    /// short enough already, nothing changes and nothing is copied; otherwise padding goes before anything
    /// else, and with it all but the first of equal keys.
    ///
    /// Everyone has to pass on at least 512 bytes, so let a limit not be lower.
    ///
    /// ```
    /// use forebay_tracing_ctx::TraceState;
    ///
    /// let mut state: TraceState = format!("a=1,long={},b=2,c=3", "x".repeat(200)).parse()?;
    /// state.truncate_to(11);
    /// assert_eq!(state.as_str(), "a=1,b=2,c=3");
    /// state.truncate_to(10);
    /// assert_eq!(state.as_str(), "a=1,b=2");
    /// # Ok::<_, forebay_tracing_ctx::TraceStateError>(())
    /// ```
    pub fn truncate_to(&mut self, max_bytes: usize) {
        if self.field.as_ref().is_none_or(|field| field.len() <= max_bytes) {
            return;
        }
        let mut kept = first_of_each_key(self.members());
        // Counted with a comma behind each member, and so against a limit with one comma more.
        let with_comma = |member: &(&str, &str)| member.0.len() + 1 + member.1.len() + 1;
        let mut excess =
            kept.iter().map(with_comma).sum::<usize>().saturating_sub(max_bytes.saturating_add(1));
        for least in [LONG_MEMBER + 1, 0] {
            for at in (0..kept.len()).rev() {
                let len = with_comma(&kept[at]);
                if excess > 0 && len > least {
                    excess = excess.saturating_sub(len);
                    kept.remove(at);
                }
            }
        }
        *self = Self::from_members(kept);
    }

    /// Writes members anew, without padding.
    fn from_members<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let text = member::write(members);
        if text.is_empty() { Self::EMPTY } else { Self::checked(text.freeze()) }
    }

    /// A list that is known to be valid and to have a member.
    fn checked(text: Bytes) -> Self {
        Self { field: Some(HeaderValue::from_maybe_shared(text).expect("members are printable ascii")) }
    }
}

/// Without the later ones of equal keys, and no more members than a list may have.
///
/// So many of the longest are [`MAX_TRACESTATE_LEN`] bytes, and no edit makes a list that is longer.
fn first_of_each_key<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let mut kept: Vec<(&str, &str)> = Vec::with_capacity(MAX_TRACESTATE_MEMBERS);
    for member in members {
        if kept.len() < MAX_TRACESTATE_MEMBERS && kept.iter().all(|before| before.0 != member.0) {
            kept.push(member);
        }
    }
    kept
}

/// Why a list is dropped, or why a member is not inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceStateError {
    /// There is no valid `traceparent` that it could belong to, so it is not looked at.
    #[error("tracestate without a valid traceparent")]
    Parentless,
    /// A member of the list is outside the grammar.
    #[error("tracestate member {at} is malformed")]
    Member {
        /// Which one, from 0, not counting empty members.
        at: usize,
    },
    /// The list has more members than a list may have.
    #[error("tracestate has more than {limit} members")]
    TooManyMembers {
        /// Most that are accepted.
        limit: usize,
    },
    /// A key is 1 to 256 of `a-z 0-9 _ - * / @`, and begins with a letter or a digit.
    #[error("tracestate key of {found} bytes is malformed")]
    Key {
        /// Length of the key.
        found: usize,
    },
    /// A value is 1 to 256 printable ASCII characters other than comma and equals sign, the last no space.
    #[error("tracestate value of {found} bytes is malformed")]
    Value {
        /// Length of the value.
        found: usize,
    },
}

impl FromStr for TraceState {
    type Err = TraceStateError;

    /// The list that one field of this value has.
    fn from_str(text: &str) -> Result<Self, TraceStateError> {
        Self::from_field(&text)
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.members()).finish()
    }
}

impl PartialEq for TraceState {
    fn eq(&self, other: &Self) -> bool {
        self.members().eq(other.members())
    }
}

impl Eq for TraceState {}

impl Hash for TraceState {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.members().for_each(|member| member.hash(state));
    }
}

#[cfg(test)]
mod tests;
