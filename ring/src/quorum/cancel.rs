//! Why a call of a read is given up, for the call itself.

use std::fmt;

use tokio::sync::watch;

/// Why a call is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelCause {
    /// Others have answered.
    Enough,
    /// Another instance of its zone failed, so its own answer would not count.
    UnitFailed,
    /// The read failed.
    ReadFailed,
    /// Nobody waits for the read any more.
    Dropped,
}

impl fmt::Display for CancelCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CancelCause::Enough => "others have answered",
            CancelCause::UnitFailed => "another instance of the zone failed",
            CancelCause::ReadFailed => "the read failed",
            CancelCause::Dropped => "nobody waits for the answer",
        })
    }
}

/// Tells a call, and what its answer keeps open, that and why it is not needed. The call's future is dropped besides,
/// after this is told.
#[derive(Debug, Clone)]
pub struct Cancel {
    told: watch::Receiver<Option<CancelCause>>,
}

/// The other end. Dropped without a word it cancels nothing: the answer is returned.
pub(super) type Canceller = watch::Sender<Option<CancelCause>>;

impl Cancel {
    pub(super) fn new() -> (Canceller, Self) {
        let (canceller, told) = watch::channel(None);
        (canceller, Self { told })
    }

    /// The cause, if it is cancelled.
    pub fn cause(&self) -> Option<CancelCause> {
        *self.told.borrow()
    }

    /// Waits until it is cancelled: for ever, if the answer is returned.
    pub async fn cancelled(&mut self) -> CancelCause {
        loop {
            if let Some(cause) = self.cause() {
                return cause;
            }
            if self.told.changed().await.is_err() && self.cause().is_none() {
                std::future::pending::<()>().await;
            }
        }
    }
}
