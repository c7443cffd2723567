//! Letting the next opener in.

use crate::fs::Fs;
use crate::leader::Inner;
use crate::log::Log;

impl<F: Fs> Inner<F> {
    /// Lets the next opener in, when nobody writes or makes a segment any more: whoever made the log fail need not
    /// be the one who leads. Waits for one write at most.
    pub(crate) fn unlock(&self) {
        self.let_go(&mut self.log.lock());
    }

    /// As [`unlock`](Self::unlock) where nobody writes or makes a segment just now; whether it did.
    #[cfg(feature = "tokio")]
    pub(crate) fn try_unlock(&self) -> bool {
        let idle = (self.log.try_lock(), self.reserve.try_lock());
        let (Some(mut log), Some(mut reserve)) = idle else { return false };
        reserve.abandon(&self.home);
        log.released = true;
        *self.lock.lock() = None;
        true
    }

    /// As [`unlock`](Self::unlock), by the one who holds the log's end.
    pub(crate) fn let_go(&self, log: &mut Log<F>) {
        let mut reserve = self.reserve.lock();
        reserve.abandon(&self.home);
        log.released = true;
        *self.lock.lock() = None;
        self.end();
    }
}
