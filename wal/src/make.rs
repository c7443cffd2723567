//! Making a segment file: durable, with its name, and without frames, before anything names it.
//!
//! The header is durable in the file before the file gets its name, and the name before the segment is handed out, so
//! that whatever a crash leaves under a segment's name is a whole empty segment (I2).

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::directory::{segment_path, spare_path};
use crate::error::{AppendError, Failure};
use crate::format::{Features, Header};
use crate::fs::{File, Fs, write_all, write_zeros};
use crate::home::Home;
use crate::options::Compression;
use crate::segment::{Segment, refusal};

/// Zeros on their way to the media at once: an append whose sync comes meanwhile waits behind them.
const SHARE: u64 = 256 << 10;

/// A segment file that does not have its name yet.
pub(crate) struct Made<F: Fs> {
    segment: Segment<F>,
    /// The name it has until then.
    spare: PathBuf,
}

impl<F: Fs> Made<F> {
    /// A new file: zero-filled, so that later writes change no metadata and need no space. A failure leaves at most a
    /// spare file that the next opening removes.
    pub(crate) fn create(home: &Home<F>, number: u64, capacity: u64) -> Result<Self, AppendError> {
        let spare = spare_path(&home.dir, number);
        let header = header(home, number, capacity, Features::NONE);
        let made = fill(home, &spare, &header);
        Self::named(home, spare, made.map(|file| Segment::unstarted(file, header)))
    }

    /// A file of the pool, still with the frames of its earlier life: only its header is written. Its name as a spare is
    /// durable, so that no crash brings it back as the segment that it was.
    pub(crate) fn renew(
        home: &Home<F>,
        kept: u64,
        (number, capacity): (u64, u64),
    ) -> Result<Self, AppendError> {
        let spare = spare_path(&home.dir, kept);
        let header = header(home, number, capacity, Features::RECYCLED);
        let made = home.fs.open(&spare).and_then(|file| {
            write_all(&file, &mut [IoSlice::new(&header.encode())], 0)?;
            file.sync_data()?;
            Ok(Segment::unstarted(file, header))
        });
        Self::named(home, spare, made)
    }

    fn named(home: &Home<F>, spare: PathBuf, made: io::Result<Segment<F>>) -> Result<Self, AppendError> {
        match made {
            Ok(segment) => Ok(Self { segment, spare }),
            Err(error) => {
                // What stays behind is removed by the next attempt or opening.
                let _ = home.fs.remove(&spare);
                Err(refusal(&error).into())
            }
        }
    }

    /// Gives the file its name, durably. After a failure nobody knows which file the name stands for; any is durable
    /// and empty.
    pub(crate) fn publish(self, home: &Home<F>) -> Result<Segment<F>, AppendError> {
        let path = segment_path(&home.dir, self.segment.number());
        if let Err(error) = home.fs.rename(&self.spare, &path) {
            let _ = home.fs.remove(&self.spare);
            return Err(refusal(&error).into());
        }
        let synced = if cfg!(wal_mutant = "no_dir_fsync") { Ok(()) } else { home.fs.sync_dir(&home.dir) };
        synced.map_err(|cause| AppendError::Indeterminate(Failure::new("syncing the directory", cause)))?;
        Ok(self.segment)
    }
}

fn header<F: Fs>(home: &Home<F>, number: u64, capacity: u64, features: Features) -> Header {
    let plain = home.options.compression == Compression::None;
    let compression = if plain { Features::NONE } else { Features::COMPRESSION };
    Header {
        features: home.features.lock().with(compression).with(features),
        checksum: home.options.checksum,
        commit_align: home.options.commit_align,
        created_unix_ns: home.options.time.unix_ns(),
        label: home.options.label.unwrap_or_default(),
        ..Header::new(home.log_id, number, salt(home), capacity)
    }
}

fn salt<F: Fs>(home: &Home<F>) -> u64 {
    if cfg!(wal_mutant = "no_salt_on_recycle") { 1 } else { home.salts.next() }
}

fn fill<F: Fs>(home: &Home<F>, spare: &Path, header: &Header) -> io::Result<F::File> {
    let file = match home.fs.create_new(spare) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            home.fs.remove(spare)?;
            home.fs.create_new(spare)?
        }
        other => other?,
    };
    file.allocate(header.capacity)?;
    let mut at = 0;
    while header.capacity - at > SHARE && !home.awaited.load(Ordering::Relaxed) {
        write_zeros(&file, at, at + SHARE)?;
        file.sync_data()?;
        at += SHARE;
    }
    write_zeros(&file, at, header.capacity)?;
    write_all(&file, &mut [IoSlice::new(&header.encode())], 0)?;
    if !cfg!(wal_mutant = "header_unsynced") {
        file.sync_all()?;
    }
    Ok(file)
}
