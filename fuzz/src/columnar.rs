//! Columnar chunks: their bytes under checksums that are right, and searches of lines.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;

use forebay_chunk::{
    Builder, BuilderOptions, Chunk, CorruptionPolicy, Direction, Entry, EntryIter, Error, Limits, LineFilter,
    Profile,
};

/// What one read may decompress, in bytes.
const MAX_DECODED: u64 = 1 << 22;
const HEADER: usize = 16;
const TRAILER: usize = 24;
const GROUP_HEAD: usize = 20;
/// Nanoseconds of a step that is counted.
const STEP: u64 = 100_000_000_000;

/// Small ones, so that a bomb is noticed long before it hurts.
fn limits() -> Limits {
    Limits {
        max_object_bytes: 1 << 20,
        max_block_bytes: 1 << 18,
        max_entries_per_block: 1 << 12,
        max_symbols: 1 << 10,
        max_symbol_bytes: 1 << 18,
        max_decoded_bytes: MAX_DECODED,
        ..Limits::default()
    }
}

type Owned = (i64, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

/// A chunk, as it is and with its checksums mended.
pub fn chunk_columnar(data: &[u8]) {
    open(data);
    let mut mended = data.to_vec();
    mend(&mut mended);
    open(&mended);
}

fn open(data: &[u8]) {
    for policy in [CorruptionPolicy::SkipBlock, CorruptionPolicy::Salvage] {
        if let Ok(chunk) = Chunk::open_with(data.to_vec(), &limits(), policy) {
            let _ = collect(chunk.entries(.., Direction::Forward));
            let _ = collect(chunk.filter(.., &LineFilter::new().any_of(["e"]), Direction::Backward));
        }
    }
    let Ok(chunk) = Chunk::open(data.to_vec(), &limits()) else { return };
    let forward = collect(chunk.entries(.., Direction::Forward));
    let backward = collect(chunk.entries(.., Direction::Backward));
    let counted = chunk.counts(.., NonZeroU64::new(STEP).expect("not zero"));
    let Ok(entries) = forward else { return };
    if let Ok(mut backward) = backward {
        backward.reverse();
        assert!(entries == backward, "backward is the exact reverse of forward");
    }
    assert!(entries.is_sorted_by_key(|(timestamp_ns, ..)| *timestamp_ns));
    assert_eq!(chunk.entry_count(), entries.len() as u64, "the index counts the entries");
    if let Ok(counted) = counted {
        let mut steps = BTreeMap::<i64, u64>::new();
        for (timestamp_ns, ..) in &entries {
            *steps.entry(timestamp_ns.div_euclid(STEP.cast_signed())).or_default() += 1;
        }
        let found: Vec<_> = counted
            .steps
            .iter()
            .map(|step| (step.start_ns.div_euclid(STEP.cast_signed()), step.entries))
            .collect();
        assert!(found.into_iter().eq(steps), "steps have the entries that a read gives");
    }
    for part in 0..3 {
        let Some((_, line, _)) = entries.get(part * entries.len() / 3) else { continue };
        let start = line.len() * part / 3;
        let text = &line[start..line.len().min(start + 2 + 3 * part)];
        // Its filter of letters is believed; whoever verifies a chunk knows whether it lies.
        assert!(is_found(&chunk, &entries, text) || chunk.verify().is_err(), "{}", text.escape_ascii());
    }
}

/// Whether a search finds what a test of each line finds; or ends in an error.
fn is_found(chunk: &Chunk, entries: &[Owned], text: &[u8]) -> bool {
    let filters = [
        LineFilter::new().any_of([text]),
        LineFilter::new().none_of([text]),
        LineFilter::new().any_of_in_any_case([text]),
    ];
    filters.iter().all(|filter| {
        let expected = entries.iter().filter(|(_, line, _)| filter.matches(line));
        let found = collect(chunk.filter(.., filter, Direction::Forward));
        found.map_or(true, |found| found.iter().eq(expected))
    })
}

fn collect(mut entries: EntryIter) -> Result<Vec<Owned>, Error> {
    let mut all = Vec::new();
    while let Some(batch) = entries.next_batch()? {
        all.extend(batch.map(|entry| {
            let pairs = entry.metadata.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            (entry.timestamp_ns, entry.line.to_vec(), pairs)
        }));
    }
    let stats = entries.stats();
    assert!(stats.decoded_bytes <= MAX_DECODED, "{} bytes decoded", stats.decoded_bytes);
    assert_eq!(stats.entries, all.len() as u64);
    Ok(all)
}

/// The first byte is the length of a text, which follows; then come lines, in which the text is searched for.
pub fn chunk_filter(data: &[u8]) {
    let Some((&length, rest)) = data.split_first() else { return };
    let Some((text, rest)) = rest.split_at_checked(usize::from(length % 32)) else { return };
    let lines: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').take(1 << 12).collect();
    let profile = if length < 128 { Profile::Fast } else { Profile::Balanced };
    let options = BuilderOptions { block_size: 1 << 14, ..BuilderOptions::columnar(profile) };
    let mut builder = Builder::new(options).expect("options within their bounds");
    let mut entries: Vec<Owned> = Vec::new();
    for (time, line) in (0..).zip(&lines) {
        builder.append(Entry::new(time, *line)).expect("a short line");
        entries.push((time, line.to_vec(), Vec::new()));
    }
    let chunk = builder.finish().expect("one line at least").bytes;
    let chunk = Chunk::open(chunk, &Limits::default()).expect("what is written is read");
    chunk.verify().expect("what is written is whole");
    let read = |direction| rest_of(chunk.entries(.., direction));
    assert!(read(Direction::Forward) == entries, "other lines come back");
    for text in [text, text.get(..text.len() / 2).unwrap_or_default()] {
        for filter in [
            LineFilter::new().any_of([text]),
            LineFilter::new().none_of([text]),
            LineFilter::new().any_of_in_any_case([text]),
            LineFilter::new().any_of([text, b"\0"]).none_of([&text[text.len() / 2..]]),
        ] {
            for direction in [Direction::Forward, Direction::Backward] {
                let mut found = rest_of(chunk.filter(.., &filter, direction));
                if direction == Direction::Backward {
                    found.reverse();
                }
                let expected = entries.iter().filter(|(_, line, _)| filter.matches(line));
                assert!(found.iter().eq(expected), "{filter:?} finds other lines than a test of each");
            }
        }
    }
}

fn rest_of(mut entries: EntryIter) -> Vec<Owned> {
    let mut all = Vec::new();
    while let Some(entry) = entries.next().expect("what is written is read") {
        all.push((entry.timestamp_ns, entry.line.to_vec(), Vec::new()));
    }
    all
}

/// Writes the checksums that a chunk with these parts has, as far as parts can be told.
fn mend(data: &mut [u8]) {
    sum(data, [0..12, 0..0], 12);
    let end = data.len();
    let Some(footer) = end.checked_sub(TRAILER).and_then(|at| at.checked_sub(small(data, at)?)) else {
        return;
    };
    let mut at = HEADER;
    while at < footer
        && data.get(at..).is_some_and(|rest| rest.starts_with(b"LCFR"))
        && let Some((directory, body)) = small(data, at + 4).zip(small(data, at + 8))
    {
        let body_start = at + GROUP_HEAD + directory;
        let streams = data.get(at + GROUP_HEAD..body_start).map(|bytes| streams(bytes).unwrap_or_default());
        let mut start = body_start;
        for (crc, stored) in streams.unwrap_or_default() {
            sum(data, [start..start.saturating_add(stored), 0..0], at + GROUP_HEAD + crc);
            start = start.saturating_add(stored);
        }
        sum(data, [at..at + 16, at + GROUP_HEAD..body_start], at + 16);
        at = body_start + body;
    }
    sum(data, [footer..end - 12, end - 8..end], end - 12);
}

/// Where the checksum of each stream is in a directory, and its stored length; those that can be told.
fn streams(directory: &[u8]) -> Option<Vec<(usize, usize)>> {
    let mut rest = directory;
    for _ in 0..3 {
        uvarint(&mut rest)?;
    }
    rest = rest.get(16..)?;
    let mut found = Vec::new();
    for _ in 0..uvarint(&mut rest)?.min(1 << 10) {
        let Some((&[_kind, codec], after)) = rest.split_first_chunk() else { break };
        rest = after;
        let Some(stored) = uvarint(&mut rest) else { break };
        if codec > 0 && uvarint(&mut rest).is_none() {
            break;
        }
        found.push((directory.len() - rest.len(), usize::try_from(stored).ok()?));
        rest = rest.get(4..).unwrap_or_default();
    }
    Some(found)
}

fn small(data: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?) as usize)
}

