//! The files that are read, each up to where it was read, whatever they are called by now.
//!
//! F1: a file is known by its number and how it begins, so renaming it repeats and loses nothing. F2: a file that was
//! rotated away is read beside the one that took its name, until it is gone and quiet, or quiet for long (`gone`). F3: one that
//! was truncated or written anew is read from its start, and a copy that it left from where it was read (`copies`). F4: what was read is whole events ([`Piece`]), and a piece read
//! again gives the same lines at the same times as long as the file has the bytes.

mod copies;
mod gone;
mod resume;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{self, Seen};
use super::identity::{HEAD_BYTES, Head, Key, Verdict, judge};
use super::joiner::End;
use super::load::{Load, Reading};
use super::positions::{Mark, Piece, State};
use super::times::Times;

use copies::{Copies, Origin};

/// Bytes read from a file at a time, at least.
const READ_BYTES: usize = 256 << 10;
/// An event of several lines is over when nothing came for this long.
const DUE_AFTER_NS: u64 = 1_000_000_000;

/// How often files that are followed are to be looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The files.
#[derive(Debug)]
pub struct Tails {
    follow: bool,
    files: BTreeMap<Key, Tail>,
    times: BTreeMap<String, Times>,
    /// Files to be read once the ones before them are.
    waiting: VecDeque<PathBuf>,
    /// The file whose turn it was last.
    last: Option<Key>,
    opened: u64,
    told: BTreeSet<PathBuf>,
    /// Files that were something else when they were left.
    rewritten: BTreeSet<Key>,
    copies: Copies,
    /// The numbers that files have since the restart.
    moved: BTreeMap<Key, Key>,
    swept_ns: u64,
}

/// A file, open or read to its end.
#[derive(Debug)]
struct Tail {
    stream: String,
    head: Head,
    offset: u64,
    within: bool,
    /// CRC-32C of all that was read, where it is known.
    sum: Option<u32>,
    len: u64,
    modified: [i64; 4],
    changed_ns: u64,
    /// Since when it has lost its name.
    lost_ns: Option<u64>,
    /// It has no other either.
    unlinked: bool,
    /// It was read to its end, and nothing more is expected.
    over: bool,
    /// It is to be read where there is more.
    wanted: bool,
    file: Option<File>,
}

impl Tail {
    /// A file that is read from `mark` on.
    fn new(mark: Mark, file: File, seen: Seen, now_ns: u64) -> Self {
        let Mark { stream, head, offset, within, sum, .. } = mark;
        Self {
            stream,
            head,
            offset,
            within,
            sum,
            len: seen.len,
            modified: seen.modified,
            changed_ns: now_ns,
            lost_ns: None,
            unlinked: false,
            over: false,
            wanted: true,
            file: Some(file),
        }
    }

    fn mark(&self, key: Key) -> Mark {
        let Self { head, offset, within, sum, .. } = *self;
        Mark { stream: self.stream.clone(), key, head, offset, within, sum }
    }

    /// Goes on behind `bytes`, which are settled with the batch they are in.
    fn pass(&mut self, bytes: &[u8], within: bool) {
        self.offset += bytes.len() as u64;
        self.sum = self.sum.map(|sum| crc32c::crc32c_append(sum, bytes));
        self.within = within;
    }

    /// Whether nothing happened since it was `seen`.
    fn has(&self, seen: Seen) -> bool {
        (self.len, self.modified) == (seen.len, seen.modified)
    }

    /// Whether it is the file that has this name and number now, although it was not open meanwhile.
    fn is_same(&self, path: &Path, file: &File, seen: Seen) -> io::Result<bool> {
        let told = Path::new(&self.stream) == path || self.head.len == HEAD_BYTES as u64;
        let head = disk::head(file, self.head.len)?;
        Ok(told && judge(self.head, self.offset, seen.len, head) == Verdict::Same)
    }
}

/// A file cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Bytes of it that were read.
    pub offset: u64,
    /// What happened.
    pub source: io::Error,
}

impl Unreadable {
    pub(super) fn tell(&self) {
        let Self { path, offset, source } = self;
        tracing::warn!(file = %path.display(), read = offset, %source, "file cannot be read");
    }
}

impl Tails {
    /// No files yet; `follow` says whether they are waited upon at their end.
    pub fn new(follow: bool) -> Self {
        Self {
            follow,
            files: BTreeMap::new(),
            times: BTreeMap::new(),
            waiting: VecDeque::new(),
            last: None,
            opened: 0,
            told: BTreeSet::new(),
            rewritten: BTreeSet::new(),
            copies: Copies::default(),
            moved: BTreeMap::new(),
            swept_ns: 0,
        }
    }

    /// Says whether all that was read is settled: copies of truncated files are taken in only then.
    pub fn settled(&mut self, all: bool) {
        self.copies.wait = !all;
    }

