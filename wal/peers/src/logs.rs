//! One file for each of them.

pub mod durability;
pub mod floor;
pub mod forebay;
pub mod mrecordlog;
pub mod okaywal;
pub mod raft_engine;
pub mod walrus;
