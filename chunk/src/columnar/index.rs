//! A columnar chunk known by its end alone, and read group by group.

use bytes::Bytes;

use super::footer::Footer;
use super::group_at;
use crate::block::Block;
use crate::chunk::{BlockMeta, Chunk, Parsed};
use crate::damage::{CorruptionPolicy, DamageKind};
use crate::error::to_u64;
use crate::loki::Envelope;
use crate::{Codec, Error, Format, Limits, Section};

/// What the end of a columnar chunk says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    footer: Footer,
}

/// What the last bytes of a chunk are enough for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// They hold the whole index.
    Index(Index),
    /// The index is longer: come again with so many of the last bytes.
    More {
        /// How many.
        size_bytes: u64,
    },
}

impl Index {
    /// Reads the index of an object of `object_len` bytes, of which `tail` are the last. 64 KiB are more than enough
    /// for a chunk of some megabytes.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`], [`Error::Corrupt`] and [`Error::ChecksumMismatch`] for what is not the end of a columnar
    /// chunk of that length, [`Error::UnsupportedVersion`] and [`Error::LimitExceeded`].
    pub fn read(tail: &[u8], object_len: u64, limits: &Limits) -> Result<Tail, Error> {
        let max = to_u64(limits.max_object_bytes);
        if object_len > max {
            return Err(Error::LimitExceeded { limit: "max_object_bytes", value: object_len, max });
        }
        match Footer::read(tail, object_len, limits) {
            Ok((footer, _)) => Ok(Tail::Index(Self { footer })),
            Err(Error::Truncated { section: Section::Footer, need, .. }) if need <= object_len => {
                Ok(Tail::More { size_bytes: need })
            }
            Err(error) => Err(error),
        }
    }

    /// The groups, each with its place in the object and its times.
    pub fn groups(&self) -> &[BlockMeta] {
        &self.footer.groups
    }

    /// What the chunk says that its [`content_hash`](Chunk::content_hash) is.
    pub fn content_hash(&self) -> Option<u128> {
        self.footer.content_hash
    }

    /// Whose chunk it is, if it is an object.
    pub fn envelope(&self) -> Option<Envelope> {
        let bounds = self.footer.groups.iter().map(|group| (group.min_ns, group.max_ns));
        let bounds = bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        self.footer.identity.as_ref().map(|identity| Envelope::identified(identity, bounds))
    }

    /// The chunk, of which only the entries of these groups are read: each by its number, and its bytes. What the chunk
    /// says of itself, its bounds, entries and raw size, it says of all groups.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for a number that no group has, and for one that comes twice. A group that is not the one of its number is an error, or
    /// skipped and reported if that is the policy.
    pub fn open(
        &self,
        groups: impl IntoIterator<Item = (usize, Bytes)>,
        limits: &Limits,
        policy: CorruptionPolicy,
    ) -> Result<Chunk, Error> {
        let Footer { groups: index, content_hash, identity } = self.footer.clone();
        let (mut blocks, mut damage) = (Vec::new(), Vec::new());
        let mut given = vec![false; index.len()];
        for (number, bytes) in groups {
            let Some(meta) = index.get(number) else {
                let what = format!("group {number} of {}", index.len());
                return Err(Error::corrupt(Section::Group(number), 0, what));
            };
            if given.get_mut(number).is_some_and(|given| std::mem::replace(given, true)) {
                return Err(Error::corrupt(
                    Section::Group(number),
                    0,
                    format!("group {number} is given twice"),
                ));
            }
            if to_u64(bytes.len()) > meta.size_bytes {
                let what = format!("{} bytes of a group of {}", bytes.len(), meta.size_bytes);
                return Err(Error::corrupt(Section::Group(number), 0, what));
            }
            match group_at(&bytes, number, meta, limits) {
                Ok(group) => blocks.push(Block::Columnar(group)),
                Err(cause @ Error::LimitExceeded { .. }) => return Err(cause),
                Err(cause) if policy != CorruptionPolicy::Fail => {
                    damage.push(meta.damage(number, DamageKind::Lost { entries: meta.entries, cause }));
                }
                Err(cause) => return Err(cause),
            }
        }
        blocks.sort_by_key(Block::number);
        let (format, codec, symbols) = (Format::Columnar, Codec::Zstd, Default::default());
        let parsed = Parsed { format, codec, symbols, index, blocks, damage, identity, content_hash };
        Ok(Chunk::of_parts(parsed, limits, policy))
    }
}