fn uvarint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *input.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Writes the checksum of these parts, if all of them and its place are there.
fn sum(data: &mut [u8], parts: [Range<usize>; 2], at: usize) {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        let Some(bytes) = data.get(part) else { return };
        hasher.update(bytes);
    }
    if let Some(place) = data.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = hasher.finalize().to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mended_checksums_are_those_that_were_there() {
        for whole in [
            &include_bytes!("../corpus/chunk_columnar/columns")[..],
            include_bytes!("../corpus/chunk_columnar/whole-lines"),
        ] {
            let chunk = Chunk::open(whole, &limits()).unwrap();
            let mut broken = whole.to_vec();
            broken[12] ^= 0xff;
            broken[whole.len() - 12] ^= 0xff;
            for block in chunk.blocks() {
                let start = usize::try_from(block.offset).unwrap();
                broken[start + 16] ^= 0xff;
                let directory = start + GROUP_HEAD..start + GROUP_HEAD + small(whole, start + 4).unwrap();
                let streams = streams(&whole[directory]).unwrap();
                assert!(streams.len() >= 3);
                streams.iter().for_each(|(crc, _)| broken[start + GROUP_HEAD + crc] ^= 0xff);
            }
            assert!(chunk.blocks().len() > 1);
            assert!(Chunk::open(broken.clone(), &limits()).is_err());
            mend(&mut broken);
            assert!(broken == whole);
        }
    }
}
