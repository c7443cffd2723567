//! What threads share, in one place, so that a model checker can put its own types under the same names.

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

pub(crate) use parking_lot::{Condvar, Mutex};

/// How often a thread looks for news before it sleeps: as long as a write of some records takes.
pub(crate) const TURNS: usize = 100;
