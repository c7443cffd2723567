//! What the format's document says of a directory, read by code of its own: which class its damage is of, and which
//! records are whole, wherever they lie.
#![expect(clippy::cast_possible_truncation, reason = "lengths in a golden log are small")]

use std::collections::BTreeMap;

use super::writer::{CASTAGNOLI, IEEE, crc};

pub(crate) type Files = BTreeMap<u64, Vec<u8>>;
pub(crate) type Records = BTreeMap<u64, Vec<u8>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finding {
    /// Opens with all records up to this LSN; what is behind is torn.
    Opens(u64),
    BadHeader(u64),
    Damaged(u64),
    Missing(u64),
    Foreign(u64),
}

pub(crate) struct Head {
    polynomial: u32,
    pub(crate) log_id: Vec<u8>,
    pub(crate) number: u64,
    salt: u64,
    capacity: usize,
}

#[derive(Clone)]
struct Frame {
    end: usize,
    kind: u8,
    frag: u8,
    lsn: u64,
    records: u64,
    synced: usize,
    hcrc: u64,
    /// None where its sum does not fit.
    body: Option<Vec<u8>>,
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    (0..len).rev().fold(0, |n, i| n << 8 | u64::from(bytes.get(at + i).copied().unwrap_or(0)))
}

pub(crate) fn head(bytes: &[u8]) -> Option<Head> {
    let polynomial = if number(bytes, 20, 1) == 2 { CASTAGNOLI } else { IEEE };
    let whole = bytes.len() >= 128 && number(bytes, 124, 4) == u64::from(crc(polynomial, &[&bytes[..124]]));
    whole.then(|| Head {
        polynomial,
        log_id: bytes[24..40].to_vec(),
        number: number(bytes, 40, 8),
        salt: number(bytes, 48, 8),
        capacity: number(bytes, 56, 8) as usize,
    })
}

fn frame(head: &Head, bytes: &[u8], at: usize) -> Option<Frame> {
    let salt = head.salt.to_le_bytes();
    let rest = bytes.get(at + 4..at + 32)?;
    let hcrc = number(bytes, at, 4);
    if rest[16] == 0
        || rest[18] > 3
        || rest[19] != 0
        || hcrc != u64::from(crc(head.polynomial, &[&salt, rest]))
    {
        return None;
    }
    let end = at + 32 + number(bytes, at + 4, 4) as usize;
    let body = bytes
        .get(at + 32..end)
        .filter(|body| number(bytes, at + 28, 4) == u64::from(crc(head.polynomial, &[&salt, body])));
    Some(Frame {
        end: end.next_multiple_of(8),
        kind: rest[16],
        frag: rest[18],
        lsn: number(bytes, at + 8, 8),
        records: number(bytes, at + 16, 4),
        synced: 8 * number(bytes, at + 24, 4) as usize,
        hcrc,
        body: body.map(<[u8]>::to_vec),
    })
}

/// The groups that are whole from `at` on, one right behind the other: the first one begins with `lsn`, if that is known.
fn groups(head: &Head, bytes: &[u8], mut at: usize, mut lsn: Option<u64>) -> Vec<Vec<Frame>> {
    let (mut groups, mut open): (Vec<Vec<Frame>>, Vec<Frame>) = (Vec::new(), Vec::new());
    while let Some(frame) = frame(head, bytes, at).filter(|frame| frame.body.is_some()) {
        let fits = matches!((open.is_empty(), frame.frag), (true, 0 | 1) | (false, 2 | 3));
        if !fits || lsn.is_some_and(|lsn| lsn != frame.lsn) || frame.synced > at {
            break;
        }
        (at, lsn) = (frame.end, Some(frame.lsn + frame.records));
        let over = matches!(frame.frag, 0 | 3);
        let seal = frame.kind == 4;
        open.push(frame);
        if over {
            groups.push(std::mem::take(&mut open));
        }
        if seal {
            break;
        }
    }
    groups
}

/// Where the frames at the start of a segment lie, less their padding, and their LSNs.
pub(crate) fn frames(bytes: &[u8]) -> Vec<(usize, usize, std::ops::Range<u64>)> {
    let mut at = 4096;
    let found = head(bytes).map(|head| groups(&head, bytes, at, None)).unwrap_or_default();
    let place = |frame: &Frame| {
        let begin = std::mem::replace(&mut at, frame.end);
        let end = begin + 32 + frame.body.as_ref().map_or(0, Vec::len);
        (begin, end, frame.lsn..frame.lsn + frame.records)
    };
    found.iter().flatten().map(place).collect()
}

/// The records in the groups of one segment that are whole, wherever they lie.
pub(crate) fn whole_records(head: &Head, bytes: &[u8], records: &mut Records) {
    let mut at = 4096;
    while at + 32 <= bytes.len() {
        let found = groups(head, bytes, at, None);
        for group in &found {
            let body: Vec<u8> = group.iter().flat_map(|frame| frame.body.clone().unwrap()).collect();
            let mut body = &body[..];
            let mut lsn = group[0].lsn;
            while group[0].kind == 1 && !body.is_empty() {
                let (len, skip) = match body[0] {
                    0..128 => (usize::from(body[0]), 1),
                    low => (usize::from(low & 127) | usize::from(body[1]) << 7, 2),
                };
                records.insert(lsn, body[skip..skip + len].to_vec());
                (body, lsn) = (&body[skip + len..], lsn + 1);
            }
        }
        at = found.last().map_or(at + 8, |group| group.last().unwrap().end);
    }
}

