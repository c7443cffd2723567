//! What FORMAT.md says of a directory, written from it alone and sharing nothing with the crate: its steps 2 to 5 on
//! bytes in memory, and which records are whole, wherever they lie.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod frames;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use frames::Files;
use frames::{Frame, Segment, records, u32_at, u64_at};

pub(crate) type Records = BTreeMap<u64, Vec<u8>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// All records below this one are there; whether bytes behind them are a torn tail.
    Reads {
        next_lsn: u64,
        torn: bool,
    },
    BadHeader(u64),
    Damaged(u64),
    Missing(u64),
    Foreign(u64),
}

use Verdict::{BadHeader, Damaged, Foreign, Missing, Reads};

/// The whole groups at the start of a segment.
#[derive(Clone, Default)]
struct Walk {
    end: usize,
    synced: usize,
    next_lsn: u64,
    low: u64,
    last_hcrc: u32,
    frames: u64,
    data_bytes: u64,
    start: Option<[u64; 6]>,
    /// Number and salt of the next, flags.
    seal: Option<(u64, u64, u32)>,
    checkpoint: bool,
    streams: BTreeSet<u32>,
    /// The kind of the group that is not over, and its body so far.
    open: Option<u8>,
    joined: Vec<u8>,
}

/// What lies behind the end of a walk.
struct Behind {
    any: bool,
    frames: bool,
    synced: usize,
}

pub(crate) fn judge(files: &Files) -> Verdict {
    steps(files).unwrap_or_else(|refused| refused)
}

fn read(files: &Files, number: u64) -> Result<Segment<'_>, Verdict> {
    let segment = Segment::of(&files[&number]).ok_or(BadHeader(number))?;
    if segment.number == number { Ok(segment) } else { Err(Foreign(number)) }
}

fn steps(files: &Files) -> Result<Verdict, Verdict> {
    let Some((&highest, _)) = files.last_key_value() else { return Ok(Reads { next_lsn: 1, torn: false }) };
    // Step 2: the last segment that begins with a start, and those above it.
    let (mut last, mut above, mut rotten) = (None, Vec::new(), None);
    for (n, &number) in files.keys().rev().enumerate() {
        match read(files, number) {
            Ok(segment) => {
                let walk = segment.walk();
                if let Some(front) = in_front_of(files, &segment, &walk) {
                    above.push(segment);
                    last = Some(front);
                    break;
                }
                if walk.start.is_some() {
                    last = Some((segment, walk));
                    break;
                }
                above.push(segment);
            }
            Err(BadHeader(_)) if number == highest => rotten = Some(number),
            Err(refused) => return Err(refused),
        }
        if number > 1 && !files.contains_key(&(number - 1)) {
            return Err(Missing(number - 1));
        }
        if n == 2 {
            break;
        }
    }
    let named = last.as_ref().is_none_or(|(_, walk)| walk.seal.is_some());
    let next = if named { above.pop() } else { None };
    let reserve = above.pop();
    if let Some(number) = rotten {
        let blank = files[&number].get(4096..).unwrap_or_default().iter().all(|byte| *byte == 0);
        let place = next.is_some() || last.as_ref().is_some_and(|(_, walk)| walk.seal.is_none());
        if !blank || !place || reserve.is_some() || !above.is_empty() {
            return Err(BadHeader(number));
        }
    }
    if let Some(extra) = above.pop() {
        return Err(Damaged(extra.number));
    }
    // Step 3.
    let front = last.as_ref().map(|(last, _)| last).or(next.as_ref());
    let next_lsn = last.as_ref().map_or(1, |(_, walk)| walk.next_lsn);
    let torn = match (&last, &next) {
        (Some((last, walk)), next) if walk.seal.is_some() => {
            let (number, salt, _) = walk.seal.unwrap();
            let next = next.as_ref().ok_or(Missing(number))?;
            if (next.number, next.salt, next.log_id) != (number, salt, last.log_id) {
                return Err(Foreign(next.number));
            }
            next.unstarted(next_lsn)?
        }
        (Some((last, walk)), _) => {
            let behind = last.behind(walk.end, next_lsn);
            let short = walk.end + 80 > last.capacity || last.bytes.len() < last.capacity;
            if walk.synced.max(behind.synced) > walk.end || short {
                return Err(Damaged(last.number));
            }
            behind.any
        }
        (None, Some(first)) => first.unstarted(1)?,
        (None, None) => return Ok(Reads { next_lsn, torn: false }),
    };
    if let Some((last, walk)) = &last {
        chain(files, last, walk)?;
    }
    match (reserve, front) {
        (Some(reserve), Some(front)) if reserve.behind(4096, next_lsn).frames => Err(Damaged(front.number)),
        _ => Ok(Reads { next_lsn, torn }),
    }
}

