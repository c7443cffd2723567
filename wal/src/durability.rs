//! How safe a record is to be before an append returns.

/// What an append waits for, the weakest first.
///
/// ```text
///             kill -9    power cut
/// Buffered    lost       lost
/// Written     kept       lost, or kept
/// Synced      kept       kept
/// ```
///
/// Whatever the level, records are kept in the order of their numbers: a crash loses an end of the log and nothing
/// in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// It has its number and its place in memory, and is written together with what comes later: when a frame is
    /// full or 256 KiB have come together, by the next append that asks for more, by [`Wal::sync`](crate::Wal::sync),
    /// [`rotate`](crate::Wal::rotate) or [`close`](crate::Wal::close), and where possible when the last handle is
    /// dropped.
    Buffered,
    /// It is in the file, as far as any process can see: it survives the death of this one.
    Written,
    /// It is on the media: it survives a power cut.
    Synced,
}