/// The first LSN at which anything of a log that was whole is not as it was, but for what its low watermark hides; the
/// next one if all is there.
pub(crate) fn first_damage(golden: &Files, files: &Files) -> u64 {
    let Finding::Opens(next) = finding(golden) else { panic!("a log that is whole") };
    let low = low(golden);
    for (number, golden) in golden {
        // Of a header alone the seal before it tells all.
        let same =
            files.get(number).filter(|bytes| head(bytes).map_or(*number > 1, |head| head.number == *number));
        for (index, (at, end, lsns)) in frames(golden).into_iter().enumerate() {
            let whole = same.and_then(|bytes| bytes.get(at..end)) == golden.get(at..end);
            // Nothing is known of a file that is gone.
            let lost = if same.is_none() && index == 0 { lsns.start..u64::MAX } else { lsns };
            if !whole && lost.end > low {
                return lost.start.max(low);
            }
        }
    }
    next
}

/// The low watermark of a log that is whole.
pub(crate) fn low(golden: &Files) -> u64 {
    let last = golden.last_key_value().unwrap().1;
    let found = groups(&head(last).unwrap(), last, 4096, None);
    let frames = || found.iter().flatten();
    let start = number(frames().next().unwrap().body.as_ref().unwrap(), 48, 8);
    let lows =
        frames().filter(|frame| frame.kind == 6).map(|frame| number(frame.body.as_ref().unwrap(), 0, 8));
    lows.fold(start, u64::max)
}

#[allow(dead_code, reason = "not asked for by every test")]
/// Whether the seal of a segment is whole, wherever it lies.
pub(crate) fn is_sealed(head: &Head, bytes: &[u8]) -> bool {
    let at = (4096..bytes.len()).step_by(8);
    at.filter_map(|at| frame(head, bytes, at)).any(|frame| frame.kind == 4 && frame.body.is_some())
}

/// The class of a log whose last segment is the highest that is not without frames.
pub(crate) fn finding(files: &Files) -> Finding {
    let top = *files.keys().last().unwrap();
    let started = |number: &u64| {
        let head = head(&files[number])?;
        let found = groups(&head, &files[number], 4096, None);
        (found.first()?[0].kind == 3).then_some((head, found))
    };
    for number in (1..=top).rev() {
        match files.get(&number).map(|bytes| head(bytes)) {
            None => return Finding::Missing(number),
            Some(None) => return Finding::BadHeader(number),
            Some(Some(head)) if head.number != number => return Finding::Foreign(number),
            _ => {}
        }
        if let Some((head, found)) = started(&number) {
            if let Some(finding) = ends(files, &head, &found) {
                return finding;
            }
            return chain(files, &head, &found);
        }
    }
    Finding::Damaged(1)
}

/// What is wrong behind the last segment's groups.
fn ends(files: &Files, last: &Head, found: &[Vec<Frame>]) -> Option<Finding> {
    let frames: Vec<&Frame> = found.iter().flatten().collect();
    let end = frames.last().unwrap().end;
    let proof = |head: &Head, bytes: &[u8], from: usize| {
        (from..bytes.len()).step_by(8).filter_map(|at| frame(head, bytes, at)).map(|frame| frame.synced).max()
    };
    if frames.last().unwrap().kind == 4 {
        let next = last.number + 1;
        let Some(bytes) = files.get(&next) else { return Some(Finding::Missing(next)) };
        let Some(head) = head(bytes).filter(|head| head.log_id == last.log_id) else {
            return Some(Finding::Foreign(next));
        };
        let short = bytes.len() < head.capacity;
        return (short || proof(&head, bytes, 4096) > Some(4096)).then_some(Finding::Damaged(next));
    }
    let bytes = &files[&last.number];
    let synced = frames.iter().map(|frame| frame.synced).max().max(proof(last, bytes, end));
    (synced > Some(end) || bytes.len() < last.capacity || files.len() as u64 > last.number + 1)
        .then_some(Finding::Damaged(last.number))
}

/// Back from the last segment to the low watermark.
fn chain(files: &Files, last: &Head, found: &[Vec<Frame>]) -> Finding {
    let frames: Vec<Frame> = found.iter().flatten().cloned().collect();
    let opens = Finding::Opens(frames.last().map(|frame| frame.lsn + frame.records).unwrap());
    let lows =
        frames.iter().filter(|frame| frame.kind == 6).map(|frame| number(frame.body.as_ref().unwrap(), 0, 8));
    let start = |frames: &[Frame]| frames[0].body.clone().unwrap();
    let mut body = start(&frames);
    let low = lows.max().unwrap_or(0).max(number(&body, 48, 8));
    let mut salt = last.salt;
    for before in (1..last.number).rev() {
        if number(&body, 8, 8) <= low {
            break;
        }
        let Some(bytes) = files.get(&before) else { return Finding::Missing(before) };
        let Some(head) = head(bytes) else { return Finding::BadHeader(before) };
        if head.number != before || head.log_id != last.log_id {
            return Finding::Foreign(before);
        }
        let found: Vec<Frame> = groups(&head, bytes, 4096, None).into_iter().flatten().collect();
        let (Some(first), Some(seal)) = (found.first(), found.last()) else {
            return Finding::Damaged(before);
        };
        if first.kind != 3 || seal.kind != 4 {
            return Finding::Damaged(before);
        }
        let named = seal.body.clone().unwrap();
        let tied = (number(&named, 24, 8), number(&named, 32, 8)) == (before + 1, salt);
        // A segment that was made anew has another seal than the next one remembers.
        let anew = number(&named, 40, 4) & 2 != 0;
        let remembered = (seal.end as u64, seal.hcrc) == (number(&body, 32, 8), number(&body, 40, 4));
        if !tied || !(anew || remembered) {
            return Finding::Foreign(before);
        }
        (body, salt) = (start(&found), head.salt);
    }
    opens
}
