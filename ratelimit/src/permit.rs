//! Tokens that were taken, and the way back: never more than was taken.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Tokens taken from a limiter: `R` is where they go back to.
///
/// Dropping it keeps them taken, for work that was admitted was most often also done; what was not done is
/// given back by [`release`](Self::release), and an estimate that was too high is settled by
/// [`shrink_to`](Self::shrink_to). It cannot give back more than was taken.
///
/// It borrows the limiter, or, from a `try_acquire_owned`, holds an `Arc` of it: for a body that is streamed, or a
/// task that is spawned.
///
/// ```
/// use forebay_ratelimit::{Limiter, Quota, Rate};
/// use std::sync::Arc;
///
/// let limiter = Arc::new(Limiter::new(Quota::new(Rate::per_second(1), 1_000)));
/// let mut permit = limiter.try_acquire_owned(1_000)?;
/// std::thread::spawn(move || permit.shrink_to(300)).join().unwrap();
/// assert!(limiter.allow(700));
/// # Ok::<(), forebay_ratelimit::Denied>(())
/// ```
pub struct Permit<R: Release> {
    source: R,
    granted: R::Tokens,
    /// At most `granted`.
    tokens: R::Tokens,
}

/// Where the tokens of a [`Permit`] go back to.
pub trait Release {
    /// `u64`, or `[u64; N]` from a [`Multi`](crate::Multi).
    type Tokens: Tokens;

    /// Gives back tokens that were taken there.
    fn give_back(&self, tokens: Self::Tokens);
}

impl<L: Release> Release for &L {
    type Tokens = L::Tokens;

    fn give_back(&self, tokens: L::Tokens) {
        (**self).give_back(tokens);
    }
}

impl<L: Release> Release for Arc<L> {
    type Tokens = L::Tokens;

    fn give_back(&self, tokens: L::Tokens) {
        self.deref().give_back(tokens);
    }
}

/// A number of tokens, or one for each bandwidth.
pub trait Tokens: Copy + fmt::Debug + PartialEq {
    /// None at all.
    const NONE: Self;

    /// The smaller, bandwidth by bandwidth.
    #[must_use]
    fn at_most(self, other: Self) -> Self;

    /// What is more than `less`, which is nowhere larger.
    #[must_use]
    fn beyond(self, less: Self) -> Self;
}

impl Tokens for u64 {
    const NONE: Self = 0;

    fn at_most(self, other: Self) -> Self {
        self.min(other)
    }

    fn beyond(self, less: Self) -> Self {
        self.saturating_sub(less)
    }
}

impl<const N: usize> Tokens for [u64; N] {
    const NONE: Self = [0; N];

    fn at_most(mut self, other: Self) -> Self {
        self.iter_mut().zip(other).for_each(|(tokens, other)| *tokens = tokens.at_most(other));
        self
    }

    fn beyond(mut self, less: Self) -> Self {
        self.iter_mut().zip(less).for_each(|(tokens, less)| *tokens = tokens.beyond(less));
        self
    }
}

impl<R: Release> Permit<R> {
    pub(crate) fn new(source: R, granted: R::Tokens, tokens: R::Tokens) -> Self {
        Self { source, granted, tokens }
    }

    /// Tokens that may be used: what was asked for, or what was there of it.
    pub fn granted(&self) -> R::Tokens {
        self.granted
    }

    /// Tokens this permit could give back: none where there was no limit when it was asked. Of a
    /// [`Tree`](crate::Tree) they are what was asked of each level, limited or not.
    pub fn tokens(&self) -> R::Tokens {
        self.tokens
    }

    /// Keeps the tokens taken: what dropping does, said aloud.
    pub fn keep(self) {}

    /// Gives all tokens back: the work was not done. Best soon: they come on top of what has been minted since,
    /// up to a full bucket, so what others take right after a late return is more than the rate alone allows.
    pub fn release(mut self) {
        self.shrink_to(R::Tokens::NONE);
    }

    /// Gives back all but `tokens`: the work was smaller than it looked. Does nothing where it was larger.
    pub fn shrink_to(&mut self, tokens: R::Tokens) {
        let left = self.tokens.at_most(tokens);
        let surplus = self.tokens.beyond(left);
        (self.tokens, self.granted) = (left, self.granted.at_most(tokens));
        if surplus != R::Tokens::NONE {
            self.source.give_back(surplus);
        }
    }

    pub(crate) fn source(&self) -> &R {
        &self.source
    }
}

impl<R: Release> fmt::Debug for Permit<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("granted", &self.granted)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}
