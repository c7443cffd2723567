//! A block on its way from sealed to encoded, apart from its builder. It keeps what it was made from, which
//! is how the builder knows it again.

use std::fmt;
use std::sync::Arc;

use crate::block::{Block, Target};
use crate::head::Head;
use crate::symbols::SymbolTable;

/// A sealed block that is to be encoded. It stays readable in its builder all the while; dropped, it is
/// encoded when the chunk is finished.
#[must_use = "encode it and attach the result"]
pub struct PendingBlock {
    pub(super) head: Arc<Head>,
    /// At least those that its entries refer to.
    pub(super) symbols: SymbolTable,
    pub(super) target: Target,
}

impl PendingBlock {
    /// Compresses the block. This is where the time goes: call it where nobody waits.
    pub fn encode(self) -> EncodedBlock {
        let block = self.target.encode(&self.head, &self.symbols);
        EncodedBlock { source: self.head, block }
    }

    /// How many entries it has.
    pub fn entries(&self) -> usize {
        self.head.len()
    }

    /// Bytes of its lines, and 8 for each metadata pair.
    pub fn raw_bytes(&self) -> usize {
        self.head.raw_bytes()
    }
}

impl fmt::Debug for PendingBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingBlock")
            .field("entries", &self.entries())
            .field("raw_bytes", &self.raw_bytes())
            .finish_non_exhaustive()
    }
}

/// A block that is compressed and can be attached to the builder it came from.
#[must_use = "attach it to its builder"]
pub struct EncodedBlock {
    pub(super) source: Arc<Head>,
    pub(super) block: Block,
}

impl EncodedBlock {
    /// Its compressed size in bytes.
    pub fn size_bytes(&self) -> usize {
        self.block.data().len()
    }
}

impl fmt::Debug for EncodedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedBlock").field("meta", self.block.meta()).finish_non_exhaustive()
    }
}