/// The segment before one without records, if that one must begin with copies of its streams and its checkpoint and has
/// fewer frames.
fn in_front_of<'a>(files: &'a Files, segment: &Segment<'_>, walk: &Walk) -> Option<(Segment<'a>, Walk)> {
    let prev = walk.start.filter(|start| walk.next_lsn == start[1] && walk.seal.is_none())?[2];
    let before = read(files, *files.get_key_value(&prev)?.0).ok()?;
    let its = before.walk();
    let named = its.seal.is_some_and(|(number, salt, _)| (number, salt) == (segment.number, segment.salt));
    let copies = its.streams.len() as u64 + u64::from(its.checkpoint);
    let due = named && its.start.is_some() && walk.frames <= copies && before.log_id == segment.log_id;
    due.then_some((before, its))
}

/// Steps 4 and 5.
fn chain(files: &Files, last: &Segment<'_>, walk: &Walk) -> Result<(), Verdict> {
    let low = walk.low;
    let mut start = walk.start.unwrap();
    let mut salt = last.salt;
    while start[1] > low && start[2] != 0 {
        let [number, base, prev, _, prev_end, prev_hcrc] = start;
        if prev >= number || !files.contains_key(&prev) {
            return Err(Missing(prev));
        }
        let before = read(files, prev)?;
        if before.log_id != last.log_id {
            return Err(Foreign(prev));
        }
        let walk = before.walk();
        let (Some(its), Some((next, next_salt, flags))) = (walk.start, walk.seal) else {
            return Err(Damaged(prev));
        };
        let tied = walk.end as u64 == prev_end && u64::from(walk.last_hcrc) == prev_hcrc;
        if !(tied || flags & 2 != 0) || (next, next_salt) != (number, salt) || walk.next_lsn != base {
            return Err(Foreign(prev));
        }
        (start, salt) = (its, before.salt);
    }
    if start[1] > low {
        return Err(Missing(start[0] - 1));
    }
    for &number in files.range(..start[0]).map(|(number, _)| number) {
        match read(files, number) {
            Ok(other) if other.log_id != last.log_id => return Err(Foreign(number)),
            Ok(_) | Err(BadHeader(_)) => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(())
}

impl Segment<'_> {
    fn walk(&self) -> Walk {
        let mut walk = Walk { end: 4096, synced: 4096, ..Walk::default() };
        let mut whole = walk.clone();
        while walk.seal.is_none() && self.step(&mut walk).is_some() {
            if walk.open.is_none() {
                whole = walk.clone();
            }
            whole.synced = walk.synced;
        }
        whole
    }

    /// One more frame, if there is one that fits.
    fn step(&self, walk: &mut Walk) -> Option<()> {
        let frame = self.frame(walk.end)?;
        let Frame { kind, frag, lsn, body, .. } = frame;
        let first = walk.start.is_none();
        let in_place = (walk.synced..=walk.end).contains(&frame.synced) && (first || lsn == walk.next_lsn);
        if !in_place || frame.codec != 0 && self.features & 4 == 0 || first != (kind == 3) {
            return None;
        }
        let unpacked = frame.unpacked()?;
        let whole = frag == 0 && walk.open.is_none();
        let control = whole && frame.records == 0;
        match kind {
            1 | 2 => {
                assert!(kind == 1 || self.features & 1 != 0, "streams are announced here");
                if frag < 2 {
                    walk.joined.clear();
                }
                walk.joined.extend(unpacked);
                let counted = || records(&walk.joined, kind == 2).map(|records| records.len() as u64);
                let fits = match frag {
                    0 => walk.open.is_none() && counted() == Some(frame.records),
                    1 => walk.open.is_none() && frame.records == 0,
                    2 => walk.open == Some(kind) && frame.records == 0,
                    _ => walk.open == Some(kind) && frame.records > 0 && counted() == Some(frame.records),
                };
                walk.open = matches!(frag, 1 | 2).then_some(kind);
                walk.data_bytes += body.len() as u64;
                fits.then_some(())?;
            }
            3 => {
                let field = |at| u64_at(body, at);
                let start = [field(0), field(8), field(16), field(24), field(32), field(40) & 0xFFFF_FFFF];
                walk.start =
                    (body.len() >= 64 && start[0] == self.number && start[1] == lsn).then_some(start);
                walk.next_lsn = lsn;
                walk.low = field(48);
                (control && walk.start.is_some()).then_some(())?;
            }
            4 => {
                let sums = [u64_at(body, 0), u64_at(body, 8), u64_at(body, 16), u64_at(body, 24)];
                let expected = [walk.next_lsn, walk.frames, walk.data_bytes, self.number + 1];
                let fits = control && sums == expected;
                walk.seal = fits.then(|| (u64_at(body, 24), u64_at(body, 32), u32_at(body, 40)));
                walk.seal?;
            }
            5 => {
                walk.checkpoint = true;
                (control && body.len() >= 8 && u64_at(body, 0) <= walk.next_lsn).then_some(())?;
            }
            6 => {
                let low = u64_at(body, 0);
                walk.low = walk.low.max(low);
                (control && body.len() >= 8 && low <= walk.next_lsn).then_some(())?;
            }
            7 => {
                assert!(self.features & 1 != 0, "streams are announced here");
                (control && body.len() > 16 && u32_at(body, 0) > 0).then_some(())?;
                match u32_at(body, 4) & 1 {
                    0 => walk.streams.insert(u32_at(body, 0)),
                    _ => walk.streams.remove(&u32_at(body, 0)),
                };
            }
            8 | 9 => control.then_some(())?,
            128 => (whole && frame.records > 0).then_some(())?,
            other => panic!("no kind {other} is made here"),
        }
        walk.next_lsn += frame.records;
        walk.frames += 1;
        walk.synced = frame.synced;
        walk.last_hcrc = frame.hcrc;
        walk.end = frame.next;
        Some(())
    }

    fn behind(&self, from: usize, next_lsn: u64) -> Behind {
        let any = self.bytes.iter().skip(from).any(|byte| *byte != 0);
        let mut behind = Behind { any, frames: false, synced: 0 };
        for at in (from..self.bytes.len()).step_by(8) {
            let Some(header) = self.header(at) else { continue };
            let synced = u32_at(header, 24) as usize * 8;
            if synced <= at && (next_lsn..=1 << 62).contains(&u64_at(header, 8)) {
                behind.frames = true;
                behind.synced = behind.synced.max(synced);
            }
        }
        // What a file held before it was used again is nothing.
        behind.any &= behind.frames || self.features & 16 == 0;
        behind
    }

    /// A segment that should have no frames: whether it has a torn tail.
    fn unstarted(&self, next_lsn: u64) -> Result<bool, Verdict> {
        let behind = self.behind(4096, next_lsn);
        let whole = behind.synced <= 4096 && self.bytes.len() >= self.capacity;
        if whole { Ok(behind.any) } else { Err(Damaged(self.number)) }
    }
}

/// The groups that are whole in segments of a log that was whole once, wherever they lie. A segment counts where its
/// header is whole, or the seal in front of it, which says all that the header did.
fn whole_groups<'a>(golden: &Files, files: &'a Files) -> Vec<Vec<Frame<'a>>> {
    let (mut all, mut sealed) = (Vec::new(), false);
    for (number, whole) in golden {
        let bytes = files.get(number);
        let own = |bytes: &[u8]| Segment::of(bytes).map_or(sealed, |segment| segment.number == *number);
        let known = bytes.filter(|bytes| own(bytes)).and_then(|bytes| Segment::under(whole, bytes));
        let groups = known.as_ref().map(|segment| segment.all_groups()).unwrap_or_default();
        sealed = groups.iter().flatten().any(|frame| frame.kind == 4);
        if let Some(segment) = known.filter(|_| !groups.is_empty()) {
            let before = all.len();
            all.extend(groups);
            // Whatever lies behind a later one was synced.
            if golden.range(number + 1..).all(|(number, _)| begins_nothing(golden, files, *number)) {
                let torn = segment.torn(&all[before..]);
                all.truncate(before + torn);
            }
        }
    }
    all
}

