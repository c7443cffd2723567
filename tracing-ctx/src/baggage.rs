//! The `baggage` header: what the application sends along with a request to everyone who works on it.
//!
//! A [`Baggage`] is valid by construction: each member is within the grammar, and there are at most
//! [`MAX_BAGGAGE_MEMBERS`] of at most [`MAX_BAGGAGE_LEN`] bytes. It is kept as text and decoded when it is
//! read, so that what one service does not understand reaches the next as it was sent.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use http::HeaderValue;

use crate::carrier::FieldValue;

use draft::Draft;
use intake::Intake;

mod draft;
mod grammar;
mod intake;
mod member;
mod percent;

pub use intake::Dropped;
pub use member::{Member, Property};

/// Most members that are kept.
///
/// The specification wants this many passed on wherever they fit into [`MAX_BAGGAGE_LEN`].
pub const MAX_BAGGAGE_MEMBERS: usize = 64;

/// Most bytes that are kept: of all members, with their properties and the commas between them.
///
/// Spaces and tabs that the grammar allows between the parts are not counted, since they need not be sent.
pub const MAX_BAGGAGE_LEN: usize = 8192;

/// An ordered list of members, each a key, a value and properties of it.
///
/// Cloning counts a reference. Two are equal if they read the same: members in the same order with the same
/// decoded values and properties, however these are spaced, escaped or spread over header fields.
///
/// Baggage that came in one field shares the buffer it was received in, which for HTTP/1 is that of all headers of
/// the request, and keeps it for as long as it lives.
///
/// What is in it goes to every service that the request leads to, those of others included, and anyone on the
/// way may read and change it.
///
/// ```
/// use forebay_tracing_ctx::Baggage;
/// use http::HeaderMap;
///
/// let mut headers = HeaderMap::new();
/// headers.append("baggage", "userId=alice;cached,,serverNode = DF%2028".parse()?);
/// headers.append("baggage", "no member,isProduction=false".parse()?);
///
/// let (mut baggage, dropped) = Baggage::from_fields(headers.get_all("baggage"));
/// assert_eq!(baggage.get("serverNode").as_deref(), Some("DF 28"));
/// assert_eq!((dropped.malformed, dropped.first), (1, Some(2)));
///
/// baggage.insert("team", "søk & find")?;
/// baggage.remove("isProduction");
/// assert_eq!(
///     baggage.to_header().unwrap(),
///     "userId=alice;cached,serverNode=DF%2028,team=s%C3%B8k%20&%20find"
/// );
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Baggage {
    /// Checked text with at least one member.
    field: Option<HeaderValue>,
}

impl Baggage {
    /// Baggage without members, which is not sent.
    pub const EMPTY: Self = Self { field: None };

    /// Combines the values of all `baggage` fields, in the order in which they came.
    ///
    /// Empty members are skipped. A member outside the grammar is left out. The first member that makes too
    /// many members or too many bytes is left out too, with all that follow it: members are kept or dropped
    /// whole. What was left out and why is in [`Dropped`]. Keys that occur several times are kept.
    ///
    /// If all members come from one field and nothing of it is left out, it is kept as it came, byte by byte
    /// and without copying. Otherwise members are joined without the optional spaces and tabs, which also
    /// happens if these stand at the ends of the field or make it longer than [`MAX_BAGGAGE_LEN`], or if a
    /// member is empty.
    ///
    /// Linear in the length of the fields; allocates in proportion to what is kept.
    pub fn from_fields<V: FieldValue>(fields: impl IntoIterator<Item = V>) -> (Self, Dropped) {
        let mut fields = fields.into_iter();
        let Some(first) = fields.next() else {
            return (Self::EMPTY, Dropped::default());
        };
        let mut intake = Intake::default();
        intake.field(&first);
        fields.for_each(|field| intake.field(&field));
        intake.finish()
    }

