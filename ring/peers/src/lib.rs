//! The rings side by side, over the same tokens where they can be given any: what `benches/peers.rs` measures, and what
//! the programs in `src/bin/` show.

pub mod fleet;
pub mod keys;
pub mod others;
pub mod rounds;
