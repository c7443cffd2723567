//! Tokens that were taken, and the way back: never more than was taken.

use std::fmt;

use crate::limiter::Limiter;

/// Tokens taken from a [`Limiter`].
///
/// Dropping it keeps them taken, for work that was admitted was most often also done; what was not done is
/// given back by [`release`](Self::release), and an estimate that was too high is settled by
/// [`shrink_to`](Self::shrink_to). It cannot give back more than was taken.
pub struct Permit<'a, C: Fn() -> u64 = fn() -> u64> {
    limiter: &'a Limiter<C>,
    granted: u64,
    /// At most `granted`.
    tokens: u64,
}

impl<'a, C: Fn() -> u64> Permit<'a, C> {
    pub(crate) fn new(limiter: &'a Limiter<C>, granted: u64, tokens: u64) -> Self {
        Self { limiter, granted, tokens }
    }

    /// Tokens that may be used: what was asked for, or what was there of it.
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Tokens this permit could give back: none if the limiter was unlimited when it was asked.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Keeps the tokens taken: what dropping does, said aloud.
    pub fn keep(self) {}

    /// Gives all tokens back: the work was not done. Best soon: they come on top of what has been minted since,
    /// up to a full bucket, so what others take right after a late return is more than the rate alone allows.
    pub fn release(mut self) {
        self.shrink_to(0);
    }

    /// Gives back all but `tokens`: the work was smaller than it looked. Does nothing if it was larger.
    pub fn shrink_to(&mut self, tokens: u64) {
        if let Some(surplus) = self.tokens.checked_sub(tokens).filter(|&surplus| surplus > 0) {
            self.limiter.release(surplus);
            self.tokens = tokens;
        }
        self.granted = self.granted.min(tokens);
    }
}

impl<C: Fn() -> u64> fmt::Debug for Permit<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("granted", &self.granted)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}
