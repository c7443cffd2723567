//! Whether a node knows what the others said. Invariant: once it does, or has waited for long enough, it stays so.
//!
//! Each state ends with a mark, which is written anew after every word. States come in parts, in the order of their
//! versions, so one is whole when its last version is that of its mark. The mark of a node that waits itself says so: it
//! has said nothing yet, and may know of nobody, so it is not one from whom the others are known.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use chitchat::{Chitchat, ChitchatId, NodeState};
use tokio::time::Instant;

use super::GossipOptions;

/// No word is under it.
pub(super) const MARK: &str = "mark";

/// What is under it while its author waits.
const WAITS: &str = "waits";

/// For so many intervals a node without other seeds waits to be called, and for words of the dead that nobody has.
const CALLS: u32 = 10;

/// Why a node that gossips does not answer. The source of a [`StoreError::Unreachable`](crate::store::StoreError).
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// Try again later, and if it stays so, look whether the seeds are right and can be reached over UDP both ways.
    #[error(
        "no node that knows the others has answered for {after:?}, seeds are {seeds:?}; it goes on alone after {patience:?}"
    )]
    Unheard {
        /// Whom it asks.
        seeds: Vec<String>,
        /// For how long it has.
        after: Duration,
        /// For how long it will.
        patience: Duration,
    },
    /// Try again later.
    #[error("what {missing} of {known} nodes said is not known yet; it goes on without after {patience:?}")]
    Partial {
        /// Nodes of which not all is known.
        missing: usize,
        /// Nodes that were heard of, the dead and earlier lives included, those who wait themselves not.
        known: usize,
        /// For how long it waits.
        patience: Duration,
    },
    /// Mend the options: no node has started.
    #[error("{option} is {found:?}, it has to be of {least:?} to {most:?}")]
    Refused {
        /// Which option.
        option: &'static str,
        /// What it is.
        found: Duration,
        /// The least it may be.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// Start another store, with another generation: this one has lost its socket or panicked, and never answers again.
    #[error("the node has ceased to gossip")]
    Ended,
}

/// What a node knows of the others. Nothing tells it unasked.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// Not enough yet, and it waits: calls fail.
    Waiting,
    /// All that others had said when it had started.
    Whole,
    /// Not all yet, but it has waited for long enough. An instance of the cluster may be taken for a new one.
    Partial,
    /// Nobody, because no seed answered that does not wait itself, or nobody called one without seeds, for long enough: a
    /// cluster of its own, until it hears of another node.
    Alone,
    /// The node has ceased to gossip.
    Ended,
}

/// A wait for what the others know.
#[derive(Debug)]
pub(super) struct Wait {
    began: Instant,
    patience: Duration,
    /// Within which others who are there have been asked.
    calls: Duration,
    /// For how long it waits for anybody.
    alone_after: Duration,
    seeds: Vec<String>,
    /// How many dead nodes never said anything, while that is all that is missing, and since when.
    silent: Mutex<Option<(usize, Instant)>>,
    over: OnceLock<Hearing>,
}

/// What a state begins with.
pub(super) fn at_first() -> Vec<(String, String)> {
    vec![(MARK.into(), WAITS.into())]
}

/// Ends a state to which something was added, or whose author waits no longer.
pub(super) fn mark(state: &mut NodeState) {
    state.set(MARK, state.max_version());
}

fn is_whole(state: &NodeState) -> bool {
    state.get_versioned(MARK).is_some_and(|mark| mark.version == state.max_version())
}

fn waits(state: &NodeState) -> bool {
    state.get(MARK) == Some(WAITS)
}

impl Wait {
    pub(super) fn new(options: &GossipOptions) -> Self {
        let own = [options.listen, options.advertise];
        let is_other = |seed: &&String| seed.parse().map_or(true, |addr| !own.contains(&addr));
        let seeds: Vec<String> = options.seeds.iter().filter(is_other).cloned().collect();
        let patience = options.patience;
        let calls = options.interval.saturating_mul(CALLS).min(patience);
        let alone_after = if seeds.is_empty() { calls } else { patience };
        Self {
            began: now(),
            patience,
            calls,
            alone_after,
            seeds,
            silent: Mutex::new(None),
            over: OnceLock::new(),
        }
    }

    /// Whether it waits no longer, which it then tells. O(nodes) while it waits.
    pub(super) fn check(&self, chitchat: &mut Chitchat) -> Result<(), GossipError> {
        if self.over.get().is_some() {
            return Ok(());
        }
        let (patience, alone_after) = (self.patience, self.alone_after);
        let after = now().saturating_duration_since(self.began);
        let over = match self.heard(chitchat) {
            (0, _) if after >= alone_after => Hearing::Alone,
            (0, _) => {
                let seeds = self.seeds.clone();
                return Err(GossipError::Unheard { seeds, after, patience: alone_after });
            }
            (_, 0) => Hearing::Whole,
            _ if after >= patience => Hearing::Partial,
            (known, missing) => return Err(GossipError::Partial { missing, known, patience }),
        };
        self.over.get_or_init(|| over);
        mark(chitchat.self_node_state());
        Ok(())
    }

    /// Of how many nodes that do not wait it has heard, and of how many of these not all.
    fn heard(&self, chitchat: &Chitchat) -> (usize, usize) {
        let own = chitchat.self_chitchat_id();
        let live: HashSet<&ChitchatId> = chitchat.live_nodes().collect();
        let (mut known, mut missing, mut silent) = (0, 0, 0);
        for (node, state) in chitchat.node_states() {
            if node != own && !waits(state) {
                known += 1;
                missing += usize::from(!is_whole(state));
                silent += usize::from(state.max_version() == 0 && !live.contains(node));
            }
        }
        let is_over = self.nobody_has(silent, missing);
        if is_over { (known - silent, missing - silent) } else { (known, missing) }
    }

    /// Whether nobody has the words of those dead of whom nothing came: nothing else has been missing for long enough.
    fn nobody_has(&self, silent: usize, missing: usize) -> bool {
        let mut stands = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_all = silent > 0 && silent == missing;
        let before = stands.take_if(|(count, _)| is_all && *count == silent);
        let since = before.map_or_else(now, |(_, since)| since);
        *stands = is_all.then_some((silent, since));
        is_all && now().saturating_duration_since(since) >= self.calls
    }

    /// O(nodes) unless it was whole when it began to answer.
    pub(super) fn hearing(&self, chitchat: &mut Chitchat) -> Hearing {
        match (self.check(chitchat), self.over.get()) {
            (Err(_), _) => Hearing::Waiting,
            (Ok(()), Some(Hearing::Whole)) => Hearing::Whole,
            (Ok(()), _) => match self.heard(chitchat) {
                (0, _) => Hearing::Alone,
                (_, 0) => Hearing::Whole,
                _ => Hearing::Partial,
            },
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the runtime's clock, by which the nodes tell each other")]
fn now() -> Instant {
    Instant::now()
}
