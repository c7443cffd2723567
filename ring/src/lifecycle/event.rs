//! What a life in the ring is told, and what it wants done.

use std::sync::Arc;

use smallvec::SmallVec;

use super::change::Wish;
use crate::codec::{DecodeError, InstanceRecord, TokensRecord};
use crate::instance::{State, Version};
#[cfg(doc)]
use crate::lifecycle::LifecyclerOptions;
use crate::membership::Membership;
use crate::token_file::{Loaded, TokenFile};

/// The time an event is given at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic nanoseconds since an origin of the caller's choice.
    pub mono_ns: u64,
    /// Wall time, nanoseconds since 1970. For stamps in records; nothing else is decided by it.
    pub unix_ns: i64,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The process runs.
    Start,
    /// What [`Action::Load`] asked for.
    Loaded {
        /// What the token file is.
        file: Loaded,
        /// The instance's record in the store.
        record: Option<InstanceRecord>,
        /// The record of its tokens there.
        tokens: Option<TokensRecord>,
    },
    /// The log is replayed: it can serve.
    Recovered,
    /// The time of [`Action::WakeAt`] has come; too early or too often does no harm.
    Tick,
    /// What is known of the members now.
    View(&'a Membership),
    /// How the last [`Action::SaveFile`] went.
    Saved(Result<(), NotSaved>),
    /// How the last [`Action::PutTokens`], [`Action::CheckTokens`] or [`Action::Apply`] went.
    Wrote(Written),
    /// Leave, and unregister or not, or as the options say.
    Shutdown {
        /// Overrides [`LifecyclerOptions::unregister`].
        unregister: Option<bool>,
    },
    /// Stay after all. Too late once it drained.
    CancelShutdown,
    /// Take no new tenants, or take them again.
    ReadOnly(bool),
    /// What the [`Action::Drain`] of this number asked for is done; of a stop that was called off it counts for nothing.
    Drained(u64),
}

/// The file is not known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSaved;

/// How a write to the store went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Done {
        /// Whether nothing was there before.
        anew: bool,
    },
    /// Something newer is there; `None` if it is not known what.
    Refused(Option<InstanceRecord>),
    /// The store did not answer in time, or with an error: it may be there or not.
    Unknown,
}

/// What to do. Of those that are answered by an event one is out at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the token file and the two records of the instance, as often as it takes, then [`Event::Loaded`].
    Load,
    /// Make this the token file, durably, then [`Event::Saved`].
    SaveFile(TokenFile),
    /// Make this the store's record of the tokens, then [`Event::Wrote`]. By compare-and-swap with what is there, so
    /// that an attempt that lands late does not undo a later one; and also if it is there, since whoever is about to
    /// delete it has to find another version.
    PutTokens(TokensRecord),
    /// The same unless it is what is there: now and then, since nothing tells an instance that the store lost its tokens.
    CheckTokens(TokensRecord),
    /// Ask for this of the instance's record in the store, then [`Event::Wrote`].
    Apply(Wish),
    /// Send [`Event::Tick`] at this monotonic time; replaces the one before.
    WakeAt(u64),
    /// Whether others may count on the instance: for a readiness probe.
    Ready(bool),
    /// Hand over or store away what the instance holds, then [`Event::Drained`] with this number, which rises from stop
    /// to stop. Heartbeats go on. Meanwhile, and then until the store has LEFT, or LEAVING if it does not unregister,
    /// it waits: who cannot drops it. Begun before [`Event::Recovered`] it does not end in LEFT, whatever was asked
    /// for: what is in the log is not drained.
    Drain(u64),
    /// Tell an operator.
    Report(Notice),
    /// The life is over, and every further event is ignored.
    Stopped,
}

/// The actions of one event, in order.
pub type Actions = SmallVec<[Action; 4]>;

/// What an operator should know.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The token file is another instance's; its tokens were not taken, and the file is replaced.
    ForeignFile {
        /// Whose.
        owner: Arc<str>,
    },
    /// The token file cannot be read; the store's tokens are taken, or the derived ones, and the file is replaced.
    BrokenFile(DecodeError),
    /// Others had claimed tokens, which were drawn anew.
    Redrawn {
        /// How many.
        lost: usize,
    },
    /// The store holds a newer record than this instance wrote: it was forgotten, or an earlier process still
    /// runs. It begins a new incarnation.
    Overtaken {
        /// The version found.
        version: Version,
        /// The state found.
        state: State,
    },
    /// The same for the third time within a minute, from another address: two instances have one id.
    DuplicateId {
        /// The other's address.
        addr: Arc<str>,
    },
    /// The store had lost the record; the instance joined anew.
    RingLost,
    /// The one before it in the fleet did not join in time, and it did not wait longer.
    OutOfTurn,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not started.
    New,
    /// Reading what it was.
    Loading,
    /// Not serving yet.
    Pending,
    /// Making sure that nobody else has its tokens.
    Joining,
    /// Serving.
    Active,
    /// Draining.
    Leaving,
    /// Drained, about to stop.
    Lingering,
    /// The end.
    Stopped,
}
