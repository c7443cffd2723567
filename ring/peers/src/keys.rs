//! Keys of streams, and random ones.

use forebay_ring::{Token, token_for};

/// Many enough that no cache and no predictor learns them.
pub const KEYS: usize = 1 << 16;

/// The same random keys at every run.
pub fn random(count: usize) -> Vec<u32> {
    let mut state = 0x9e37_79b9_u32;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    (0..count).map(|_| draw()).collect()
}

/// The keys of this many streams of 100 tenants.
pub fn streams(count: usize) -> Vec<u32> {
    let key = |number: usize| {
        let labels = format!(r#"{{app="app-{}", pod="pod-{number}"}}"#, number % 1_000);
        let Token(key) = token_for(&format!("team-{}", number % 100), labels.as_bytes());
        key
    };
    (0..count).map(key).collect()
}
