//! The files that are read, each up to where it was read, whatever they are called by now.
//!
//! F1: a file is known by its number and how it begins, so renaming it repeats and loses nothing. F2: a file that was
//! rotated away is read to its end, and until it was quiet for a while, beside the one that took its name. F3: one that
//! was truncated or written anew is read from its start. F4: what was read is whole events ([`Piece`]), and a piece read
//! again gives the same lines at the same times as long as the file has the bytes.

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

/// Bytes read from a file at a time, at least.
const READ_BYTES: usize = 256 << 10;
/// An event of several lines is over when nothing came for this long.
const DUE_AFTER_NS: u64 = 1_000_000_000;
/// A file that lost its name is over when nothing came for this long: whoever writes it may be slow to notice.
const OVER_AFTER_NS: u64 = 5_000_000_000;

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
    first_scan: bool,
    /// Files that were something else when they were left.
    rewritten: BTreeSet<Key>,
}

/// A file, open or read to its end.
#[derive(Debug)]
struct Tail {
    stream: String,
    head: Head,
    offset: u64,
    within: bool,
    len: u64,
    modified: (i64, i64),
    changed_ns: u64,
    /// It lost its name.
    renamed: bool,
    file: Option<File>,
}

impl Tail {
    fn mark(&self, key: Key) -> Mark {
        let Self { head, offset, within, .. } = *self;
        Mark { stream: self.stream.clone(), key, head, offset, within }
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
            first_scan: true,
            rewritten: BTreeSet::new(),
        }
    }

    /// Finds the files that `state` knows, under their names or others in the same directory, and forgets those that
    /// are gone. Files whose names are not `wanted` are remembered and left alone.
    pub fn restore(&mut self, state: &State, now_ns: u64, wanted: impl Fn(&Path) -> bool) {
        self.times = state.streams.clone();
        for mark in &state.files {
            let path = Path::new(&mark.stream);
            let named = disk::named(path).is_ok_and(|seen| seen.key == mark.key);
            let found = if named { Some(path.to_owned()) } else { disk::renamed(path, mark.key) };
            let opened =
                found.and_then(|path| disk::open(&path).ok()).filter(|(_, seen)| seen.key == mark.key);
            let Some((file, seen)) = opened else {
                tracing::info!(file = mark.stream, "a file that was shipped is gone");
                continue;
            };
            let tail = Tail {
                stream: mark.stream.clone(),
                head: mark.head,
                offset: mark.offset,
                within: mark.within,
                len: u64::MAX,
                modified: (0, 0),
                changed_ns: now_ns,
                renamed: !named,
                file: wanted(path).then_some(file),
            };
            self.files.insert(mark.key, tail);
            if self.look_at(mark.key, seen, now_ns) == Verdict::Rewritten {
                self.rewritten.insert(mark.key);
            }
        }
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
            tail.renamed = !named.contains(key);
        }
        self.first_scan = false;
        Ok(())
    }

    /// Takes in the file that has this name now.
    fn name(&mut self, path: &Path, now_ns: u64) -> io::Result<Key> {
        let seen = disk::named(path)?;
        let stream = path.to_string_lossy().into_owned();
        let known = self.files.get(&seen.key);
        match known {
            Some(tail) if tail.file.is_some() || !self.first_scan && tail.offset == seen.len => {}
            Some(tail) => {
                let (file, seen) = disk::open(path)?;
                let head = disk::head(&file, tail.head.len)?;
                if judge(tail.head, tail.offset, seen.len, head) == Verdict::Same {
                    if seen.len > tail.offset {
                        let tail = self.files.get_mut(&seen.key).expect("it was just looked at");
                        (tail.file, tail.changed_ns) = (Some(file), now_ns);
                        self.look_at(seen.key, seen, now_ns);
                    }
                } else {
                    self.open_new(stream, file, seen, now_ns)?;
                }
            }
            None if self.follow => {
                let (file, seen) = disk::open(path)?;
                self.open_new(stream, file, seen, now_ns)?;
            }
            None => {
                // One after the other: they need not all be open at once, but they have to be there.
                disk::open(path)?;
                self.waiting.push_back(path.to_owned());
            }
        }
        Ok(seen.key)
    }

    fn open_new(&mut self, stream: String, file: File, seen: Seen, now_ns: u64) -> io::Result<()> {
        let head = disk::head(&file, u64::MAX)?;
        self.opened += 1;
        tracing::debug!(file = stream, bytes = seen.len, "reading a file");
        let tail = Tail {
            stream,
            head,
            offset: 0,
            within: false,
            len: seen.len,
            modified: seen.modified,
            changed_ns: now_ns,
            renamed: false,
            file: Some(file),
        };
        self.files.insert(seen.key, tail);
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
        tail.renamed |= seen.unlinked;
        if (seen.len, seen.modified) == (tail.len, tail.modified) {
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
            (tail.offset, tail.within) = (0, false);
        }
        if seen.len != tail.len || verdict == Verdict::Rewritten {
            tail.changed_ns = now_ns;
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
        let open = |(&key, tail): (&Key, &Tail)| tail.file.is_some().then_some(key);
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
            (true, true) if tail.renamed && quiet_ns >= OVER_AFTER_NS => End::Closed,
            (true, true) if quiet_ns >= DUE_AFTER_NS => End::Due,
            (true, true) => End::Open,
        };
        let piece =
            Piece { key, from: tail.offset, to: tail.offset, within: tail.within, read_ns: reading.wall_ns };
        let times = self.times.entry(tail.stream.clone()).or_default();
        let cut = load.take(reading, &tail.stream, times, &buffer[..read], piece, end);
        tail.offset += cut.consumed as u64;
        tail.within = cut.within;
        if end == End::Closed && cut.consumed == read {
            tail.file = None;
        }
        reading.buffer = buffer;
        Ok(cut.consumed > 0)
    }

    /// Reads the pieces of a batch again that was under way, so that it is the batch that it was.
    pub fn redo(&mut self, pieces: &[Piece], load: &mut Load, reading: &mut Reading) {
        for piece in pieces {
            let Some(tail) = self.files.get_mut(&piece.key) else { continue };
            let Some(file) = &tail.file else { continue };
            let len = usize::try_from(piece.to.saturating_sub(piece.from)).unwrap_or(usize::MAX);
            let most = reading.joiner.window().max(READ_BYTES).max(reading.batch_bytes);
            if tail.offset != piece.from || len > most || self.rewritten.contains(&piece.key) {
                tracing::warn!(
                    file = tail.stream,
                    "a batch that was under way cannot be repeated: the file was truncated"
                );
                continue;
            }
            let mut bytes = vec![0; len];
            if disk::read_at(file, &mut bytes, piece.from).ok() != Some(len) {
                tracing::warn!(
                    file = tail.stream,
                    "a batch that was under way cannot be repeated: its bytes are gone"
                );
                continue;
            }
            let times = self.times.entry(tail.stream.clone()).or_default();
            reading.wall_ns = piece.read_ns;
            let piece = Piece { to: piece.from, ..*piece };
            let cut = load.take(reading, &tail.stream, times, &bytes, piece, End::Closed);
            tail.offset += cut.consumed as u64;
            tail.within = cut.within;
        }
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

    /// Where the files of a batch stood before it.
    pub fn before(&self, pieces: &[Piece]) -> BTreeMap<Key, Mark> {
        let mut marks = BTreeMap::new();
        for piece in pieces {
            if let Some(tail) = self.files.get(&piece.key) {
                let mark = Mark { offset: piece.from, within: piece.within, ..tail.mark(piece.key) };
                marks.entry(piece.key).or_insert(mark);
            }
        }
        marks
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "logs are files of the operating system")]
mod tests;
