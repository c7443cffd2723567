//! The program as its users run it: what it prints, what it answers, and what it leaves alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test of a program has files and a terminal")]

#[path = "walctl/bench.rs"]
mod bench;
#[path = "walctl/changes.rs"]
mod changes;
#[path = "walctl/hostile.rs"]
mod hostile;
#[path = "walctl/looks.rs"]
mod looks;
#[path = "walctl/streams.rs"]
mod streams;
