//! Loki's chunks as they lie in a bucket: the chunk itself, the envelope around it in an object, and the key
//! under which the object is stored.
//!
//! A chunk, all fixed integers big-endian, checksums CRC-32C:
//!
//! ```text
//! offset 0  be32  magic 012ee56a
//!        4  u8    version 1..4
//!        5  u8    codec                               (absent in version 1, which is gzip)
//!           symbols                                   (version 4 only)
//!             uvarint count, codec(count x { uvarint length, bytes }), be32 checksum of both
//!           blocks, back to back
//!             codec(entries), be32 checksum of the compressed bytes
//!           index
//!             uvarint count, count x { uvarint entries, varint min_ns, varint max_ns, uvarint offset,
//!               uvarint raw_bytes (versions 3 and 4), uvarint size }, be32 checksum
//!           trailer
//!             versions 1 to 3: be64 offset of the index
//!             version 4:       be64 length and offset of the symbols, be64 length and offset of the index
//!                              (lengths without the checksums)
//!
//! entry        varint timestamp_ns, uvarint length, line
//!              version 4: uvarint length of the rest, uvarint pairs, pairs x { uvarint name, uvarint value }
//! ```

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod entries;
mod envelope;
pub(crate) mod format;
mod json;
mod key;

pub use envelope::{EncodedObject, Envelope, METRIC_NAME, METRIC_NAME_LABEL, Object};
pub use key::{Key, Schema, fingerprint};

#[cfg(test)]
mod tests;
