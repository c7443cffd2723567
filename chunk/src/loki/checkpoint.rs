//! What Loki's log holds of an open chunk: the blocks that were cut, as a chunk whose symbols are not compressed, and the
//! open block.

use bytes::Bytes;

use super::format::Reader;
use super::{decode, encode, head};
use crate::builder::{Builder, BuilderOptions};
use crate::damage::{CorruptionPolicy, Damage};
use crate::loki::encode::Form;
use crate::symbols::Interner;
use crate::{Error, Section};

/// An open chunk as Loki writes it to its log when it makes a checkpoint. `FORMAT.md` has the bytes.
///
/// It is for going over from Loki, or back; for a checkpoint of its own a builder has
/// [`checkpoint`](Builder::checkpoint), which compresses nothing and goes for columnar chunks too.
///
/// ```
/// use forebay_chunk::loki::Checkpoint;
/// use forebay_chunk::{Builder, BuilderOptions, Direction, Entry};
///
/// let mut builder = Builder::new(BuilderOptions::default())?;
/// builder.append(Entry::new(1, "a line"))?;
/// let checkpoint = Checkpoint::of(&builder)?;
///
/// let restored = checkpoint.restore(BuilderOptions::default())?;
/// let mut entries = restored.snapshot(..).entries(Direction::Forward);
/// assert_eq!(entries.next()?.unwrap().line, b"a line");
/// # Ok::<(), forebay_chunk::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The blocks that were cut. No chunk that can be opened, but for codec `none` and before version 4.
    pub chunk: Bytes,
    /// The open block.
    pub head: Bytes,
}

impl Checkpoint {
    /// What Loki would write of this builder. Blocks that are sealed are compressed for it, each time.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedVersion`] if the builder makes a columnar chunk.
    pub fn of(builder: &Builder) -> Result<Self, Error> {
        let BuilderOptions { format, codec, .. } = *builder.options();
        if format == crate::Format::Columnar {
            return Err(Error::UnsupportedVersion { version: format.version() });
        }
        let (symbols, blocks) = (builder.symbols(), builder.encoded_blocks());
        let chunk = encode::chunk(format, codec, Form::Checkpoint, symbols, &blocks);
        let mut bytes = Vec::new();
        head::put(&mut bytes, builder.head(), format);
        Ok(Self { chunk, head: bytes.into() })
    }

    /// A builder that goes on where Loki stopped, in the version and codec of the checkpoint. What the open block has twice
    /// is there once in the builder, and nobody is told.
    ///
    /// # Errors
    ///
    /// What [`Builder::new`] has, [`Error::UnsupportedVersion`] for versions that are only read, and every error about
    /// bytes there is, in a block that was cut only when it is read. The limits are those of the options.
    pub fn restore(&self, options: BuilderOptions) -> Result<Builder, Error> {
        self.restore_with(options, CorruptionPolicy::Fail).map(|(builder, _)| builder)
    }

    /// The same where it is the policy to go on without a block that was cut and is damaged, with what was found of damage.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore). The open block is good as a whole or not at all, whatever the policy.
    pub fn restore_with(
        &self,
        options: BuilderOptions,
        policy: CorruptionPolicy,
    ) -> Result<(Builder, Vec<Damage>), Error> {
        let limits = options.limits;
        let parsed = decode::parse(&self.chunk, Form::Checkpoint, &limits, policy)?;
        let (format, codec) = (parsed.format, parsed.codec);
        let corrupt = |what| Error::corrupt(Section::SymbolList, 0, what);
        let symbols = Interner::of(&parsed.symbols).ok_or_else(|| corrupt("a symbol that comes twice"))?;
        let mut builder = Builder::new(BuilderOptions { format, codec, ..options })?.with_symbols(symbols);
        for block in parsed.blocks {
            builder.put_encoded(block);
        }
        let mut reader = Reader::new(&self.head, 0, Section::Checkpoint);
        if !reader.is_empty() {
            builder.put_open(head::take(&mut reader, format, &parsed.symbols, &limits)?);
        }
        if !reader.is_empty() {
            return Err(reader.corrupt(format!("{} bytes behind the open block", reader.rest().len())));
        }
        builder.bound_decoding()?;
        Ok((builder, parsed.damage))
    }
}
