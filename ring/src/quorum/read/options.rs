//! How a read goes about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::quorum::hedge::Hedge;
use crate::quorum::targets::Targets;

/// Whom a read asks at first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ask {
    /// All, of whom the fastest that are enough decide.
    #[default]
    All,
    /// Only as many as are needed, and another for each that fails or for a [`Hedge`].
    Few {
        /// Decides whom. Draw it anew for each read, or the same ones are asked every time.
        seed: u64,
        /// Zones to ask before others, the first one first: those that are near.
        prefer: Vec<Arc<str>>,
    },
}

/// Whether an error makes it pointless to ask others.
pub type IsTerminal<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

/// How a read goes about it.
pub struct ReadOptions<E> {
    /// Whom it asks at first. Default all.
    pub ask: Ask,
    /// Whether it asks more if these are slow. Default never.
    pub hedge: Hedge,
    /// How long a call may take; then it is dropped and has failed. Default 10 s.
    pub deadline: Duration,
    /// What may be in flight. Default without bound.
    pub targets: Option<Targets>,
    /// Which errors end the read at once. Default none.
    pub is_terminal: IsTerminal<E>,
}

impl<E> Default for ReadOptions<E> {
    fn default() -> Self {
        Self {
            ask: Ask::All,
            hedge: Hedge::Off,
            deadline: Duration::from_secs(10),
            targets: None,
            is_terminal: Arc::new(|_| false),
        }
    }
}

impl<E> Clone for ReadOptions<E> {
    fn clone(&self) -> Self {
        Self {
            ask: self.ask.clone(),
            hedge: self.hedge.clone(),
            deadline: self.deadline,
            targets: self.targets.clone(),
            is_terminal: Arc::clone(&self.is_terminal),
        }
    }
}

impl<E> fmt::Debug for ReadOptions<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOptions")
            .field("ask", &self.ask)
            .field("hedge", &self.hedge)
            .field("deadline", &self.deadline)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}
