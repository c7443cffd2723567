//! The id of a tenant. Invariant: a [`TenantId`] is 1 to 150 bytes of a small alphabet and no relative path,
//! so it can be a file name, a header value and a metric label as it is.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 150;

/// A valid tenant id. A clone is a reference count; ids order and hash as their text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a text is no tenant id.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// There is nothing.
    #[error("tenant id is empty")]
    Empty,
    /// It is too long.
    #[error("tenant id of {length} bytes exceeds the limit of {MAX_ID_BYTES}")]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// It would name a directory: `.` or `..`.
    #[error("tenant id must not be `.` or `..`")]
    RelativePath,
    /// It has a character outside the alphabet.
    #[error("tenant id has the unsupported character {found:?} at byte {position}")]
    Character {
        /// The first such character.
        found: char,
        /// Where it starts, in bytes from 0.
        position: usize,
    },
}

impl TenantId {
    /// Takes an id of 1 to 150 bytes of `A–Z a–z 0–9 ! - _ . * ' ( )` that is neither `.` nor `..`: the rules
    /// of the systems that share the `X-Scope-OrgID` header, less their empty id.
    ///
    /// # Errors
    /// [`IdError`] with the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        match text {
            "" => return Err(IdError::Empty),
            "." | ".." => return Err(IdError::RelativePath),
            _ if text.len() > MAX_ID_BYTES => return Err(IdError::TooLong { length: text.len() }),
            _ => {}
        }
        match text.char_indices().find(|(_, c)| !is_allowed(*c)) {
            Some((position, found)) => Err(IdError::Character { found, position }),
            None => Ok(Self(text.into())),
        }
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '!' | '-' | '_' | '.' | '*' | '\'' | '(' | ')')
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TenantId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for TenantId {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for TenantId {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({:?})", &*self.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for TenantId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for TenantId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_is_wrong() {
        assert_eq!(TenantId::parse(""), Err(IdError::Empty));
        assert_eq!(TenantId::parse(".."), Err(IdError::RelativePath));
        assert_eq!(TenantId::parse("...").map(|id| id.to_string()), Ok("...".to_owned()));
        assert_eq!(
            TenantId::parse(&"a".repeat(151)).unwrap_err().to_string(),
            "tenant id of 151 bytes exceeds the limit of 150"
        );
        assert_eq!(
            TenantId::parse("team/ä").unwrap_err().to_string(),
            "tenant id has the unsupported character '/' at byte 4"
        );
    }

    #[test]
    fn an_id_is_found_in_a_map_by_its_text() {
        let map = std::collections::HashMap::from([(TenantId::parse("a").unwrap(), 1)]);
        assert_eq!(map.get("a"), Some(&1));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn an_id_read_by_serde_obeys_the_rules() {
        let id: TenantId = serde_json::from_str("\"team-a\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"team-a\"");
        let refused = serde_json::from_str::<TenantId>("\"a b\"").unwrap_err();
        assert!(refused.to_string().contains("unsupported character ' '"), "{refused}");
    }
}
