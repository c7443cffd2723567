//! What an instance remembers of itself over a restart. Invariant: a file that belongs to somebody else, or that
//! cannot be read, is told as such and never taken for a missing one: new tokens would move stored data.
//!
//! The record is of kind `F` in the format of [`codec`](crate::codec); its body is id text ≤ 255, zone text ≤ 255,
//! epoch varint, list of tokens, incarnation varint, read-only `u8` 0 or 1, its change signed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::codec::{DecodeError, EncodeError, Kind, MAX_NAME_BYTES, open, put_tokens, seal, take_tokens};
use crate::disk::{Disk, replace};
use crate::instance::ReadOnly;
use crate::token::TokenSet;

/// No file that [`TokenFile::save`] writes is longer: 65,536 tokens of up to 5 bytes and the rest.
pub const MAX_FILE_BYTES: usize = 1 << 19;

/// The tokens of an instance and what else must not be lost with its process.
///
/// ```
/// use std::path::Path;
/// use forebay_ring::disk::MemoryDisk;
/// use forebay_ring::token_file::{Loaded, TokenFile};
/// use forebay_ring::ReadOnly;
///
/// let (disk, path) = (MemoryDisk::default(), Path::new("/tokens"));
/// let file = TokenFile {
///     id: "ingester-0".into(),
///     zone: "zone-a".into(),
///     epoch: 0,
///     tokens: vec![10, 20].into(),
///     incarnation: 1,
///     read_only: ReadOnly::default(),
/// };
/// file.save(&disk, path)?;
/// assert_eq!(TokenFile::load(&disk, path, "ingester-0")?, Loaded::Mine(file));
/// // A volume that was copied to another instance does not make it claim these tokens.
/// let foreign = TokenFile::load(&disk, path, "ingester-1")?;
/// assert_eq!(foreign, Loaded::Foreign { owner: "ingester-0".into() });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    /// Whose it is.
    pub id: Arc<str>,
    /// The zone it was in.
    pub zone: Arc<str>,
    /// Counts the sets of tokens the instance has had.
    pub epoch: u64,
    /// The tokens of that epoch.
    pub tokens: TokenSet,
    /// The incarnation that wrote this.
    pub incarnation: u64,
    /// The flag and its stamp, which a ring that is lost loses. (When the instance joined is not here: to a ring that
    /// was lost it joins anew.)
    pub read_only: ReadOnly,
}

/// What was found where the file should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// Nothing: a first start, or a volume that is new.
    Absent,
    /// The instance's own.
    Mine(TokenFile),
    /// That of another instance: a volume was copied or mounted to the wrong one.
    Foreign {
        /// Whose.
        owner: Arc<str>,
    },
    /// Bytes that are no such file.
    Broken(DecodeError),
}

