//! What threads share, in one place, so that a model checker can put its own types under the same names.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

pub(crate) use parking_lot::{Condvar, Mutex};
