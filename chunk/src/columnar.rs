//! The columnar format: entries in groups, a group in streams, each stream of one kind of value and compressed
//! apart. What a read does not ask for is not decompressed.
//!
//! Chunks of it are written by a [`Builder`](crate::Builder) and read by a [`Chunk`](crate::Chunk) as all others are.
//! Here is how to read one from a store of objects without fetching all of it: the end of the object says which
//! groups there are, and then the groups that are wanted.
//!
//! ```
//! use forebay_chunk::columnar::{Index, Tail};
//! use forebay_chunk::{Builder, BuilderOptions, CorruptionPolicy, Direction, Entry, Limits, Profile};
//!
//! # let mut builder = Builder::new(BuilderOptions { block_size: 256, ..BuilderOptions::columnar(Profile::Fast) })?;
//! # for n in 0..20 {
//! #     builder.append(Entry::new(n, &format!("line {n}")))?;
//! # }
//! # let object = builder.finish().expect("twenty entries").bytes;
//! # let fetch = |start: u64, end: u64| object.slice(start as usize..end as usize);
//! let limits = Limits::default();
//! let object_len = object.len() as u64;
//! let mut tail = 64 << 10;
//! let index = loop {
//!     let bytes = fetch(object_len.saturating_sub(tail), object_len);
//!     match Index::read(&bytes, object_len, &limits)? {
//!         Tail::Index(index) => break index,
//!         Tail::More { size_bytes } => tail = size_bytes,
//!     }
//! };
//! let wanted = index.groups().iter().enumerate().filter(|(_, group)| group.max_ns >= 15);
//! let groups = wanted.map(|(number, group)| (number, fetch(group.offset, group.offset + group.size_bytes)));
//! let chunk = index.open(groups, &limits, CorruptionPolicy::Fail)?;
//! let mut entries = chunk.entries(15.., Direction::Forward);
//! assert_eq!(entries.next()?.unwrap().line, b"line 15");
//! # Ok::<(), forebay_chunk::Error>(())
//! ```

use bytes::Bytes;

use crate::block::Block;
use crate::chunk::{BlockMeta, Parsed};
use crate::damage::{CorruptionPolicy, DamageKind};
use crate::error::to_u64;
use crate::{Codec, Error, Format, Limits, Section};

use footer::{Footer, Identity};
use group::Group;

pub use index::{Index, Tail};

pub(crate) mod bits;
pub(crate) mod class;
pub(crate) mod codec;
pub(crate) mod column;
pub(crate) mod digits;
pub(crate) mod fault;
pub(crate) mod filter;
pub(crate) mod footer;
pub(crate) mod format;
pub(crate) mod group;
pub(crate) mod hash;
mod index;
pub(crate) mod lines;
pub(crate) mod metadata;
mod pick;
pub(crate) mod planes;
pub(crate) mod profile;
pub(crate) mod raw;
pub(crate) mod rows;
mod salvage;
pub(crate) mod skeleton;
pub(crate) mod stream;
pub(crate) mod time;
pub(crate) mod timestamp;
pub(crate) mod tokenize;
mod tree;

/// Whether these are the bytes of a columnar chunk: they start like one or, if they are to be salvaged, look like
/// one otherwise.
pub(crate) fn is_columnar(bytes: &[u8], policy: CorruptionPolicy) -> bool {
    let like_one =
        || footer::is_end(bytes) || bytes.get(format::HEADER_BYTES..).is_some_and(format::is_group);
    bytes.starts_with(format::MAGIC.first_chunk::<4>().expect("eight bytes have four"))
        || policy == CorruptionPolicy::Salvage && like_one()
}

/// Puts a chunk together from its groups.
pub(crate) fn assemble(blocks: &[Block]) -> Bytes {
    let size: usize = blocks.iter().map(|block| block.data().len() + 32).sum();
    let mut file = Vec::with_capacity(size + 256);
    file.extend_from_slice(&format::header());
    let mut groups = Vec::with_capacity(blocks.len());
    for block in blocks {
        groups.push(BlockMeta { offset: to_u64(file.len()), ..*block.meta() });
        file.extend_from_slice(block.data());
    }
    Footer { groups, content_hash: content_hash(blocks), identity: None }.append(&mut file);
    file.into()
}

/// Times of an oldest and a newest entry.
type Bounds = (i64, i64);

