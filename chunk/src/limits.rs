//! How much a chunk may ask of its reader. Every decode takes [`Limits`]; what a file declares is held
//! against them, and against the bytes that are there, before memory is taken for it.

/// Bounds on what is read, so that a hostile file costs no more than they say.
///
/// The defaults let everything pass that Loki writes with its own defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Limits {
    /// An object or a chunk, in bytes. Default 256 MiB.
    pub max_object_bytes: usize,
    /// One block when decompressed, in bytes. Default 64 MiB; above 4 GiB it counts as 4 GiB. Of a columnar one all
    /// streams together, and what its columns take when they are open.
    pub max_block_bytes: usize,
    /// One line, in bytes. Default 16 MiB. Loki itself reads up to 1 GiB.
    pub max_line_bytes: usize,
    /// Decompressed bytes for each compressed byte. Default 1040: deflate ends at 1032, snappy and lz4 long
    /// before, so only what none of them can have written is refused. Not for Zstandard, Loki's or in columnar
    /// chunks, which takes a few bytes for any number of equal lines: it is held against the other limits, and
    /// against what a frame can stand for, 65,536.
    pub max_ratio: usize,
    /// Blocks of one chunk. Default 65,536; Loki's own have some ten.
    pub max_blocks: usize,
    /// Entries of one block. Default 8 Mi, which take 192 MiB while the block is read.
    pub max_entries_per_block: usize,
    /// Different names and values of structured metadata in one chunk, in each group of a columnar one. Default 1 Mi.
    /// Values that are in columns count for `max_block_bytes` instead.
    pub max_symbols: usize,
    /// All of those together, in bytes. Default 64 MiB.
    pub max_symbol_bytes: usize,
    /// Labels of one stream in an object's envelope. Default 1024.
    pub max_labels: usize,
    /// The envelope of an object when decompressed, in bytes. Default 1 MiB.
    pub max_envelope_bytes: usize,
    /// What one iterator decompresses in its life, in bytes, its row index included. Default 1 GiB. It bounds
    /// what a chunk of many small bombs, or of many blocks that overlap, can cost.
    pub max_decoded_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_object_bytes: 256 << 20,
            max_block_bytes: 64 << 20,
            max_line_bytes: 16 << 20,
            max_ratio: 1040,
            max_blocks: 1 << 16,
            max_entries_per_block: 8 << 20,
            max_symbols: 1 << 20,
            max_symbol_bytes: 64 << 20,
            max_labels: 1024,
            max_envelope_bytes: 1 << 20,
            max_decoded_bytes: 1 << 30,
        }
    }
}

impl Limits {
    /// `max_block_bytes`, but never more than offsets of 32 bits can reach.
    pub(crate) fn block_bytes(&self) -> usize {
        self.max_block_bytes.min(usize::try_from(u32::MAX).unwrap_or(usize::MAX))
    }
}
