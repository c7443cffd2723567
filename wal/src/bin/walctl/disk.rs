//! A file system that only reads, and shows how far it is.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use forebay_wal::format::{Features, HEADER_LEN, HEADER_USED, Header, HeaderError};
use forebay_wal::fs::{File, Fs, StdFile, StdFs};
use forebay_wal::{Compression, Options};
use indicatif::ProgressBar;

use crate::out::progress;

/// The operating system's files, for reading.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) bar: ProgressBar,
}

/// A file of which each byte that is read moves the bar.
pub(crate) struct ReadOnly {
    file: StdFile,
    bar: ProgressBar,
}

fn refused<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Fs for Disk {
    type File = ReadOnly;
    type Lock = ();

    fn create_new(&self, _: &Path) -> io::Result<ReadOnly> {
        refused()
    }

    fn open(&self, _: &Path) -> io::Result<ReadOnly> {
        refused()
    }

    fn open_read(&self, path: &Path) -> io::Result<ReadOnly> {
        Ok(ReadOnly { file: StdFs.open_read(path)?, bar: self.bar.clone() })
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        StdFs.list(dir)
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn try_lock(&self, _: &Path) -> io::Result<Option<()>> {
        refused()
    }
}

impl File for ReadOnly {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buf, offset)?;
        self.bar.inc(read as u64);
        Ok(read)
    }

    fn write_vectored_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        refused()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    fn sync_all(&self) -> io::Result<()> {
        refused()
    }
}

/// The files of a log's directory.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    /// Number and size of each.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Sizes.
    pub(crate) spares: Vec<u64>,
    pub(crate) quarantined: Vec<u64>,
}

impl Files {
    /// Lists them; a directory without any is no log.
    pub(crate) fn list(dir: &Path) -> io::Result<Self> {
        let cannot = |error: io::Error| named(dir, &error);
        let size = |path: &Path| std::fs::metadata(path).map(|file| file.len());
        let mut files = Self {
            dir: dir.to_path_buf(),
            segments: Vec::new(),
            spares: Vec::new(),
            quarantined: Vec::new(),
        };
        let names = StdFs.list(dir).map_err(cannot)?;
        for name in &names {
            let path = dir.join(name);
            if let Some(number) = segment_number(name) {
                // A truncation may take a file away meanwhile.
                let Ok(file) = std::fs::metadata(&path) else { continue };
                if !file.is_file() {
                    // Opening a pipe would wait for whoever writes to it.
                    return Err(named(&path, &io::Error::new(ErrorKind::InvalidInput, "this is no file")));
                }
                files.segments.push((number, file.len()));
            } else if name.starts_with("spare-") {
                files.spares.extend(size(&path).ok());
            } else if name == "quarantine" {
                let kept = StdFs.list(&path).unwrap_or_default();
                files.quarantined.extend(kept.iter().filter_map(|name| size(&path.join(name)).ok()));
            }
        }
        files.segments.sort_unstable();
        if files.segments.is_empty() && !names.iter().any(|name| name == "LOCK") {
            let none = format!("{} holds no log: it has neither segments nor a lock file", dir.display());
            return Err(io::Error::new(ErrorKind::NotFound, none));
        }
        Ok(files)
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("wal-{number:016x}.seg"))
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, size)| size).sum()
    }

    /// A disk with a bar for reading every segment once.
    pub(crate) fn disk(&self) -> Disk {
        Disk { bar: progress(self.bytes()) }
    }

    /// Options under which an opening makes no more of the log anew than it has to, and a segment that it makes like the
    /// others: the size of segments, the checksum, the alignment and the number of spares are those that are there.
    pub(crate) fn options(&self) -> Options {
        let mut sizes = BTreeMap::new();
        let mut last = None;
        for header in self.headers() {
            *sizes.entry(header.capacity).or_insert(0_usize) += 1;
            last = Some(header);
        }
        // Of two sizes that are as frequent the smaller: a long record gets a segment of its own.
        let usual = sizes.iter().rev().max_by_key(|(_, count)| **count).map(|(size, _)| *size);
        let defaults = Options::default();
        let last = last.unwrap_or_else(|| Header::new([0; 16], 1, 0, defaults.segment_bytes));
        // A later version may align by more than this one does.
        let align = last.commit_align.min(4096);
        let least = HEADER_LEN + 8 * u64::from(align);
        // No records are written here, but there may be later, and compressed.
        let packs = last.features.has(Features::COMPRESSION);
        Options {
            segment_bytes: usual.unwrap_or(defaults.segment_bytes).max(least),
            max_spare_segments: self.spares.len().max(defaults.max_spare_segments),
            checksum: last.checksum,
            commit_align: align,
            compression: if packs { Compression::Snappy } else { Compression::None },
            ..defaults
        }
    }

    /// The headers that can be read, in the order of the segments.
    pub(crate) fn headers(&self) -> impl Iterator<Item = Header> {
        let read = |path: &Path| StdFs.open_read(path).and_then(|file| header(&file)).ok();
        self.segments.iter().filter_map(move |(number, _)| read(&self.path(*number))?.ok())
    }
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".seg")?;
    let number = u64::from_str_radix(digits, 16).ok().filter(|number| *number > 0)?;
    (name == format!("wal-{number:016x}.seg")).then_some(number)
}

/// What the first block of a segment says.
pub(crate) fn header(file: &impl File) -> io::Result<Result<Header, HeaderError>> {
    let mut block = [0; HEADER_USED];
    let mut read = 0;
    while let Some(rest) = block.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(Header::decode(block.get(..read).unwrap_or_default()))
}

/// The error with the path that it concerns.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
