//! Copies that logs leave behind which are truncated in place, as by `copytruncate`: files that came, of whose lines most
//! were read under the log's own name. One is told by its name, by how it begins, and by a checksum of all that was
//! read of the log; it is read on where the log was, in the log's stream.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;

use super::super::disk::{self, Seen};
use super::super::identity::{HEAD_BYTES, Head, Key};
use super::super::positions::Mark;
use super::{READ_BYTES, Tail, Tails};

/// How long a file that begins like a log is left alone: the copy is made before the log is truncated.
const DOUBT_NS: u64 = 10_000_000_000;

/// Truncations that are remembered.
const MOST_TRUNCATED: usize = 1000;

/// Where a file that came has its lines from.
#[derive(Debug)]
pub(super) enum Origin {
    /// They are its own.
    Own,
    /// They were read up to this mark.
    Copy(Mark),
    /// It may be a copy, and is left alone for now.
    Doubtful,
}

/// What logs were before they were truncated, and since when which files may be copies.
#[derive(Debug, Default)]
pub(super) struct Copies {
    truncated: VecDeque<Mark>,
    doubtful: BTreeMap<Key, u64>,
    /// Something was read that is not settled. If it were lost with a crash, a copy would be the only one to have it.
    pub(super) wait: bool,
}

impl Copies {
    /// Remembers what a log was that is read from its start from now on.
    pub(super) fn expect(&mut self, mark: Mark) {
        if mark.sum.is_some() && mark.head.len == HEAD_BYTES as u64 {
            self.truncated.truncate(MOST_TRUNCATED - 1);
            self.truncated.push_front(mark);
        }
    }

    /// The logs of which the file that came under the name `path` may be a copy, each with its place.
    fn logs_of(&self, path: &Path, seen: Seen, head: Head) -> impl Iterator<Item = (usize, &Mark)> {
        let logs = self.truncated.iter().enumerate();
        logs.filter(move |(_, log)| {
            head == log.head && seen.len >= log.offset && may_be_copy(Path::new(&log.stream), path)
        })
    }
}

impl Tails {
    /// Where the file that came under the name `path` has its lines from.
    pub(super) fn origin(&mut self, path: &Path, file: &File, seen: Seen, now_ns: u64) -> io::Result<Origin> {
        let head = disk::head(file, u64::MAX)?;
        let mut copied = None;
        for (place, log) in self.copies.logs_of(path, seen, head) {
            if self.copies.wait {
                return Ok(Origin::Doubtful);
            }
            if Some(sum_of(file, log.offset)?) == log.sum {
                copied = Some(place);
                break;
            }
        }
        // There is one only.
        if let Some(mark) = copied.and_then(|place| self.copies.truncated.remove(place)) {
            self.copies.doubtful.remove(&seen.key);
            return Ok(Origin::Copy(mark));
        }
        self.copies.doubtful.retain(|_, since_ns| now_ns.saturating_sub(*since_ns) < 2 * DOUBT_NS);
        if self.files.values().any(|log| log.begins(path, head)) {
            let since_ns = *self.copies.doubtful.entry(seen.key).or_insert(now_ns);
            if now_ns.saturating_sub(since_ns) < DOUBT_NS {
                return Ok(Origin::Doubtful);
            }
        }
        self.copies.doubtful.remove(&seen.key);
        Ok(Origin::Own)
    }

    /// Reads on where the log was.
    pub(super) fn open_copy(&mut self, mark: Mark, file: File, seen: Seen, now_ns: u64) {
        let Mark { stream, offset, .. } = &mark;
        tracing::info!(file = stream, read = offset, bytes = seen.len, "found the copy of a truncated file");
        self.opened += 1;
        let tail = Tail { lost_ns: Some(now_ns), ..Tail::new(mark, file, seen, now_ns) };
        self.files.insert(seen.key, tail);
    }
}

impl Tail {
    /// Whether a file that begins with `head` begins as this one does, and has the name of a copy of it.
    fn begins(&self, path: &Path, head: Head) -> bool {
        let Some(own) = self.file.as_ref().filter(|_| self.head.len == HEAD_BYTES as u64) else {
            return false;
        };
        may_be_copy(Path::new(&self.stream), path)
            && (head == self.head || head.len < self.head.len && disk::head(own, head.len).ok() == Some(head))
    }
}

/// Whether a copy of `log` may be called `name`: `app.log.1`, `app.log-20300101` or `app-20300101.log` of `app.log`.
fn may_be_copy(log: &Path, name: &Path) -> bool {
    let Some(name) = name.file_name().map(|name| name.as_encoded_bytes()) else { return false };
    [log.file_name(), log.file_stem()].into_iter().flatten().any(|begin| {
        let rest = name.strip_prefix(begin.as_encoded_bytes());
        rest.and_then(|rest| rest.first()).is_some_and(|next| b".-_".contains(next))
    }) && Some(name) != log.file_name().map(|name| name.as_encoded_bytes())
}

/// The checksum of the first `len` bytes, or of all where there are fewer.
fn sum_of(file: &File, len: u64) -> io::Result<u32> {
    let (mut sum, mut at, mut buffer) = (0, 0, vec![0; READ_BYTES]);
    while at < len {
        let most = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = disk::read_at(file, &mut buffer[..most], at)?;
        if read == 0 {
            break;
        }
        sum = crc32c::crc32c_append(sum, &buffer[..read]);
        at += read as u64;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_called_after_their_logs() {
        let may = |log: &str, name: &str| may_be_copy(Path::new(log), Path::new(name));
        for name in ["app.log.1", "app.log-20300101", "app.log_old", "app-20300101.log", "app.1.log"] {
            assert!(may("/var/log/app.log", &format!("/var/log/{name}")), "{name}");
        }
        for name in ["app.log", "app", "apple.log", "other.log", "app2.log", "log.1"] {
            assert!(!may("/var/log/app.log", &format!("/var/log/{name}")), "{name}");
        }
        assert!(may("syslog", "syslog.1") && !may("syslog", "syslog"));
    }
}
