//! May this pass now, and if not, when: exact token buckets whose quotas change while they run.
//!
//! # The problem
//!
//! A service takes requests of very different size, counted in bytes or lines, from many tenants whose limits
//! are edited while it runs. The usual limiters then fail in quiet ways: they round the time per token to
//! whole nanoseconds, and 600 MB/s become 1 GB/s; they mint tokens when a thread is late with its timestamp;
//! they fill the bucket anew on every change of a limit, or on every eviction of an idle key; they refuse for
//! ever what is larger than the burst.
//!
//! Here a bucket is one 64-bit word counting *tokens*, not time, read against what the rate has minted since
//! an origin. So it is exact at any rate, a late timestamp mints nothing, and a new limit is just a new way of
//! minting: the word stays.
//!
//! # Which type to take
//!
//! | To limit | take | which is |
//! |---|---|---|
//! | one thing, from any number of threads | [`Limiter`] | one word, no lock; 128 bytes |
//! | each of many keys, with its own quota | [`Keyed`] | bounded memory; 18 bytes and the key, [`Name`] for short text |
//! | each of many small numbers | [`Interned`] | 16 bytes each, no index |
//! | by several quotas at once, such as bytes and lines | [`Multi`] | one decision under one lock |
//! | by all levels of a hierarchy | [`Tree`] | a branch of the above, all or nothing |
//! | those who would rather wait than be refused | `Queue` (feature `tokio`) | a limiter with a line and one timer |
//! | requests to a service | `RateLimitLayer` (feature `tower`) | a layer that asks any of these |
//! | one of several instances, by its part of a global limit | [`Share`] | a way to a [`Quota`], told of the others |
//! | one thing, from so many threads that they get in each other's way | [`Leased`] | a limiter that hands out tokens in advance |
//! | under a lock or in a simulation of one's own | [`bucket`] | the arithmetic alone, `now` is an argument |
//!
//! The first six give a [`Permit`], which can be settled for less than was asked; it borrows the limiter or, but
//! for a `Tree`'s, owns it. [`Observed`] around any of them tells an [`Observer`] of each decision that is asked
//! of it rather than of the limiter within.
//!
//! # What it does not do
//!
//! It decides; it does not wait, sleep or queue, except at a `Queue`. It limits one process: nothing is shared
//! between machines. It limits rates, not concurrency. No level of a hierarchy borrows from the one above, no
//! bucket starts empty or warms up, and a permit cannot grow.
//!
//! # Example
//!
//! ```
//! use forebay_ratelimit::{Keyed, Oversize, Quota, Rate};
//! use std::time::Duration;
//!
//! let now_ns = std::cell::Cell::new(0); // a clock to be turned by hand; `Keyed::new` uses the system's
//! let tenants: Keyed<String, _> = Keyed::with_clock(Default::default(), || now_ns.get());
//! let quota = Quota::new(Rate::per_second(1 << 20), 2 << 20).oversize(Oversize::WhenFull);
//!
//! // A push of 3 MiB is larger than the burst: it passes once, and leaves a debt of 1 MiB.
//! assert!(tenants.try_acquire("blue", 3 << 20, quota).is_ok());
//! let denied = tenants.try_acquire("blue", 512 << 10, quota).unwrap_err();
//! assert_eq!(denied.retry_after.duration(), Some(Duration::from_millis(1_500)));
//!
//! // The operator doubles the rate: what is left of the debt stays, and is paid off sooner.
//! let quota = Quota { rate: Rate::per_second(2 << 20), ..quota };
//! now_ns.set(500_000_000);
//! let denied = tenants.try_acquire("blue", 512 << 10, quota).unwrap_err();
//! assert_eq!(denied.retry_after.duration(), Some(Duration::from_millis(500)));
//!
//! now_ns.set(1_000_000_000);
//! let mut permit = tenants.try_acquire("blue", 512 << 10, quota)?;
//! permit.shrink_to(100 << 10); // it was less after all
//! # Ok::<(), forebay_ratelimit::Denied>(())
//! ```
//!
//! # Guarantees
//!
//! 1. **Conformance.** In every window of length `t` at most `burst + ⌊rate·t⌋` tokens pass through a
//!    [`Keyed`] bucket, and one more through a [`Limiter`]; where oversize requests pass, plus the part of one
//!    of them beyond the burst. For every rate from one token in 584 years to 2^64 a second, without drift.
//!    *Tokens given back* count against the window in which they come back: what is returned in it from permits
//!    taken before it may be taken again, on top of the above. No sum from the beginning on exceeds the bound.
//!    *A key without a slot* under [`OverCap::Shared`] is held to the quota of that bucket, not to its own.
//! 2. **Late time mints nothing.** A token is handed out once, whatever instants callers come with and in
//!    whatever order. A request that took the time `d` before it was decided counts as `d` earlier, no more.
//! 3. **A refusal takes nothing**, and in a [`Limiter`] writes nothing. Its `retry_after` is tight: one
//!    nanosecond earlier the same request is refused again, at that instant it passes if nobody came between.
//!    (The wait of a new key for a slot is a guess.)
//! 4. **Tokens and debts survive** a change of quota, which is atomic in rate and burst. No eviction forgets a
//!    debt; where there are so many that [`OverCap::EvictIndebted`] keeps only a sketch of the oldest, as long as
//!    their quotas stay.
//! 5. **What comes back is what was taken**: no sequence of permits and releases makes a bucket fuller than
//!    full or leaves a debt behind.
//! 6. **Bounded memory**: never more than `max_keys` keys; a refused new key stores and allocates nothing.
//! 7. **No panic** on any value of rate, burst, tokens or time.
//!
//! # Limits
//!
//! Bursts and debts count up to 2^61 tokens; a larger request is refused for ever under any limited quota. A
//! key's 18 bytes and itself are in a table that is two thirds full at least while it grows, and less where keys
//! have gone; a quota in use takes 90 in each shard. A change of a limiter's quota blocks requests for the time of
//! some ten stores, one of a queue's for a look at everybody in line. A queue may exceed a burst by what its timer
//! is allowed to be late, 100 ms unless told otherwise. Going from unlimited to limited starts full. A key that was
//! evicted when full and comes back under a larger burst has all of that. A key with the rate zero is never
//! full again, and holds its slot until it is [forgotten](Keyed::forget).
//!
//! # Time and chance
//!
//! [`bucket`] takes `now_ns`, monotonic nanoseconds since any origin. [`Limiter::with_clock`] and
//! [`Keyed::with_clock`] take a function for it; [`Keyed::with_hasher`] also takes the hasher.
//!
//! # Features
//!
//! `serde`: [`Rate`], [`Quota`], [`Oversize`] and [`Inherit`] can be written and read, field by field; the
//! short form `100/s, burst 500` is read by `parse`, without it. `tower`: `RateLimitLayer`. `tokio`: `Queue`, a
//! limiter at which those who may not pass now wait in line.