    /// Takes the files of these names in, those that are not known yet from their start.
    ///
    /// # Errors
    /// The first that cannot be opened, unless files are followed: then it is tried again the next time.
    pub fn scan(&mut self, paths: &BTreeSet<PathBuf>, now_ns: u64) -> Result<(), Unreadable> {
        let mut named = BTreeSet::new();
        for path in paths {
            match self.name(path, now_ns) {
                // Another name than its own is one that a pattern matches after a rotation, or a link.
                Ok(key) if self.files.get(&key).is_some_and(|tail| Path::new(&tail.stream) == path) => {
                    named.insert(key);
                }
                Ok(_) => {}
                Err(source) if self.follow => {
                    if self.told.insert(path.clone()) {
                        tracing::warn!(file = %path.display(), %source, "file cannot be read, it is tried again");
                    }
                }
                Err(source) => return Err(Unreadable { path: path.clone(), offset: 0, source }),
            }
        }
        for (key, tail) in &mut self.files {
            if !named.contains(key) {
                tail.lost_ns.get_or_insert(now_ns);
            } else if !tail.unlinked {
                tail.lost_ns = None;
            }
        }
        self.sweep(now_ns);
        Ok(())
    }

    /// Takes in the file that has this name now.
    fn name(&mut self, path: &Path, now_ns: u64) -> io::Result<Key> {
        let seen = disk::named(path)?;
        let known = self.files.get(&seen.key);
        // As long as it is open, its number is no other's; closed, it may be.
        if known.is_some_and(|tail| tail.file.is_some() || tail.has(seen)) {
            return Ok(seen.key);
        }
        let (file, seen) = disk::open(path)?;
        match self.files.get_mut(&seen.key) {
            Some(tail) if tail.file.is_some() => {}
            Some(tail) if tail.is_same(path, &file, seen)? => {
                if seen.len > tail.offset {
                    (tail.file, tail.changed_ns) = (Some(file), now_ns);
                    self.look_at(seen.key, seen, now_ns);
                } else {
                    (tail.len, tail.modified) = (seen.len, seen.modified);
                }
            }
            // One after the other: they need not all be open at once, but they have to be there.
            None if !self.follow => self.waiting.push_back(path.to_owned()),
            None => match self.origin(path, &file, seen, now_ns)? {
                Origin::Own => self.open_new(path.to_string_lossy().into_owned(), file, seen, now_ns)?,
                Origin::Copy(mark) => self.open_copy(mark, file, seen, now_ns),
                Origin::Doubtful => {}
            },
            Some(_) => self.open_new(path.to_string_lossy().into_owned(), file, seen, now_ns)?,
        }
        Ok(seen.key)
    }

    fn open_new(&mut self, stream: String, file: File, seen: Seen, now_ns: u64) -> io::Result<()> {
        let head = disk::head(&file, u64::MAX)?;
        self.opened += 1;
        tracing::debug!(file = stream, bytes = seen.len, "reading a file");
        let mark = Mark { stream, key: seen.key, head, offset: 0, within: false, sum: Some(0) };
        self.files.insert(seen.key, Tail::new(mark, file, seen, now_ns));
        Ok(())
    }

    /// Looks how long the open files are, and whether they are what they were.
    ///
    /// # Errors
    /// The first that cannot be looked at; it is closed then.
    pub fn look(&mut self, now_ns: u64) -> Result<(), Unreadable> {
        let open = self.files.iter().filter_map(|(&key, tail)| Some((key, disk::look(tail.file.as_ref()?))));
        for (key, seen) in open.collect::<Vec<_>>() {
            match seen {
                Ok(seen) => _ = self.look_at(key, seen, now_ns),
                Err(source) => return Err(self.close_broken(key, source)),
            }
        }
        Ok(())
    }

    fn look_at(&mut self, key: Key, seen: Seen, now_ns: u64) -> Verdict {
        let Some(tail) = self.files.get_mut(&key) else { return Verdict::Same };
        let Some(file) = &tail.file else { return Verdict::Same };
        if seen.unlinked && !tail.unlinked {
            (tail.unlinked, tail.lost_ns) = (true, Some(now_ns));
        }
        if tail.has(seen) {
            return Verdict::Same;
        }
        let known = disk::head(file, tail.head.len).unwrap_or(tail.head);
        let verdict = judge(tail.head, tail.offset, seen.len, known);
        if verdict == Verdict::Rewritten {
            tracing::warn!(
                file = tail.stream,
                read = tail.offset,
                bytes = seen.len,
                "file was truncated, read from its start"
            );
            self.copies.expect(tail.mark(key));
            (tail.offset, tail.within, tail.sum) = (0, false, Some(0));
        }
        if seen.len != tail.len || verdict == Verdict::Rewritten {
            (tail.changed_ns, tail.over) = (now_ns, false);
        }
        if tail.head.len < HEAD_BYTES as u64 || verdict == Verdict::Rewritten {
            tail.head = disk::head(file, u64::MAX).unwrap_or(tail.head);
        }
        (tail.len, tail.modified) = (seen.len, seen.modified);
        verdict
    }

