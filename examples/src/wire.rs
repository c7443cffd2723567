//! The messages that parts send each other over gRPC, and that the index stores; written with prost's derive, so
//! that the build needs no `protoc`. Fields may be added, numbers are never used twice.

mod index;
mod ingester;
mod selector;

use prost::Message;

use crate::labels::Labels;

pub use index::{Chunk, Chunks, Find, Flags, Keys, LabelSets, Scan, Tally, Values};
pub use ingester::{
    Dropped, Health, Piece, Push, Pushed, Refused, Select, Selected, StreamVolume, Tail, Tailed, Tallied,
    Volume,
};
pub use selector::{Filter, LabelMatcher, matchers};

/// A message that decodes but makes no sense.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message holds {0}")]
pub struct WireError(pub String);

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// The labels in canonical `bytes`.
///
/// # Errors
/// [`WireError`] where they are not canonical.
pub fn labels(bytes: &[u8]) -> Result<Labels, WireError> {
    Labels::from_canonical(bytes).ok_or_else(|| WireError("labels that are not canonical".to_owned()))
}
