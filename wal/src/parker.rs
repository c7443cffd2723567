//! Where a thread waits: for its answer, or for its turn to lead.

use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, TURNS, spin_loop};

/// A thread waits for one thing at a time, so it needs one of these and keeps it.
#[derive(Debug)]
pub(crate) struct Parker<T> {
    /// The answer, and whether the lead was offered.
    state: Mutex<(Option<T>, bool)>,
    changed: Condvar,
    /// Whether there may be something new.
    called: AtomicBool,
}

impl<T> Default for Parker<T> {
    fn default() -> Self {
        Self { state: Mutex::new((None, false)), changed: Condvar::new(), called: AtomicBool::new(false) }
    }
}

impl<T> Parker<T> {
    /// Forgets what was meant for a wait that is over.
    pub(crate) fn reset(&self) {
        *self.state.lock() = (None, false);
        self.called.store(false, Ordering::Relaxed);
    }

    pub(crate) fn answer(&self, answer: T) {
        self.state.lock().0 = Some(answer);
        self.called.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// May come too late, when whoever waited does not any more: then it is one look for work too many.
    pub(crate) fn offer_lead(&self) {
        self.state.lock().1 = true;
        self.called.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.state.lock().0.take()
    }

    /// Stays awake for a moment, or until somebody calls: to sleep and be woken takes longer than what is waited for.
    pub(crate) fn watch(&self) {
        for _ in 0..TURNS {
            if self.called.load(Ordering::Relaxed) {
                break;
            }
            spin_loop();
        }
    }

    /// Blocks until there is an answer, or the offer to lead (`None`).
    pub(crate) fn wait(&self) -> Option<T> {
        let mut state = self.state.lock();
        while state.0.is_none() && !state.1 {
            self.changed.wait(&mut state);
        }
        state.1 = false;
        self.called.store(false, Ordering::Relaxed);
        state.0.take()
    }
}

/// Gives `f` this thread's own parker, ready to be waited at.
pub(crate) fn with_own<T, R>(
    key: &'static std::thread::LocalKey<Arc<Parker<T>>>,
    f: impl FnOnce(&Arc<Parker<T>>) -> R,
) -> R {
    // While the thread ends there may be none any more.
    let parker = key.try_with(Arc::clone).unwrap_or_default();
    parker.reset();
    f(&parker)
}
