//! The same entries in another format, codec, profile or size of blocks, with the proof that they are the same.

use crate::Error;
use crate::builder::{Builder, BuilderOptions, EncodedChunk};
use crate::chunk::{Chunk, lost};
use crate::columnar::hash::ContentHash;
use crate::range::Direction;

impl Chunk {
    /// A chunk of the same entries in the same order, written as `options` say; `None` if there is no entry. It is read
    /// again before it is given, and has the same [`content_hash`](Self::content_hash). It is as large as it gets,
    /// whatever its `target_size`.
    ///
    /// Takes the time to decode the chunk, to encode the other one and to decode that; memory for one open block and
    /// for the result.
    ///
    /// # Errors
    ///
    /// What a read of all entries has, and whatever the policy, why some are lost: to copy what is left of a damaged
    /// chunk is to [`merge`](crate::merge()) it with none. [`Error::Truncated`] for a chunk of [some
    /// groups](crate::columnar::Index::open), which is not all there is to copy. [`Error::Corrupt`] if the entries have not the hash that the
    /// chunk [says](Self::stored_content_hash); those of [`Builder::append`]; and [`Error::ContentDiffers`], which
    /// nothing leads to that is known.
    pub fn recompress(&self, options: BuilderOptions) -> Result<Option<EncodedChunk>, Error> {
        self.check_has_all()?;
        lost(self.damage())?;
        // All is in order of time, and has been let in before.
        let mut builder = Builder::new(BuilderOptions { out_of_order: None, ..options })?;
        let mut hash = ContentHash::default();
        let mut entries = self.entries(.., Direction::Forward);
        while let Some(entry) = entries.next()? {
            hash.push(&entry);
            builder.append_again(entry)?;
            builder.encode_full();
        }
        lost(entries.damage())?;
        self.check_content(hash.value())?;
        let Some(copy) = builder.finish() else { return Ok(None) };
        let (expected, found) =
            (hash.value(), Self::open(copy.bytes.clone(), &options.limits)?.content_hash()?);
        if expected == found { Ok(Some(copy)) } else { Err(Error::ContentDiffers { expected, found }) }
    }
}