/// The same chunk with this for its identity, and its bounds. Its groups are not looked into.
pub(crate) fn identified(chunk: &[u8], identity: Identity) -> Result<(Vec<u8>, Option<Bounds>), Error> {
    let all = usize::MAX;
    let limits = Limits { max_blocks: all, max_entries_per_block: all, max_labels: all, ..Limits::default() };
    format::check_header(chunk)?;
    let (footer, start) = Footer::read(chunk, to_u64(chunk.len()), &limits)?;
    let bounds = footer.groups.iter().map(|group| (group.min_ns, group.max_ns));
    let bounds = bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let mut file = chunk.get(..usize::try_from(start).unwrap_or(all)).unwrap_or_default().to_vec();
    Footer { identity: Some(identity), ..footer }.append(&mut file);
    Ok((file, bounds))
}

/// The hash of all entries, if each group ends before the next starts; otherwise it takes a read to know it.
pub(crate) fn content_hash(blocks: &[Block]) -> Option<u128> {
    let ascend = blocks.windows(2).all(|pair| matches!(pair, [a, b] if a.meta().max_ns <= b.meta().min_ns));
    let groups = blocks.iter().map(|block| match block {
        Block::Columnar(group) => Some(group),
        Block::Loki(_) => None,
    });
    let groups = groups.collect::<Option<Vec<_>>>().filter(|_| ascend)?;
    let mut hash = hash::ContentHash::default();
    groups.into_iter().for_each(|group| hash.extend(&group.hash()));
    Some(hash.value())
}

/// Reads head and footer, and the directory of every group.
pub(crate) fn parse(bytes: &Bytes, limits: &Limits, policy: CorruptionPolicy) -> Result<Parsed, Error> {
    if bytes.len() > limits.max_object_bytes {
        return Err(Error::limit("max_object_bytes", bytes.len(), limits.max_object_bytes));
    }
    let mut damage = Vec::new();
    if let Err(cause) = format::check_header(bytes) {
        salvage::allowed(policy, &cause)?;
        damage.push(salvage::unknown(0, 0, format::HEADER_BYTES.min(bytes.len()), cause));
    }
    let (format, codec, symbols) = (Format::Columnar, Codec::Zstd, Default::default());
    let footer = match Footer::read(bytes, to_u64(bytes.len()), limits) {
        Ok((footer, _)) => footer,
        Err(cause) => {
            salvage::allowed(policy, &cause)?;
            let found = salvage::groups(bytes, &cause, limits, &mut damage)?;
            let index = found.iter().map(|group| group.meta).collect();
            let blocks = found.into_iter().map(Block::Columnar).collect();
            return Ok(Parsed {
                format,
                codec,
                symbols,
                index,
                blocks,
                damage,
                identity: None,
                content_hash: None,
            });
        }
    };
    let mut blocks = Vec::with_capacity(footer.groups.len());
    for (number, meta) in footer.groups.iter().enumerate() {
        match group(bytes, number, meta, limits) {
            Ok(group) => blocks.push(Block::Columnar(group)),
            Err(cause @ Error::LimitExceeded { .. }) => return Err(cause),
            Err(cause) if policy != CorruptionPolicy::Fail => {
                damage.push(meta.damage(number, DamageKind::Lost { entries: meta.entries, cause }));
            }
            Err(cause) => return Err(cause),
        }
    }
    let Footer { groups: index, content_hash, identity } = footer;
    Ok(Parsed { format, codec, symbols, index, blocks, damage, identity, content_hash })
}

/// The group that the footer says to be there.
fn group(bytes: &Bytes, number: usize, meta: &BlockMeta, limits: &Limits) -> Result<Group, Error> {
    let [start, end] = [meta.offset, meta.offset.saturating_add(meta.size_bytes)]
        .map(|offset| usize::try_from(offset).unwrap_or(usize::MAX));
    let missing = || Error::corrupt(Section::Group(number), start, "it is not in the file");
    let data = bytes.get(start..end).ok_or_else(missing)?;
    group_at(&bytes.slice_ref(data), number, meta, limits)
}

/// The same, from its own bytes.
fn group_at(data: &Bytes, number: usize, meta: &BlockMeta, limits: &Limits) -> Result<Group, Error> {
    let start = usize::try_from(meta.offset).unwrap_or(usize::MAX);
    let group = Group::read(data, number, start, limits)?;
    if group.meta != *meta {
        let what = format!("a group of {:?} where the footer names {meta:?}", group.meta);
        return Err(Error::corrupt(Section::Group(number), start, what));
    }
    Ok(group)
}
