//! What lines are made in: kept from one piece to the next, and from one group to the one behind it.

#![warn(clippy::arithmetic_side_effects)]

use super::piece::{Made, Piece};
use super::slots::Scratch;

/// The lines that were made last, and all that it took.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(super) piece: Piece,
    pub(super) scratch: Scratch,
    pub(crate) made: Made,
}

impl Work {
    /// Forgets the group that it was of.
    pub(crate) fn clear(&mut self) {
        self.piece.clear();
        self.made.clear();
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let parts = [self.piece.memory_bytes(), self.scratch.memory_bytes(), self.made.memory_bytes()];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

/// Bytes that vectors take.
macro_rules! taken {
    ($($vec:expr),*) => {
        [$(bytes_of(&$vec)),*].into_iter().fold(0, usize::saturating_add)
    };
}
pub(super) use taken;

pub(super) fn bytes_of<T>(vec: &Vec<T>) -> usize {
    vec.capacity().saturating_mul(size_of::<T>())
}
