//! Who sends a request: the tenants and the metadata of the `X-Scope-OrgID` header.
//! Invariant: an [`Org`] has at least one tenant; its tenants are sorted and distinct.

use std::fmt;

use smallvec::{SmallVec, smallvec};

use crate::id::{IdError, TenantId};

/// The header that says whose data a request carries or asks for.
pub const HEADER: &str = "X-Scope-OrgID";

/// The longest header that is read, in bytes: 400 tenants of the longest name.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// The most metadata one tenant may carry, in bytes of header.
pub const MAX_METADATA_BYTES: usize = 64;

/// The tenants of one request, with what the sender says about each.
///
/// Printed, it is a header value again, in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Org {
    tenants: SmallVec<[TenantId; 1]>,
    /// Only of tenants that have any.
    metadata: Vec<(TenantId, Metadata)>,
}

/// Sorted by key; no key twice.
type Metadata = Vec<(Box<str>, Box<str>)>;

/// Why a header names no tenants.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrgError {
    /// The header is missing or empty. Answer 401.
    #[error("no org id")]
    Missing,
    /// There are several tenants where one is needed. Answer 400.
    #[error("multiple org IDs present")]
    Multiple,
    /// The header is longer than [`MAX_HEADER_BYTES`].
    #[error("org id of {length} bytes exceeds the limit of {MAX_HEADER_BYTES}")]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// The header is not text.
    #[error("org id is not utf-8 from byte {position} on")]
    NotText {
        /// The first byte that is none, from 0.
        position: usize,
    },
    /// Nothing before, between or after the bars: `a||b`.
    #[error("org id has an empty part at byte {position}")]
    EmptyPart {
        /// Where the part would be, in bytes from 0.
        position: usize,
    },
    /// A part is no tenant id.
    #[error("invalid part of org id at byte {position}")]
    Id {
        /// Where the part starts, in bytes from 0.
        position: usize,
        /// What is wrong with it.
        source: IdError,
    },
    /// Metadata is not `:key=value:key=value` of `A–Z a–z 0–9 - _` with distinct keys, at most 64 bytes.
    #[error("malformed metadata in org id at byte {position}")]
    Metadata {
        /// Where the metadata starts, in bytes from 0.
        position: usize,
    },
    /// A tenant is named twice with different metadata.
    #[error("tenant `{tenant}` has two different sets of metadata")]
    Ambiguous {
        /// The tenant.
        tenant: TenantId,
    },
}

impl Org {
    /// Reads a header value: ids separated by `|`, each optionally followed by `:key=value` pairs.
    ///
    /// Ids are sorted, and repeated ones become one. Empty parts are refused. O(n log n).
    ///
    /// # Errors
    /// [`OrgError`] with the place of the first mistake.
    pub fn parse(text: &str) -> Result<Self, OrgError> {
        if text.is_empty() {
            return Err(OrgError::Missing);
        }
        if text.len() > MAX_HEADER_BYTES {
            return Err(OrgError::TooLong { length: text.len() });
        }
        let mut members: SmallVec<[(TenantId, Metadata); 1]> = SmallVec::new();
        let mut position = 0;
        for part in text.split('|') {
            members.push(member(part, position)?);
            position += part.len() + 1;
        }
        members.sort_unstable();
        members.dedup();
        if let Some([first, _]) = members.array_windows::<2>().find(|[a, b]| a.0 == b.0) {
            return Err(OrgError::Ambiguous { tenant: first.0.clone() });
        }
        let metadata = members.iter().filter(|member| !member.1.is_empty()).cloned().collect();
        Ok(Self { tenants: members.into_iter().map(|member| member.0).collect(), metadata })
    }

    /// The tenants, sorted and distinct; at least one.
    #[must_use]
    pub fn tenants(&self) -> &[TenantId] {
        &self.tenants
    }

    /// The only tenant, for what can belong to one alone, such as a push.
    ///
    /// # Errors
    /// [`OrgError::Multiple`].
    pub fn single(&self) -> Result<&TenantId, OrgError> {
        match self.tenants.as_slice() {
            [tenant] => Ok(tenant),
            _ => Err(OrgError::Multiple),
        }
    }

    /// What the sender says about a tenant, as pairs in the order of their keys.
    pub fn metadata(&self, tenant: &str) -> impl Iterator<Item = (&str, &str)> {
        let found = self.metadata.iter().find(|(id, _)| id == tenant);
        found.into_iter().flat_map(|(_, pairs)| pairs.iter().map(|(key, value)| (&**key, &**value)))
    }
}

impl From<TenantId> for Org {
    fn from(tenant: TenantId) -> Self {
        Self { tenants: smallvec![tenant], metadata: Vec::new() }
    }
}

impl fmt::Display for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, tenant) in self.tenants.iter().enumerate() {
            write!(f, "{}{tenant}", if index == 0 { "" } else { "|" })?;
            for (key, value) in self.metadata(tenant.as_str()) {
                write!(f, ":{key}={value}")?;
            }
        }
        Ok(())
    }
}

/// How the tenants of a request are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tenancy {
    /// Everything belongs to one tenant, whatever the header says.
    Single(TenantId),
    /// The header decides, and has to be there.
    Multi,
}

impl Tenancy {
    /// The id of the only tenant, where no other is configured.
    pub const FAKE: &'static str = "fake";

    /// The tenants of a request with this header, if it has one.
    ///
    /// # Errors
    /// With several tenants, [`OrgError`]; a single tenant is never refused.
    pub fn resolve(&self, header: Option<&[u8]>) -> Result<Org, OrgError> {
        match self {
            Self::Single(tenant) => Ok(tenant.clone().into()),
            Self::Multi => {
                let text = str::from_utf8(header.ok_or(OrgError::Missing)?)
                    .map_err(|e| OrgError::NotText { position: e.valid_up_to() })?;
                Org::parse(text)
            }
        }
    }
}

impl Default for Tenancy {
    /// One tenant, [`fake`](Self::FAKE).
    fn default() -> Self {
        Self::Single(TenantId::parse(Self::FAKE).expect("four letters are a valid id"))
    }
}

fn member(part: &str, position: usize) -> Result<(TenantId, Metadata), OrgError> {
    let (id, pairs) = match part.split_once(':') {
        Some((id, pairs)) => (id, Some(pairs)),
        None => (part, None),
    };
    if id.is_empty() {
        return Err(OrgError::EmptyPart { position });
    }
    let tenant = TenantId::parse(id).map_err(|source| OrgError::Id { position, source })?;
    let metadata = match pairs {
        Some(pairs) => metadata(pairs).ok_or(OrgError::Metadata { position: position + id.len() })?,
        None => Metadata::new(),
    };
    Ok((tenant, metadata))
}

fn metadata(text: &str) -> Option<Metadata> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() >= MAX_METADATA_BYTES {
        return None; // with its colon, that is one byte too many
    }
    let mut pairs = Metadata::new();
    for pair in text.split(':') {
        let (key, value) = pair.split_once('=')?;
        if !is_word(key) || !is_word(value) {
            return None;
        }
        pairs.push((key.into(), value.into()));
    }
    pairs.sort_unstable();
    let repeated = pairs.array_windows::<2>().any(|[a, b]| a.0 == b.0);
    (!repeated).then_some(pairs)
}
