//! Going on after a restart: the files of the last time are found again, and the batch that was under way is read again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use super::super::disk::{self, Seen};
use super::super::identity::{HEAD_BYTES, Key, Verdict, judge};
use super::super::joiner::End;
use super::super::load::{Load, Reading};
use super::super::positions::{Mark, Piece, State};
use super::{READ_BYTES, Tail, Tails};

impl Tails {
    /// Finds the files that `state` knows, under their names or others in the same directory, and forgets those that
    /// are gone. Files whose names are not `wanted` are remembered and left alone.
    pub fn restore(&mut self, state: &State, now_ns: u64, wanted: impl Fn(&Path) -> bool) {
        self.times = state.streams.clone();
        for mark in &state.files {
            let path = Path::new(&mark.stream);
            let (named, found) = match find(mark) {
                found @ Some(_) => (true, found),
                None => (false, find_renamed(mark).or_else(|| find_moved(mark))),
            };
            let Some((file, seen)) = found.filter(|(_, seen)| !self.files.contains_key(&seen.key)) else {
                tracing::info!(file = mark.stream, "a file that was shipped is gone");
                continue;
            };
            let mut tail = Tail {
                len: u64::MAX,
                modified: [0; 4],
                lost_ns: (!named).then_some(now_ns),
                wanted: wanted(path),
                ..Tail::new(mark.clone(), file, seen, now_ns)
            };
            if !tail.wanted {
                tail.file = None;
            }
            self.files.insert(seen.key, tail);
            self.moved.insert(mark.key, seen.key);
            if self.look_at(seen.key, seen, now_ns) == Verdict::Rewritten {
                self.rewritten.insert(seen.key);
            }
        }
    }

    /// Reads the pieces of a batch again that was under way, so that it is the batch that it was.
    pub fn redo(&mut self, pieces: &[Piece], load: &mut Load, reading: &mut Reading) {
        for piece in pieces {
            let key = self.moved.get(&piece.key).copied().unwrap_or(piece.key);
            let Some(tail) = self.files.get_mut(&key) else { continue };
            let Some(file) = &tail.file else { continue };
            let len = usize::try_from(piece.to.saturating_sub(piece.from)).unwrap_or(usize::MAX);
            let most = reading.joiner.window().max(READ_BYTES).max(reading.batch_bytes);
            if tail.offset != piece.from || len > most || self.rewritten.contains(&key) {
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
            let piece = Piece { key, to: piece.from, ..*piece };
            let cut = load.take(reading, &tail.stream, times, &bytes, piece, End::Closed);
            tail.pass(&bytes[..cut.consumed], cut.within);
        }
    }

    /// Where the files of a batch stood before it.
    pub fn before(&self, pieces: &[Piece]) -> BTreeMap<Key, Mark> {
        let mut marks = BTreeMap::new();
        for piece in pieces {
            if let Some(tail) = self.files.get(&piece.key) {
                let Piece { from: offset, within, sum, .. } = *piece;
                let mark = Mark { offset, within, sum, ..tail.mark(piece.key) };
                marks.entry(piece.key).or_insert(mark);
            }
        }
        marks
    }
}

/// The file of a mark under its own name, whatever it holds by now.
fn find(mark: &Mark) -> Option<(File, Seen)> {
    disk::open(Path::new(&mark.stream)).ok().filter(|(_, seen)| seen.key == mark.key)
}

/// The file of a mark under another name. Its number may have been given to a file that has nothing to do with it, so it
/// has to begin as it did, and where that is short, be called alike.
fn find_renamed(mark: &Mark) -> Option<(File, Seen)> {
    let own = Path::new(&mark.stream);
    let path = disk::find(own, |key| key == mark.key)?;
    let (file, seen) = disk::open(&path).ok()?;
    let begins = |name: &OsStr, with: &OsStr| name.as_encoded_bytes().starts_with(with.as_encoded_bytes());
    let told = mark.head.len == HEAD_BYTES as u64 || begins(path.file_name()?, own.file_stem()?);
    (told && is_same(mark, &file, seen)).then_some((file, seen))
}

/// The file of a mark whose file system has another number since: after a boot, or where a container was started anew.
/// Its own number may be another too; then it has to have its name, and all of the head to be told by.
fn find_moved(mark: &Mark) -> Option<(File, Seen)> {
    let moved = |path: &Path| disk::open(path).ok().filter(|(_, seen)| seen.key.device != mark.key.device);
    let same = |(file, seen): &(File, Seen)| is_same(mark, file, *seen);
    let own = Path::new(&mark.stream);
    let numbered =
        disk::find(own, |key| key.inode == mark.key.inode).and_then(|path| moved(&path)).filter(same);
    numbered.or_else(|| moved(own).filter(|_| mark.head.len == HEAD_BYTES as u64).filter(same))
}

fn is_same(mark: &Mark, file: &File, seen: Seen) -> bool {
    let head = disk::head(file, mark.head.len).ok();
    head.is_some_and(|head| judge(mark.head, mark.offset, seen.len, head) == Verdict::Same)
}
