//! What threads share, named in one place.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

pub(crate) use parking_lot::Mutex;
