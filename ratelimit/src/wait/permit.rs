//! Tokens taken from a queue, and the way back: to those who wait.

use std::fmt;

use super::Queue;

/// Tokens taken from a [`Queue`]. Dropping it keeps them taken; what is given back goes to those who wait.
pub struct QueuePermit<'a> {
    queue: &'a Queue,
    granted: u64,
    /// At most `granted`.
    tokens: u64,
}

impl<'a> QueuePermit<'a> {
    pub(super) fn new(queue: &'a Queue, granted: u64, tokens: u64) -> Self {
        Self { queue, granted, tokens }
    }

    /// Tokens that may be used: what was asked for.
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Tokens this permit could give back: none if the queue was unlimited.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Keeps the tokens taken: what dropping does, said aloud.
    pub fn keep(self) {}

    /// Gives all tokens back: the work was not done. Best soon, as with [`Permit`](crate::Permit).
    pub fn release(mut self) {
        self.shrink_to(0);
    }

    /// Gives back all but `tokens`: the work was smaller than it looked. Does nothing if it was larger.
    pub fn shrink_to(&mut self, tokens: u64) {
        if let Some(surplus) = self.tokens.checked_sub(tokens).filter(|&surplus| surplus > 0) {
            self.queue.release(surplus);
            self.tokens = tokens;
        }
        self.granted = self.granted.min(tokens);
    }
}

impl fmt::Debug for QueuePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuePermit")
            .field("granted", &self.granted)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}
