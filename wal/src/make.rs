//! Making a segment file: durable, with its name, and without frames, before anything names it.
//!
//! The header is durable in the file before the file gets its name, and the name before the segment is handed out, so
//! that whatever a crash leaves under a segment's name is a whole empty segment (I2).

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::directory::{segment_path, spare_path};
use crate::error::{AppendError, Failure};
use crate::format::{Features, HEADER_LEN, Header};
use crate::fs::{File, Fs, write_all, write_zeros};
use crate::home::Home;
use crate::options::Compression;
use crate::segment::Segment;

/// Zeros on their way to the media at once: an append whose sync comes meanwhile waits behind them.
const SHARE: u64 = 256 << 10;

/// A new file that is being filled with zeros, so that later writes change no metadata and need no space.
pub(crate) struct Making<F: Fs> {
    file: F::File,
    spare: PathBuf,
    number: u64,
    capacity: u64,
    /// Zeros up to here are on the media.
    filled: u64,
}

impl<F: Fs> Making<F> {
    /// A failure leaves at most a spare file that the next opening removes.
    pub(crate) fn create(home: &Home<F>, number: u64, capacity: u64) -> Result<Self, AppendError> {
        let spare = spare_path(&home.dir, number);
        let file = match home.fs.create_new(&spare) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                home.fs.remove(&spare).and_then(|()| home.fs.create_new(&spare))
            }
            other => other,
        };
        let made = file.and_then(|file| file.allocate(capacity).map(|()| file));
        let file = or_removed(home, (&spare, capacity), made)?;
        Ok(Self { file, spare, number, capacity, filled: 0 })
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether what is missing is one share at most.
    pub(crate) fn is_almost_done(&self) -> bool {
        self.capacity - self.filled <= SHARE
    }

    /// Brings some more zeros to the media.
    pub(crate) fn share(mut self, home: &Home<F>) -> Result<Self, AppendError> {
        let upto = self.capacity.min(self.filled + SHARE);
        let shared = write_zeros(&self.file, self.filled, upto).and_then(|()| self.file.sync_data());
        or_removed(home, (&self.spare, upto - self.filled), shared)?;
        self.filled = upto;
        Ok(self)
    }

    /// All that is missing, at once.
    pub(crate) fn finish(self, home: &Home<F>) -> Result<Made<F>, AppendError> {
        let Self { file, spare, number, capacity, filled } = self;
        let header = header(home, number, capacity, Features::NONE);
        let made = write_zeros(&file, filled, capacity)
            .and_then(|()| write_all(&file, &mut [IoSlice::new(&header.encode())], 0))
            .and_then(|()| if cfg!(wal_mutant = "header_unsynced") { Ok(()) } else { file.sync_all() });
        or_removed(home, (&spare, capacity - filled), made)?;
        Ok(Made { segment: Segment::unstarted(file, header), spare })
    }

    /// It is not wanted any more. Where removing it fails the next opening does.
    pub(crate) fn abandon(self, home: &Home<F>) {
        let _ = home.fs.remove(&self.spare);
    }
}

/// A segment file that does not have its name yet.
pub(crate) struct Made<F: Fs> {
    segment: Segment<F>,
    /// The name it has until then.
    spare: PathBuf,
}

impl<F: Fs> Made<F> {
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
        let segment = or_removed(home, (&spare, HEADER_LEN), made)?;
        Ok(Self { segment, spare })
    }

    /// Gives the file its name, durably. After a failure nobody knows which file the name stands for; any is durable
    /// and empty.
    pub(crate) fn publish(self, home: &Home<F>) -> Result<Segment<F>, AppendError> {
        let path = segment_path(&home.dir, self.segment.number());
        or_removed(home, (&self.spare, 0), home.fs.rename(&self.spare, &path))?;
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

/// What came of a step of so many bytes towards a segment, whose file goes where that failed.
fn or_removed<F: Fs, T>(
    home: &Home<F>,
    (spare, bytes): (&Path, u64),
    made: io::Result<T>,
) -> Result<T, AppendError> {
    made.map_err(|error| {
        // What stays behind is removed by the next attempt or opening.
        let _ = home.fs.remove(spare);
        home.refusal(&error, bytes).into()
    })
}
