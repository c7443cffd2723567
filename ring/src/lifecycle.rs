//! From a start to a stop: how an instance comes into the ring, stays in it and leaves it. Pure: events go in,
//! actions come out, and time is an argument; whoever drives it owns the store, the disk and the timer. With the feature
//! `store` a `Driver` does, a `Watcher` keeps the ring, and a `Caretaker` forgets who is gone.
//!
//! ```text
//! New -> Loading -> Pending -> Joining -> Active -> Leaving -> Lingering -> Stopped
//!                      |                    ^ |        |
//!                      +--------------------+ +<-------+ (a stop that is called off)
//! ```
//!
//! | phase | announces | until |
//! |---|---|---|
//! | Loading | nothing | file and records were read |
//! | Pending | PENDING | the log is replayed, and in a fleet it is its turn; then Joining, or Active if it was ACTIVE or LEAVING with these tokens before |
//! | Joining | JOINING | nobody else claimed its tokens for a while; those that somebody did are drawn anew |
//! | Active | ACTIVE | told to stop; ready after a while |
//! | Leaving | LEAVING | what it holds is drained; heartbeats go on |
//! | Lingering | LEAVING, then LEFT if it unregisters | a while, and until that is written |
//!
//! One that stops before it was ACTIVE announces what it did, and then LEFT if it unregisters; one that stops before
//! its log is replayed does not unregister; one that finds another process under its id writes nothing more.
//!
//! Invariants, whatever happens in whatever order:
//! - L1: ACTIVE is announced with the tokens that were wanted, and only after the file held them durably, and the
//!   store's record of tokens.
//! - L2: the version of what is announced rises, over crashes too, unless file and store are both lost.
//! - L3: nothing is written after LEFT was.
//! - L4: within an incarnation states follow [`State::can_become`](crate::State::can_become).

#[cfg(feature = "store")]
mod caretaker;
mod change;
#[cfg(feature = "store")]
pub(crate) mod driver;
mod event;
#[cfg(feature = "store")]
pub(crate) mod follow;
mod forget;
#[cfg(feature = "store")]
pub(crate) mod home;
mod machine;
mod observe;
mod options;
#[cfg(feature = "store")]
pub(crate) mod run;
#[cfg(feature = "store")]
mod watcher;

#[cfg(feature = "store")]
pub use caretaker::{Caretaker, CaretakerOptions};
pub use change::{Decision, Wish};
#[cfg(feature = "store")]
pub use driver::{Drain, Driver, Status};
pub use event::{Action, Actions, Event, NotSaved, Notice, Now, Phase, Written};
#[cfg(feature = "store")]
pub use follow::Ears;
pub use forget::{Forget, OwnView};
#[cfg(feature = "store")]
pub use home::Home;
pub use machine::Lifecycler;
pub use observe::{Observer, Remark};
pub use options::{LifecyclerOptions, OptionsError, Tokens};
#[cfg(feature = "store")]
pub use run::{Clock, Report, Reporter, Unsaved};
#[cfg(feature = "store")]
pub use watcher::{Watcher, WatcherOptions};
