//! The columnar format: entries in groups, a group in streams, each stream of one kind of value and compressed
//! apart. What a read does not ask for is not decompressed.

pub(crate) mod codec;
pub(crate) mod fault;
pub(crate) mod profile;
pub(crate) mod raw;
pub(crate) mod stream;