/// Why the file is not known to be saved.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Shorten what is too long. The file there is as it was.
    #[error("token file cannot be written")]
    Encode(#[from] EncodeError),
    /// Try again, or look after the disk. The new content may be there after all.
    #[error("token file is not saved")]
    Io(#[from] io::Error),
}

impl TokenFile {
    /// Reads the file at `path` as the instance `id`.
    ///
    /// # Errors
    ///
    /// If the disk cannot be read, which says nothing about the file.
    pub fn load(disk: &dyn Disk, path: &Path, id: &str) -> io::Result<Loaded> {
        let bytes = match disk.read(path, MAX_FILE_BYTES) {
            Ok(None) => return Ok(Loaded::Absent),
            Ok(Some(bytes)) => bytes,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let (found, max) = (MAX_FILE_BYTES as u64 + 1, MAX_FILE_BYTES);
                return Ok(Loaded::Broken(DecodeError::TooLong { what: "token file", found, max }));
            }
            Err(error) => return Err(error),
        };
        Ok(match Self::decode(&bytes) {
            Ok(file) if *file.id == *id => Loaded::Mine(file),
            Ok(file) => Loaded::Foreign { owner: file.id },
            Err(error) => Loaded::Broken(error),
        })
    }

    /// Puts this in the place of the file at `path`, whose directory exists; durable when it returns. A crash
    /// leaves the old file or this one. Of two that save at once one may fail: hold [`Disk::lock`] where that may be.
    ///
    /// # Errors
    ///
    /// If an id, a zone or the number of tokens is above its limit, or the disk fails.
    pub fn save(&self, disk: &dyn Disk, path: &Path) -> Result<(), SaveError> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes)?;
        Ok(replace(disk, path, &bytes)?)
    }

    /// Appends the bytes of the file.
    ///
    /// # Errors
    ///
    /// If an id, a zone or the number of tokens is above its limit; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        seal(Kind::TokenFile, out, |writer| {
            writer.text("id", &self.id, MAX_NAME_BYTES)?;
            writer.text("zone", &self.zone, MAX_NAME_BYTES)?;
            writer.varint(self.epoch);
            put_tokens(writer, &self.tokens)?;
            writer.varint(self.incarnation);
            writer.byte(self.read_only.enabled.into());
            writer.signed(self.read_only.changed_at_ns);
            Ok(())
        })
    }

    /// Reads the bytes of the file.
    ///
    /// # Errors
    ///
    /// If they are no such file of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(Kind::TokenFile, bytes)?;
        let file = Self {
            id: reader.text("id", MAX_NAME_BYTES)?.into(),
            zone: reader.text("zone", MAX_NAME_BYTES)?.into(),
            epoch: reader.varint("epoch")?,
            tokens: take_tokens(&mut reader)?,
            incarnation: reader.varint("incarnation")?,
            read_only: ReadOnly {
                enabled: reader.flag("read-only flag")?,
                changed_at_ns: reader.signed("read-only change")?,
            },
        };
        reader.finish()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemoryDisk, Survive};

    fn file(incarnation: u64) -> TokenFile {
        TokenFile {
            id: "ingester-0".into(),
            zone: "zone-a".into(),
            epoch: 2,
            tokens: vec![5, 70_000, u32::MAX].into(),
            incarnation,
            read_only: ReadOnly { enabled: true, changed_at_ns: 9 },
        }
    }

    fn path() -> &'static Path {
        Path::new("/ring/tokens")
    }

    fn disk() -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.create_dir(Path::new("/ring")).unwrap();
        disk
    }

    #[test]
    fn a_file_of_version_1_stays_readable_and_is_written_so() {
        let mut bytes = Vec::new();
        file(3).encode(&mut bytes).unwrap();
        assert_eq!(bytes, include_bytes!("../tests/golden/codec/v1-file.bin"));
        assert_eq!(TokenFile::decode(&bytes), Ok(file(3)));
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_file_or_the_new_one() {
        let mut outcomes = Vec::new();
        for crash in 0..4 {
            for survive in Survive::ALL {
                let disk = disk();
                file(1).save(&disk, path()).unwrap();
                disk.crash_at(crash);
                let saved = file(2).save(&disk, path()).is_ok();
                let Loaded::Mine(found) =
                    TokenFile::load(&disk.restart(survive), path(), "ingester-0").unwrap()
                else {
                    panic!("crash at {crash}, {survive:?}");
                };
                assert!(found == file(2) || (!saved && found == file(1)));
                outcomes.push((saved, found.incarnation));
            }
        }
        for outcome in [(false, 1), (false, 2), (true, 2)] {
            assert!(outcomes.contains(&outcome), "{outcome:?} never happened");
        }
    }

    #[test]
    fn what_is_not_ones_own_file_is_told_apart_from_none() {
        let disk = disk();
        assert_eq!(TokenFile::load(&disk, path(), "ingester-0").unwrap(), Loaded::Absent);
        file(1).save(&disk, path()).unwrap();
        let foreign = TokenFile::load(&disk, path(), "ingester-1").unwrap();
        assert_eq!(foreign, Loaded::Foreign { owner: "ingester-0".into() });
        disk.write_synced(path(), b"{\"tokens\":[1,2,3]}").unwrap();
        let broken = TokenFile::load(&disk, path(), "ingester-0").unwrap();
        assert!(matches!(broken, Loaded::Broken(DecodeError::Checksum { .. })));
        disk.write_synced(path(), &vec![0; MAX_FILE_BYTES + 1]).unwrap();
        let broken = TokenFile::load(&disk, path(), "ingester-0").unwrap();
        assert!(matches!(broken, Loaded::Broken(DecodeError::TooLong { .. })));
        disk.crash_at(0);
        disk.remove(path()).unwrap_err();
        TokenFile::load(&disk, path(), "ingester-0").unwrap_err();
    }

    #[test]
    fn the_largest_file_is_read_back() {
        let tokens = (0..65_536).map(|n| n * 65_535).collect();
        let file = TokenFile { tokens, id: "x".repeat(255).into(), ..file(u64::MAX) };
        let disk = disk();
        file.save(&disk, path()).unwrap();
        let Loaded::Mine(found) = TokenFile::load(&disk, path(), &file.id).unwrap() else { panic!() };
        assert_eq!(found, file);
        let crowded = TokenFile { tokens: (0..65_537).collect(), ..file };
        assert!(matches!(crowded.save(&disk, path()), Err(SaveError::Encode(_))));
    }
}
