//! The logs side by side: what `benches/peers.rs` measures.
//!
//! A [`cell::Cell`] is one row of the comparison. Each of its samples is a process of its own ([`child`]) on a
//! directory of its own, because some of the peers keep settings and files for the life of the process. The logs take
//! turns, so that what else the machine does disturbs all of them ([`rounds`]). What becomes of the samples is in
//! [`table`].
#![expect(clippy::disallowed_methods, reason = "clocks, files and waiting are what is measured")]

pub mod args;
pub mod cell;
pub mod child;
pub mod counted;
pub mod drive;
pub mod fill;
pub mod follow;
pub mod goals;
pub mod load;
pub mod log;
pub mod logs;
pub mod machine;
pub mod rounds;
pub mod sample;
pub mod stats;
pub mod sync;
pub mod table;
pub mod ticker;

/// What may go wrong in somebody else's crate has that crate's type.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