    /// Whether there are no members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.field.is_none()
    }

    /// The members as one field has them, unchanged since they came or were edited. Empty without members.
    pub fn as_str(&self) -> &str {
        let text = self.field.as_ref().map_or(&[][..], |field| field.as_bytes());
        str::from_utf8(text).expect("checked to be printable ascii")
    }

    /// The value of the one field to send, or `None` if there is nothing to send. Does not copy.
    #[inline]
    pub fn to_header(&self) -> Option<HeaderValue> {
        self.field.clone()
    }

    /// All members in order, keys that occur several times included.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        member::split(self.as_str()).map(Member::of)
    }

    /// The decoded value of the first member with this key. Case matters. Linear in the length.
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        self.members().find(|member| member.key() == key).map(|member| member.value())
    }

    /// Sets a key to a value, which may be any text, without properties.
    ///
    /// The member takes the place of the first one of that key, whose properties go with it, and any further
    /// ones are removed. If there is none it goes to the end. All other members stay as they are and where
    /// they are, escape by escape; only optional spaces and tabs are gone.
    ///
    /// # Errors
    ///
    /// If the key is no token, or there would be too many members or bytes. The baggage is then as it was.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), BaggageError> {
        self.insert_with(key, value, [])
    }

    /// Sets a key to a value with properties, in this order: keys, or keys with values.
    ///
    /// What becomes of members of that key is as with [`insert`](Self::insert).
    ///
    /// # Errors
    ///
    /// If the key or that of a property is no token, or there would be too many members or bytes. The baggage
    /// is then as it was.
    pub fn insert_with<'a>(
        &mut self,
        key: &str,
        value: &str,
        properties: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<(), BaggageError> {
        let mut inserted = Vec::new();
        member::write(&mut inserted, key, Some(value))?;
        for (key, value) in properties {
            inserted.push(b';');
            member::write(&mut inserted, key, value)?;
        }

        let mut draft = Draft::with_capacity(self.as_str().len() + 1 + inserted.len());
        let mut placed = false;
        for member in member::split(self.as_str()) {
            if Member::of(member).key() != key {
                draft.push(member.as_bytes());
            } else if !placed {
                draft.push(&inserted);
                placed = true;
            }
        }
        if !placed {
            draft.push(&inserted);
        }
        draft.check()?;
        *self = draft.finish();
        Ok(())
    }

    /// Removes all members of this key, and says whether there were any.
    ///
    /// All others stay as they are, as with [`insert`](Self::insert).
    pub fn remove(&mut self, key: &str) -> bool {
        let found = self.members().any(|member| member.key() == key);
        if found {
            let mut draft = Draft::with_capacity(self.as_str().len());
            let others = member::split(self.as_str()).filter(|member| Member::of(member).key() != key);
            others.for_each(|member| draft.push(member.as_bytes()));
            *self = draft.finish();
        }
        found
    }
}

/// Why a member is not inserted, or why a text is no baggage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaggageError {
    /// A key, of a member or of a property, is one or more of the letters, the digits and
    /// ``! # $ % & ' * + - . ^ _ ` | ~``. Nothing else can be sent, not even escaped.
    #[error("baggage key of {found} bytes is no token")]
    Key {
        /// Length of the key.
        found: usize,
    },
    /// There would be one member more than is allowed. Remove one first.
    #[error("baggage of more than {limit} members")]
    TooManyMembers {
        /// Most that are allowed.
        limit: usize,
    },
    /// The members would be longer than is allowed, as they are sent.
    #[error("baggage of {found} bytes exceeds the limit of {limit}")]
    TooLong {
        /// What the length would be, with escapes.
        found: usize,
        /// Most that is allowed.
        limit: usize,
    },
    /// The text has members that [`Baggage::from_fields`] would have left out.
    #[error("{0}")]
    Dropped(Dropped),
}

impl FromStr for Baggage {
    type Err = BaggageError;

    /// The members that one field of this value has, all of them, without optional spaces and tabs.
    fn from_str(text: &str) -> Result<Self, BaggageError> {
        let mut intake = Intake::default();
        intake.text(text.as_bytes());
        let (baggage, dropped) = intake.finish();
        if dropped.is_empty() { Ok(baggage) } else { Err(BaggageError::Dropped(dropped)) }
    }
}

impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members()).finish()
    }
}

impl PartialEq for Baggage {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str() || self.members().eq(other.members())
    }
}

impl Eq for Baggage {}

impl Hash for Baggage {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.members().for_each(|member| member.hash(state));
    }
}
