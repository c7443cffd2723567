//! Loki's chunks as they lie in a bucket: the chunk itself, the envelope around it in an object, and the key
//! under which the object is stored.
//!
#![doc = include_str!("../FORMAT.md")]

mod checkpoint;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod entries;
mod envelope;
pub(crate) mod format;
pub(crate) mod head;
mod json;
mod key;

pub use checkpoint::Checkpoint;
pub use envelope::{EncodedObject, Envelope, METRIC_NAME, METRIC_NAME_LABEL, Object};
pub use key::{Key, Schema, fingerprint};

#[cfg(test)]
mod tests;
