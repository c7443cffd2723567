//! What threads change, apart from what other threads change.

use std::ops::Deref;

/// On cache lines of its own (two, as they are fetched in pairs): a thread at one of many does not slow down those
/// at its neighbours.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