/// Whether a file is gone, or nothing is left that could be a frame of this log.
fn begins_nothing(golden: &Files, files: &Files, number: u64) -> bool {
    let known = files.get(&number).and_then(|bytes| Segment::under(&golden[&number], bytes));
    known.is_none_or(|segment| !segment.behind(4096, 0).frames)
}

impl Segment<'_> {
    /// How many of these groups lie in front of a torn tail: of the first gap that no sync is proven to have reached.
    fn torn(&self, groups: &[Vec<Frame<'_>>]) -> usize {
        let (proof, mut end) = (self.behind(4096, 0).synced.max(4096), 4096);
        for (index, group) in groups.iter().enumerate() {
            if group[0].at > end && end >= proof {
                return index;
            }
            end = group[group.len() - 1].next;
        }
        groups.len()
    }
}

/// The records that are whole, with the number of their stream, by LSN from the log's low watermark on.
pub(crate) fn readable_of_streams(golden: &Files, files: &Files) -> BTreeMap<u64, (u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for group in whole_groups(golden, files).iter().filter(|group| matches!(group[0].kind, 1 | 2)) {
        let body: Vec<u8> = group.iter().flat_map(|frame| frame.unpacked().unwrap()).collect();
        let records = records(&body, group[0].kind == 2).unwrap();
        let records = records.into_iter().map(|(stream, bytes)| (stream, bytes.to_vec()));
        all.extend((group[0].lsn..).zip(records));
    }
    all.split_off(&low(golden))
}

