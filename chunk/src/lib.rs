//! Many log lines in few bytes, read back by time: Loki's chunks, written so that Loki reads them, and read
//! whatever wrote them.
//!
//! A log store keeps the lines of one stream together in *chunks* of a megabyte or two: lines are collected
//! in an open block, blocks are compressed when they are full, and the chunk ends in an index that says which
//! block holds which time. This crate is that, in Loki's own format: a [`Builder`] for whoever takes lines
//! in, a [`Chunk`] for whoever queries them, and [`loki`] for the object around a chunk and the key it is
//! stored under. Buckets that Loki filled can be read, and what is written here has Loki's layout in every
//! byte.
//!
//! Where nobody else has to read it there is a second format, [`columnar`]: lines are taken apart into what they
//! have in common and columns of what differs, which takes fewer bytes, and a read decompresses only the
//! columns that its lines need. Builder, chunk, object and key are the same.
//!
//! # What it does not do
//!
//! It does no I/O: bytes in, bytes out. It has no index over chunks, knows nothing of query languages, and
//! starts no thread.
//!
//! # Example
//!
//! ```
//! use forebay_chunk::loki::{Envelope, Object, Schema};
//! use forebay_chunk::{Builder, BuilderOptions, Chunk, Codec, Direction, Entry, Limits, LineFilter, Profile};
//!
//! let mut builder = Builder::new(BuilderOptions { codec: Codec::None, ..BuilderOptions::default() })?;
//! let trace = [("trace_id", "4bf92f3577b34da6")];
//! builder.append(Entry::new(1_700_000_000_000_000_000, "GET /a 200").with_metadata(&trace))?;
//! builder.append(Entry::new(1_700_000_002_000_000_000, "GET /c 500"))?;
//! builder.append(Entry::new(1_700_000_001_000_000_000, "GET /b 200"))?; // late, and welcome
//!
//! // Full blocks are compressed where no lock is held. Readers see them at every stage.
//! while let Some(block) = builder.take_full() {
//!     builder.attach(block.encode());
//! }
//! let open = builder.snapshot(..);
//! assert_eq!(open.entries(Direction::Backward).next()?.unwrap().line, b"GET /c 500");
//!
//! // The chunk, the object around it, and where to store it.
//! let chunk = builder.finish().expect("three entries");
//! let object = Envelope::new("tenant-a", &[("app", "web")], &chunk).encode(&chunk.bytes)?;
//! assert!(object.key.text(Schema::V13).starts_with("tenant-a/"));
//!
//! // Back, with every checksum and the key verified.
//! let object = Object::open_keyed(object.bytes, &object.key, &Limits::default())?;
//! let mut entries = object.chunk.entries(1_700_000_001_000_000_000.., Direction::Forward);
//! while let Some(entry) = entries.next()? {
//!     println!("{} {}", entry.timestamp_ns, entry.line.escape_ascii());
//! }
//! assert_eq!(entries.stats().entries, 2);
//!
//! // Only some lines; and the same entries in another format, which is proven before it is given.
//! let filter = LineFilter::new().any_of(["GET"]).none_of(["500"]);
//! let mut found = object.chunk.filter(.., &filter, Direction::Backward);
//! assert_eq!(found.next()?.unwrap().line, b"GET /b 200");
//! let columnar = object.chunk.recompress(BuilderOptions::columnar(Profile::Balanced))?.expect("three entries");
//! let columnar = Chunk::open(columnar.bytes, &Limits::default())?;
//! assert_eq!(columnar.content_hash(), object.chunk.content_hash());
//! # Ok::<(), forebay_chunk::Error>(())
//! ```
//!
//! # Guarantees
//!
//! - **Order.** A forward read gives entries by time, those of one time in the order they were appended;
//!   backward is its exact reverse. Entries may be appended in any order, within a window if there is to be one.
//! - **Stages.** A read sees the same entries whether their block is open, sealed, being compressed, or
//!   attached.
//! - **Duplicates.** An entry equal to one of the open block in time, line and metadata is dropped, and the
//!   caller told. Nothing else is ever dropped: empty lines, any bytes, and any `i64` nanosecond are kept.
//! - **Going on.** A read that was left goes on at its [`Cursor`], in whatever stage or format the blocks are by then. A
//!   builder written as a [checkpoint](Builder::checkpoint) and restored makes the same chunk.
//! - **Search.** A [filtered](Chunk::filter) read gives what a test of each line gives, however little of a columnar chunk
//!   it reads for it. [Counts](Chunk::counts) by steps of time are those of a read, and say where entries may be twice.
//! - **Sharing.** A read [through a cache](EntryIter::through) takes Loki blocks that another one decoded, and gives the same
//!   entries and errors whatever is in the cache.
//! - **Change.** [`Chunk::rewrite`] leaves blocks that keep all entries byte for byte as they are; [`merge`](fn@merge) drops what
//!   several sources have, and nothing else; [`Chunk::recompress`] gives a chunk of the same content hash or an error.
//! - **Honesty.** No byte of a file is believed unchecked. A read gives the lines that were written, or an
//!   error with section, offset and both values; with [`CorruptionPolicy::SkipBlock`] it gives what is left
//!   and a [`Damage`] for what is not. It does not panic, whatever the bytes.
//! - **Bounds.** Every decode takes [`Limits`]. Memory is taken in proportion to bytes that are there, not to
//!   numbers that a file claims. A builder takes no line, and makes no block and no sequence of blocks, that
//!   its limits would refuse to read.
//! - **Determinism.** The same entries with the same options make the same chunk, whoever compressed which
//!   block when. Without compression, and if no entry is late, it is byte for byte the one that Loki writes.
//!
//! # Limits, in numbers
//!
//! | what | default |
//! |---|---|
//! | block, raw | 256 KiB; columnar 1 MiB, with `Profile::Archive` 8 MiB |
//! | chunk, encoded | about 1.5 MiB; columnar 2 MiB, with `Profile::Archive` 16 MiB |
//! | line | 16 MiB |
//! | block when read, decompressed | 64 MiB |
//! | object | 256 MiB |
//! | names and values of metadata in a chunk | 1 Mi, 64 MiB |
//!
//! A block never has more entries than a quarter of its size in bytes, a columnar one than a 64th, so that empty lines
//! fill it too.
//!
//! # Time, chance, disk
//!
//! None of them is touched. [`FlushPolicy::evaluate_with`], which says when to store a chunk, takes the time as an
//! argument. Hash tables are seeded by the process; no result depends on the seed.
//!
//! # Features
//!
//! - `gzip` (default): blocks in gzip and flate, with zlib-rs. Snappy is always there, for the envelope needs it.
//! - `lz4` (default): blocks in Loki's four kinds of lz4. They are compressed here, and decompressed with lz4_flex.
//! - `zstd` (default): blocks and columnar chunks in Zstandard, with its C library. Without it columnar chunks are
//!   written without compression, and those that are compressed are refused.
//! - `cli`: the program `chunkctl`, which inspects, verifies, dumps and converts chunks on disk; `chunkctl --help`.
//! - `serde`: `Serialize` and `Deserialize` for options, limits, policies and keys.

