//! The columnar format: entries in groups, a group in streams, each stream of one kind of value and compressed
//! apart. What a read does not ask for is not decompressed.

pub(crate) mod bits;
pub(crate) mod codec;
pub(crate) mod fault;
pub(crate) mod footer;
pub(crate) mod format;
pub(crate) mod hash;
pub(crate) mod metadata;
pub(crate) mod planes;
pub(crate) mod profile;
pub(crate) mod raw;
pub(crate) mod stream;
pub(crate) mod time;
