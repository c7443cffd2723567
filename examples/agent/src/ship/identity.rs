//! Which file a name stands for, and whether it still has what was read of it. Names move when logs are rotated, and a
//! number may be given again to another file; so a file is known by its number and by how it begins.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes at the start of a file that tell it from others.
pub const HEAD_BYTES: usize = 256;

/// The number of a file on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
}

/// How a file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many bytes were looked at.
    pub len: u64,
    /// XXH3 of them.
    pub hash: u64,
}

impl Head {
    /// Of a file that begins with `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, hash: xxh3_64(bytes) }
    }
}

/// What a file with a known number turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The file that was read, perhaps longer by now.
    Same,
    /// Truncated, overwritten, or another file under the same number: to be read from its start.
    Rewritten,
}

/// Judges a file that was known to begin with `known` and was read up to `read`; it is `len` bytes long now, and its
/// first bytes, as many as `known` has or it is long, are `head`.
pub fn judge(known: Head, read: u64, len: u64, head: Head) -> Verdict {
    if len < read || head != known { Verdict::Rewritten } else { Verdict::Same }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on a file that held `before`, was read up to `read`, and holds `now`.
    fn told(before: &[u8], read: u64, now: &[u8]) -> Verdict {
        let known = Head::of(&before[..before.len().min(HEAD_BYTES)]);
        let len = usize::try_from(known.len).unwrap();
        judge(known, read, now.len() as u64, Head::of(&now[..now.len().min(len)]))
    }

    #[test]
    fn a_file_is_the_same_as_long_as_it_begins_with_what_was_read() {
        let long = vec![b'x'; 1_000];
        let longer = vec![b'x'; 2_000];
        let other = [vec![b'x'; 255], vec![b'y'; 1_745]].concat();
        for (before, read, now, verdict, why) in [
            (&b"one\n"[..], 4, &b"one\n"[..], Verdict::Same, "nothing happened"),
            (b"one\n", 4, b"one\ntwo\n", Verdict::Same, "it grew"),
            (b"", 0, b"one\n", Verdict::Same, "it was empty"),
            (b"one\n", 0, b"one\ntwo\n", Verdict::Same, "nothing was read yet"),
            (b"one\n", 4, b"", Verdict::Rewritten, "truncated"),
            (b"one\n", 4, b"two", Verdict::Rewritten, "truncated and written again, shorter"),
            (b"one\n", 4, b"two\nthree\n", Verdict::Rewritten, "truncated, and past the old offset already"),
            (
                b"one\n",
                4,
                b"six\n",
                Verdict::Rewritten,
                "the number given to another file of the same length",
            ),
            (b"one\ntwo\n", 4, b"one\n", Verdict::Rewritten, "shorter than when it was seen first"),
            (&long, 1_000, &longer, Verdict::Same, "only the start is compared"),
            (&long, 1_000, &other, Verdict::Rewritten, "and all of it"),
        ] {
            assert_eq!(told(before, read, now), verdict, "{why}");
        }
    }
}