    fn close_broken(&mut self, key: Key, source: io::Error) -> Unreadable {
        let tail = self.files.get_mut(&key).expect("it was just looked at");
        tail.file = None;
        Unreadable { path: PathBuf::from(&tail.stream), offset: tail.offset, source }
    }

    /// Reads what there is into `load` until that is full, one file after the other.
    ///
    /// # Errors
    /// The first that cannot be read; it is closed then, and what was read stays in `load`.
    pub fn fill(&mut self, load: &mut Load, reading: &mut Reading, now_ns: u64) -> Result<(), Unreadable> {
        loop {
            if self.files.values().all(|tail| tail.file.is_none()) && !self.open_waiting(now_ns)? {
                return Ok(());
            }
            let mut read = false;
            for key in self.turns() {
                if load.is_full(reading) {
                    return Ok(());
                }
                read |= self.read(key, load, reading, now_ns)?;
                self.last = Some(key);
            }
            if !read && (self.follow || self.waiting.is_empty()) {
                return Ok(());
            }
        }
    }

    /// The open files, that after the last one first.
    fn turns(&self) -> Vec<Key> {
        let open = |(&key, tail): (&Key, &Tail)| (tail.file.is_some() && !tail.over).then_some(key);
        let mut keys = self.files.iter().filter_map(open).collect::<Vec<_>>();
        let next = keys.partition_point(|&key| Some(key) <= self.last);
        keys.rotate_left(next);
        keys
    }

    fn open_waiting(&mut self, now_ns: u64) -> Result<bool, Unreadable> {
        let Some(path) = self.waiting.pop_front() else { return Ok(false) };
        let stream = path.to_string_lossy().into_owned();
        let opened = disk::open(&path).and_then(|(file, seen)| self.open_new(stream, file, seen, now_ns));
        opened.map_err(|source| Unreadable { path, offset: 0, source })?;
        Ok(true)
    }

    /// Reads from one file; whether there was something.
    fn read(
        &mut self,
        key: Key,
        load: &mut Load,
        reading: &mut Reading,
        now_ns: u64,
    ) -> Result<bool, Unreadable> {
        let Some(tail) = self.files.get_mut(&key) else { return Ok(false) };
        let Some(file) = &tail.file else { return Ok(false) };
        let mut buffer = std::mem::take(&mut reading.buffer);
        buffer.resize(reading.joiner.window().max(READ_BYTES), 0);
        let outcome = disk::read_at(file, &mut buffer, tail.offset);
        let read = match outcome {
            Ok(read) => read,
            Err(source) => return Err(self.close_broken(key, source)),
        };
        let at_end = read < buffer.len();
        let quiet_ns = now_ns.saturating_sub(tail.changed_ns);
        let end = match (at_end, self.follow) {
            (false, _) => End::Open,
            (true, false) => End::Closed,
            (true, true) if tail.is_over(now_ns) => End::Closed,
            (true, true) if quiet_ns >= DUE_AFTER_NS => End::Due,
            (true, true) => End::Open,
        };
        let piece = Piece {
            key,
            from: tail.offset,
            to: tail.offset,
            within: tail.within,
            sum: tail.sum,
            read_ns: reading.wall_ns,
        };
        let times = self.times.entry(tail.stream.clone()).or_default();
        let cut = load.take(reading, &tail.stream, times, &buffer[..read], piece, end);
        tail.pass(&buffer[..cut.consumed], cut.within);
        if end == End::Closed && cut.consumed == read {
            match self.follow {
                true => tail.over = true,
                false => tail.file = None,
            }
        }
        reading.buffer = buffer;
        Ok(cut.consumed > 0)
    }

    /// Whether there will never be more.
    pub fn is_done(&self) -> bool {
        !self.follow && self.waiting.is_empty() && self.files.values().all(|tail| tail.file.is_none())
    }

    /// Files that were opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Bytes that are known of and were not read.
    pub fn bytes_left(&self) -> u64 {
        let waiting = self.waiting.iter().filter_map(|path| disk::named(path).ok()).map(|seen| seen.len);
        let open = self.files.values().filter(|tail| tail.file.is_some());
        open.map(|tail| tail.len.saturating_sub(tail.offset)).chain(waiting).sum()
    }

    /// Up to where each file was read.
    pub(super) fn marks(&self) -> impl Iterator<Item = Mark> {
        self.files.iter().map(|(&key, tail)| tail.mark(key))
    }

    /// Up to where everything was read.
    pub fn state(&self) -> State {
        State { files: self.marks().collect(), streams: self.times.clone(), ..State::default() }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "logs are files of the operating system")]
mod tests;
