//! What threads share, named in one place: `tests/loom.rs` compiles the same files against loom's.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(feature = "tokio")]
pub(crate) use std::sync::atomic::AtomicBool;

pub(crate) use parking_lot::Mutex;
