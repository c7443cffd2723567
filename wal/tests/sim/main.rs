//! The log on a disk that crashes, lies and fills up on request: a file for each claim. One program, as each that is
//! linked has the whole log in it; `cargo test -p forebay-wal --all-features --test sim crash::` runs one file's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../golden/checker.rs"]
mod checker;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../golden/writer.rs"]
mod writer;

mod align;
mod append;
mod checkpoint;
mod codec;
mod crash;
mod double_faults;
mod dropped;
#[cfg(feature = "conformance")]
mod exhaustive;
mod faults;
mod features;
mod forged;
mod forks;
mod full;
mod gather;
mod golden;
mod label;
mod levels;
mod mend;
mod model;
mod opening;
mod panics;
mod policy;
mod recycle;
mod recycle_crash;
mod repair;
#[cfg(all(feature = "snappy", feature = "zstd"))]
mod repair_features;
mod replay;
mod rot;
mod rotation;
mod stats;
mod streams;
mod tail;
#[cfg(feature = "tokio")]
mod task_streams;
#[cfg(feature = "tokio")]
mod tasks;
#[cfg(all(feature = "snappy", feature = "zstd"))]
mod together;
mod truncate;
mod view;