mod block;
mod builder;
mod chunk;
mod codec;
pub mod columnar;
mod counts;
mod cursor;
mod damage;
mod entry;
mod error;
mod filter;
mod flush;
mod head;
mod iter;
mod limits;
pub mod loki;
mod merge;
mod pages;
mod range;
mod recompress;
mod rewrite;
mod shared;
mod symbols;

pub use builder::{Append, Builder, BuilderOptions, EncodedBlock, EncodedChunk, PendingBlock, Snapshot};
pub use chunk::{BlockMeta, Chunk};
pub use codec::{Codec, UnknownCodec};
pub use columnar::profile::Profile;
pub use counts::{Counts, StepCount};
pub use cursor::Cursor;
pub use damage::{CorruptionPolicy, Damage, DamageKind};
pub use entry::{Entry, Metadata, MetadataIter};
pub use error::{Error, Section};
pub use filter::LineFilter;
pub use flush::{ChunkState, FlushDemand, FlushPolicy, FlushReason, LogState};
pub use iter::{Batch, EntryIter, ReadStats};
pub use limits::Limits;
pub use loki::format::Format;
pub use merge::{Merged, merge};
pub use range::{Direction, TimeRange};
pub use rewrite::Rewritten;
pub use shared::{BlockCache, BlockId, DecodedBlock};