mod apart;
pub mod bucket;
mod cell;
mod clock;
mod decision;
mod keyed;
#[cfg(feature = "tower")]
mod layer;
mod lease;
mod limiter;
mod multi;
mod observer;
mod permit;
mod quota;
mod rate;
mod reserve;
mod share;
mod sync;
mod text;
mod tree;
#[cfg(feature = "tokio")]
mod wait;

pub use decision::{Bound, Denied, RetryAfter, Snapshot};
pub use keyed::{
    Interned, InternedOptions, InternedPermit, Keyed, KeyedOptions, KeyedPermit, Lookup, Name, OfId, OfKey,
    OverCap, OwnedKey, OwnedKeyedPermit,
};
#[cfg(feature = "tower")]
pub use layer::{Admit, Ask, RateLimit, RateLimitFuture, RateLimitLayer};
pub use lease::{LeaseOptions, Leased};
pub use limiter::Limiter;
pub use multi::{Multi, MultiDenied, MultiPermit};
pub use observer::{Observed, Observer};
pub use permit::{Permit, Release, Tokens};
pub use quota::{Inherit, Oversize, Quota};
pub use rate::{Rate, RateError};
pub use reserve::Reservation;
pub use share::{Demand, Share, ShareDenied, ShareError, ShareOptions, Strategy};
pub use text::ParseError;
pub use tree::{Branch, Exceeded, InternedNode, KeyedNode, Node, Tree, TreePermit};
#[cfg(feature = "tokio")]
pub use wait::{Queue, QueueOptions, QueuePermit, Wait};
