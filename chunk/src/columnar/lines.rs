//! The lines of a group as skeletons, columns, and what is left as it is.

mod decode;
mod demand;
mod encode;
mod fill;
mod gather;
mod piece;
mod place;
mod put;
mod search;
mod single;
mod slots;
mod template;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use {
    decode::Decoder,
    encode::encode,
    piece::Made,
    search::{Answer, Search},
    work::Work,
};

/// Skeletons of a group at most: numbers take two bytes, and 0 is a line without one.
const MAX_SKELETONS: usize = 4095;
/// Values of a group at most; the reader holds eight bytes for each.
const MAX_VALUES: usize = 4 << 20;
