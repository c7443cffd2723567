//! What is asked of chunks, each time of chunks that were not opened yet: one second of two hours, the lines that have a
//! text, and how many lines there are by steps of time.

use std::hint::black_box;
use std::num::NonZeroU64;

use bytes::Bytes;
use forebay_chunk::{Chunk, Direction, Limits, LineFilter, ReadStats, TimeRange};

use crate::contender::{Stored, read};
use crate::set::Set;

/// Texts of no line: a word, part of a word, and digits.
pub(crate) const ABSENT: [(&str, &str); 3] =
    [("a word", " zqxwvut="), ("part of one", "zqxwvut"), ("digits", "98765431987")];

pub(crate) fn wanting(text: impl AsRef<[u8]>) -> LineFilter {
    LineFilter::new().any_of([text])
}

/// Up to three texts that about one in a hundred lines has.
pub(crate) fn rare(set: &Set) -> Vec<Vec<u8>> {
    let lines = &set.lines;
    let mut found = Vec::<Vec<u8>>::new();
    for n in 0..4000 {
        let line = &lines[n * 7919 % lines.len()];
        let start = n * 31 % line.len().max(1);
        let Some(text) = line.get(start..start + 3 + n % 12) else { continue };
        let filter = wanting(text);
        let share = lines.iter().filter(|line| filter.matches(line)).count() * 1000 / lines.len();
        if (5..15).contains(&share) && !found.iter().any(|known| known == text) {
            found.push(text.to_vec());
        }
        if found.len() == 3 {
            break;
        }
    }
    found
}

/// Reads one second in the middle.
#[inline(never)]
pub(crate) fn window(stored: &Stored) -> ReadStats {
    let chunk = middle(stored);
    let bounds = opened(chunk).bounds().unwrap();
    let middle = bounds.0 + (bounds.1 - bounds.0) / 2;
    read(chunk, TimeRange::from(middle..middle + 1_000_000_000)).1
}

/// Reads all of the chunk that [`window`] reads a part of.
pub(crate) fn whole(stored: &Stored) -> ReadStats {
    read(middle(stored), TimeRange::ALL).1
}

/// How many lines have a text, as the chunk finds them; and what it cost.
#[inline(never)]
pub(crate) fn filter(stored: &Stored, filter: &LineFilter) -> (usize, ReadStats) {
    let (mut lines, mut all) = (0, ReadStats::default());
    for chunk in stored.chunks() {
        let mut entries = opened(chunk).filter(.., filter, Direction::Forward);
        while let Some(batch) = entries.next_batch().unwrap() {
            lines += batch.map(black_box).count();
        }
        let stats = entries.stats();
        all.lines_tested += stats.lines_tested;
        all.decoded_bytes += stats.decoded_bytes;
    }
    (lines, all)
}

/// The same by a test of each line.
#[inline(never)]
pub(crate) fn scan(stored: &Stored, filter: &LineFilter) -> usize {
    let mut lines = 0;
    for chunk in stored.chunks() {
        let mut entries = opened(chunk).entries(.., Direction::Forward);
        while let Some(batch) = entries.next_batch().unwrap() {
            lines += batch.filter(|entry| filter.matches(entry.line)).count();
        }
    }
    lines
}

/// Counts lines by steps of so many seconds.
#[inline(never)]
pub(crate) fn counts(stored: &Stored, seconds: u64) -> u64 {
    let step = NonZeroU64::new(seconds * 1_000_000_000).unwrap();
    let counts = |chunk: &Bytes| opened(chunk).counts(.., step).unwrap();
    let entries = |chunk| counts(chunk).steps.iter().map(|step| step.entries).sum::<u64>();
    stored.chunks().iter().map(entries).sum()
}

fn middle(stored: &Stored) -> &Bytes {
    &stored.chunks()[stored.chunks().len() / 2]
}

fn opened(chunk: &Bytes) -> Chunk {
    Chunk::open(chunk.clone(), &Limits::default()).unwrap()
}
