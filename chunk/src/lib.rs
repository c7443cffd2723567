//! Many log lines in few bytes, read back by time: Loki chunks, both ways.

mod flush;

pub use flush::{ChunkState, FlushPolicy, FlushReason};