/// As [`readable_of_streams`], whosever they are.
pub(crate) fn readable(golden: &Files, files: &Files) -> Records {
    let all = readable_of_streams(golden, files);
    all.into_iter().map(|(lsn, (_, bytes))| (lsn, bytes)).collect()
}

/// The streams that a segment begins with, if that is certainly all: the group at this index is its start, and what
/// lies right behind the names is neither one nor fills a hole.
fn listed(groups: &[Vec<Frame<'_>>], index: usize) -> Option<BTreeSet<u64>> {
    let (mut end, mut ids) = (groups[index].first().filter(|frame| frame.kind == 3)?.next, BTreeSet::new());
    for frame in groups[index + 1..].iter().map(|group| &group[0]) {
        match frame.kind {
            _ if frame.at != end => return None,
            7 => drop(ids.insert(u64::from(u32_at(frame.body, 0)))),
            5 => {}
            kind => return matches!(kind, 1 | 2 | 4 | 6).then_some(ids),
        }
        end = frame.next;
    }
    None
}

/// Id, name and low watermark of each stream by the last word that is whole, wherever it lies, if no later segment begins
/// without it; of one that has records
/// in front of `end` and no word at all the name that it gets.
pub(crate) fn streams(golden: &Files, files: &Files, end: u64) -> Vec<(u64, String, u64)> {
    let (mut all, mut gone) = (BTreeMap::new(), BTreeSet::new());
    let groups = whole_groups(golden, files);
    for (index, group) in groups.iter().enumerate() {
        let frame = &group[0];
        if let Some(listed) = listed(&groups, index) {
            gone.extend(all.keys().filter(|id| !listed.contains(id)));
            all.retain(|id, _| listed.contains(id));
        }
        if frame.kind != 7 {
            continue;
        }
        let id = u64::from(u32_at(frame.body, 0));
        let name = String::from_utf8(frame.body[16..].to_vec()).unwrap();
        match u32_at(frame.body, 4) & 1 {
            0 => drop(all.insert(id, (name, u64_at(frame.body, 8)))),
            _ => {
                all.remove(&id);
                gone.insert(id);
            }
        }
    }
    let used = readable_of_streams(golden, files);
    for id in used.range(..end).map(|(_, (id, _))| *id).filter(|id| *id != 0 && !gone.contains(id)) {
        all.entry(id).or_insert_with(|| (format!("lost-{id}"), low(golden)));
    }
    all.into_iter().map(|(id, (name, low))| (id, name, low)).collect()
}

/// LSN and bytes of the newest checkpoint that is whole, wherever it lies.
pub(crate) fn checkpoint(golden: &Files, files: &Files) -> Option<(u64, Vec<u8>)> {
    let groups = whole_groups(golden, files);
    let last = groups.iter().flatten().rfind(|frame| frame.kind == 5)?;
    Some((u64_at(last.body, 0), last.body[8..].to_vec()))
}

/// The first LSN at which anything of a log that was whole is not as it was, but for what its low watermark hides; the
/// next one if all is there.
pub(crate) fn first_damage(golden: &Files, files: &Files) -> u64 {
    let Reads { next_lsn, .. } = judge(golden) else { panic!("a log that is whole") };
    let (low, first) = (low(golden), *golden.first_key_value().unwrap().0);
    for (number, golden) in golden {
        // Of a header alone the seal before it tells all.
        let same = files
            .get(number)
            .filter(|bytes| Segment::of(bytes).map_or(*number > first, |segment| segment.number == *number));
        let groups = Segment::of(golden).unwrap().groups(4096);
        let end = |group: &[Frame<'_>]| group.last().map_or(0, |last| last.lsn + last.records);
        let frames = groups.iter().flat_map(|group| group.iter().map(move |frame| (frame, end(group))));
        for (index, (frame, end)) in frames.enumerate() {
            let place = frame.at..frame.at + 32 + frame.body.len();
            let whole = same.and_then(|bytes| bytes.get(place.clone())) == golden.get(place);
            // Nothing is known of a file that is gone.
            let gone = same.is_none() && index == 0;
            if !whole && (gone || end > low) {
                return frame.lsn.max(low);
            }
        }
    }
    next_lsn
}

/// The low watermark of a log that is whole.
pub(crate) fn low(golden: &Files) -> u64 {
    Segment::of(golden.last_key_value().unwrap().1).unwrap().walk().low
}

/// Where the frames at the start of a segment lie.
pub(crate) fn places(bytes: &[u8]) -> Vec<usize> {
    let segment = Segment::of(bytes).unwrap();
    segment.groups(4096).iter().flatten().map(|frame| frame.at).collect()
}
