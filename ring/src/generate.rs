//! Tokens from a seed. Invariant: the result depends on nothing but the arguments, so an instance that
//! lost its tokens makes the same ones again, as long as nobody took them meanwhile.

use xxhash_rust::xxh3::Xxh3;

use crate::error::GenerateError;
use crate::token::TokenSet;

/// How many tokens an instance has unless told otherwise: shares of the key space then differ by about
/// 9 % of their mean (one standard deviation, `1 / sqrt(tokens)`).
pub const DEFAULT_TOKENS: usize = 128;

/// The most tokens one instance may ask for.
pub const MAX_TOKENS_PER_INSTANCE: usize = 1 << 16;

/// Beyond half of the space a draw would more likely hit a taken token than a free one.
const MAX_TAKEN: usize = 1 << 31;

/// `count` random tokens for the instance `id` in `zone`, none of them in `taken`.
///
/// An instance's share of the keys is proportional to its `count` beside those of the others: give a larger machine
/// more.
///
/// A pure function: the sequence drawn from depends on id, zone and `epoch` only, and a draw that is in
/// `taken` is skipped. Raise `epoch` to get other tokens for the same instance. Expected O(count · log
/// taken).
///
/// # Errors
///
/// If `count` is above [`MAX_TOKENS_PER_INSTANCE`] or half of the key space is taken already.
///
/// ```
/// use forebay_ring::{TokenSet, random_tokens};
///
/// let first = random_tokens("ingester-0", "zone-a", 0, 128, &TokenSet::default())?;
/// let again = random_tokens("ingester-0", "zone-a", 0, 128, &TokenSet::default())?;
/// assert_eq!(first, again);
///
/// let other = random_tokens("ingester-1", "zone-a", 0, 128, &first)?;
/// assert!(other.iter().all(|&token| !first.contains(token)));
/// # Ok::<(), forebay_ring::GenerateError>(())
/// ```
pub fn random_tokens(
    id: &str,
    zone: &str,
    epoch: u64,
    count: usize,
    taken: &TokenSet,
) -> Result<TokenSet, GenerateError> {
    if count > MAX_TOKENS_PER_INSTANCE {
        return Err(GenerateError::TooMany { wanted: count, max: MAX_TOKENS_PER_INSTANCE });
    }
    if taken.len() > MAX_TAKEN - count {
        return Err(GenerateError::Crowded { wanted: count, taken: taken.len() });
    }
    let mut draws = Draws::new(id, zone, epoch);
    let mut tokens = TokenSet::default();
    while tokens.len() < count {
        // Rounds, since two draws may be the same token: the set shows how many are still missing.
        let missing = count - tokens.len();
        let fresh = draws.by_ref().filter(|&token| !taken.contains(token)).take(missing);
        tokens = fresh.chain(tokens.iter().copied()).collect();
    }
    Ok(tokens)
}

/// SplitMix64 (Steele, Lea and Flood, 2014), of which each draw takes the high half.
pub(crate) struct Draws {
    state: u64,
}

impl Draws {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    fn new(id: &str, zone: &str, epoch: u64) -> Self {
        let mut hasher = Xxh3::new();
        for text in [id, zone] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&epoch.to_le_bytes());
        Self { state: hasher.digest() }
    }
}

impl Iterator for Draws {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        Some(u32::try_from(word >> 32).expect("32 bits are left after the shift"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_seed_matters() {
        let tokens = |id, zone, epoch| random_tokens(id, zone, epoch, 8, &TokenSet::default()).unwrap();
        let base = tokens("a", "b", 0);
        assert_eq!(base.len(), 8);
        for other in [tokens("c", "b", 0), tokens("a", "c", 0), tokens("a", "b", 1), tokens("ab", "", 0)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_tokens_of_a_seed_never_change() {
        // Stored data lies where these say: a change here moves every cluster's keys at an upgrade.
        let tokens = random_tokens("ingester-0", "zone-a", 0, 4, &TokenSet::default()).unwrap();
        assert_eq!(*tokens, [666714946, 3656069757, 3763768670, 3991919463]);
    }

    #[test]
    fn draws_are_the_high_halves_of_the_published_sequence() {
        // SplitMix64 from 1234567: 6457827717110365317, 3203168211198807973, 9817491932198370423.
        let draws: Vec<u32> = Draws { state: 1_234_567 }.take(3).collect();
        assert_eq!(draws, [1503580183, 745795716, 2285812965]);
    }

    #[test]
    fn taken_tokens_are_passed_over_and_the_others_kept() {
        let free = random_tokens("a", "", 0, 64, &TokenSet::default()).unwrap();
        let taken: TokenSet = free.iter().copied().step_by(2).collect();
        let tokens = random_tokens("a", "", 0, 64, &taken).unwrap();
        assert_eq!(tokens.len(), 64);
        assert!(tokens.iter().all(|&token| !taken.contains(token)));
        assert!(free.iter().all(|&token| taken.contains(token) || tokens.contains(token)));
    }

    #[test]
    fn an_absurd_count_is_refused_before_anything_is_drawn() {
        assert_eq!(
            random_tokens("a", "", 0, usize::MAX, &TokenSet::default()),
            Err(GenerateError::TooMany { wanted: usize::MAX, max: MAX_TOKENS_PER_INSTANCE })
        );
    }
}
