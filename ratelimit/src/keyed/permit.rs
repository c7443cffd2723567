//! Tokens taken from a bucket of [`Keyed`].

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::{Keyed, Lookup};

/// Tokens taken for a key.
///
/// Dropping it keeps them taken; what was not done is given back by [`release`](Self::release), and an
/// estimate that was too high is settled by [`shrink_to`](Self::shrink_to). It borrows the key, so that taking
/// tokens for a known key allocates nothing.
pub struct KeyedPermit<'a, K, Q: ?Sized, C, S> {
    keyed: &'a Keyed<K, C, S>,
    key: &'a Q,
    tokens: u64,
    source: Source,
}

/// Where the tokens were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The key's own bucket.
    Own,
    /// The bucket that keys without slot share.
    Shared,
    /// Nowhere yet: the key is new and was not to be stored.
    Unstored,
    /// The quota is unlimited, or zero tokens were asked for.
    Nothing,
}

impl<'a, K, Q: ?Sized, C, S> KeyedPermit<'a, K, Q, C, S> {
    pub(super) fn new(keyed: &'a Keyed<K, C, S>, key: &'a Q, tokens: u64, source: Source) -> Self {
        let tokens = if source == Source::Nothing { 0 } else { tokens };
        Self { keyed, key, tokens, source }
    }

    /// Tokens this permit could give back: none if the quota was unlimited.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Whether the key had no slot and the tokens came from the bucket that such keys share.
    pub fn is_shared(&self) -> bool {
        self.source == Source::Shared
    }

    /// Keeps the tokens taken: what dropping does, said aloud.
    pub fn keep(self) {}
}

impl<K, Q, C, S> KeyedPermit<'_, K, Q, C, S>
where
    K: Eq + Hash,
    Q: Lookup<K> + ?Sized,
    C: Fn() -> u64,
    S: BuildHasher,
{
    /// Gives all tokens back: the work was not done. Best soon: they come on top of what has been minted since,
    /// up to a full bucket, so what others take right after a late return is more than the rate alone allows.
    pub fn release(mut self) {
        self.shrink_to(0);
    }

    /// Gives back all but `tokens`: the work was smaller than it looked. Does nothing if it was larger.
    pub fn shrink_to(&mut self, tokens: u64) {
        let Some(surplus) = self.tokens.checked_sub(tokens).filter(|&surplus| surplus > 0) else { return };
        self.tokens = tokens;
        self.keyed.put_back(self.key, surplus, self.source);
    }
}

impl<K, Q: fmt::Debug + ?Sized, C, S> fmt::Debug for KeyedPermit<'_, K, Q, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPermit")
            .field("key", &self.key)
            .field("tokens", &self.tokens)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
