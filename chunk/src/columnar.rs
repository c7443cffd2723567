//! The columnar format: entries in groups, a group in streams, each stream of one kind of value and compressed
//! apart. What a read does not ask for is not decompressed.

use bytes::Bytes;

use crate::block::Block;
use crate::chunk::{BlockMeta, Parsed};
use crate::damage::{CorruptionPolicy, DamageKind};
use crate::error::to_u64;
use crate::{Codec, Error, Format, Limits};

use footer::Footer;
use group::Group;

pub(crate) mod bits;
pub(crate) mod codec;
pub(crate) mod fault;
pub(crate) mod footer;
pub(crate) mod format;
pub(crate) mod group;
pub(crate) mod hash;
pub(crate) mod metadata;
pub(crate) mod planes;
pub(crate) mod profile;
pub(crate) mod raw;
pub(crate) mod rows;
pub(crate) mod stream;
pub(crate) mod time;

/// Whether these are the first bytes of a columnar chunk.
pub(crate) fn is_columnar(bytes: &[u8]) -> bool {
    bytes.starts_with(format::MAGIC.first_chunk::<4>().expect("eight bytes have four"))
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

/// The hash of all entries, if each group ends before the next starts; otherwise it takes a read to know it.
fn content_hash(blocks: &[Block]) -> Option<u128> {
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
    format::check_header(bytes)?;
    let (footer, _) = Footer::read(bytes, to_u64(bytes.len()), limits)?;
    let (mut blocks, mut damage) = (Vec::with_capacity(footer.groups.len()), Vec::new());
    for (number, meta) in footer.groups.iter().enumerate() {
        match group(bytes, number, meta, limits) {
            Ok(group) => blocks.push(Block::Columnar(group)),
            Err(cause @ Error::LimitExceeded { .. }) => return Err(cause),
            Err(cause) if policy == CorruptionPolicy::SkipBlock => {
                damage.push(meta.damage(number, DamageKind::Lost { entries: meta.entries, cause }));
            }
            Err(cause) => return Err(cause),
        }
    }
    let (format, codec, symbols) = (Format::Columnar, Codec::Zstd, Default::default());
    Ok(Parsed { format, codec, symbols, index: footer.groups, blocks, damage })
}

/// The group that the footer says to be there.
fn group(bytes: &Bytes, number: usize, meta: &BlockMeta, limits: &Limits) -> Result<Group, Error> {
    let [start, end] = [meta.offset, meta.offset.saturating_add(meta.size_bytes)]
        .map(|offset| usize::try_from(offset).unwrap_or(usize::MAX));
    let section = crate::Section::Group(number);
    let data =
        bytes.get(start..end).ok_or_else(|| Error::corrupt(section, start, "it is not in the file"))?;
    let group = Group::read(&bytes.slice_ref(data), number, start, limits)?;
    if group.meta != *meta {
        let what = format!("a group of {:?} where the footer names {meta:?}", group.meta);
        return Err(Error::corrupt(section, start, what));
    }
    Ok(group)
}
