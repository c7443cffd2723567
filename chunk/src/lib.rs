//! Many log lines in few bytes, read back by time: Loki chunks, both ways.

mod builder;
mod chunk;
mod codec;
mod damage;
mod entry;
mod error;
mod flush;
mod head;
mod iter;
mod limits;
mod loki;
mod range;
mod symbols;

pub use builder::{Append, Builder, BuilderOptions, EncodedBlock, EncodedChunk, PendingBlock, Snapshot};
pub use chunk::{BlockMeta, Chunk};
pub use codec::{Codec, UnknownCodec};
pub use damage::{CorruptionPolicy, Damage, DamageKind};
pub use entry::{Entry, Metadata, MetadataIter};
pub use error::{Error, Section};
pub use flush::{ChunkState, FlushPolicy, FlushReason};
pub use iter::{EntryIter, ReadStats};
pub use limits::Limits;
pub use loki::format::Format;
pub use range::{Direction, TimeRange};
