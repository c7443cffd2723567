//! What FORMAT.md says of a directory, written from it alone and sharing nothing with the crate: its steps 2 to 5 on
//! bytes in memory, for plain logs of version 1.

use std::collections::BTreeMap;
use std::sync::LazyLock;

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

/// The files of a log by their number.
pub(crate) type Files = BTreeMap<u64, Vec<u8>>;

struct Segment<'a> {
    bytes: &'a [u8],
    number: u64,
    capacity: usize,
    salt: u64,
    log_id: [u8; 16],
    crc: Crc,
}

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
    /// Number and salt of the next.
    seal: Option<(u64, u64)>,
    open: bool,
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

fn steps(files: &Files) -> Result<Verdict, Verdict> {
    let Some((&highest, _)) = files.last_key_value() else { return Ok(Reads { next_lsn: 1, torn: false }) };
    // Step 2: the last segment that begins with a start, and those above it.
    let (mut last, mut above, mut rotten) = (None, Vec::new(), None);
    for (n, &number) in files.keys().rev().enumerate() {
        match Segment::read(files, number) {
            Ok(segment) => {
                let walk = segment.walk();
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
            let (number, salt) = walk.seal.unwrap();
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
        let before = Segment::read(files, prev)?;
        if before.log_id != last.log_id {
            return Err(Foreign(prev));
        }
        let walk = before.walk();
        let (Some(its), Some(seal)) = (walk.start, walk.seal) else { return Err(Damaged(prev)) };
        let tied = walk.end as u64 == prev_end && u64::from(walk.last_hcrc) == prev_hcrc;
        if !tied || seal != (number, salt) || walk.next_lsn != base {
            return Err(Foreign(prev));
        }
        (start, salt) = (its, before.salt);
    }
    if start[1] > low {
        return Err(Missing(start[0] - 1));
    }
    for &number in files.range(..start[0]).map(|(number, _)| number) {
        match Segment::read(files, number) {
            Ok(other) if other.log_id != last.log_id => return Err(Foreign(number)),
            Ok(_) | Err(BadHeader(_)) => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(())
}

impl<'a> Segment<'a> {
    fn read(files: &'a Files, number: u64) -> Result<Self, Verdict> {
        let bytes = &files[&number][..];
        let crc = Crc::of(bytes);
        let whole = bytes.len() >= 128 && bytes.starts_with(b"\x89LIW\r\n\x1a\n");
        if !whole || u32_at(bytes, 124) != crc.sum(&[&bytes[..124]]) {
            return Err(BadHeader(number));
        }
        assert_eq!((bytes[8], u32_at(bytes, 12)), (1, 0), "none of a later version is made here");
        let capacity = usize::try_from(u64_at(bytes, 56)).unwrap();
        if u64_at(bytes, 40) != number {
            return Err(Foreign(number));
        }
        let log_id = bytes[24..40].try_into().unwrap();
        Ok(Self {
            bytes: &bytes[..bytes.len().min(capacity)],
            number,
            capacity,
            salt: u64_at(bytes, 48),
            log_id,
            crc,
        })
    }

    /// The 32 bytes of a frame's header, if they are one.
    fn header(&self, at: usize) -> Option<&'a [u8]> {
        let header = self.bytes.get(at..at + 32)?;
        let fits = header[20] != 0 && header[22] < 4 && header[23] == 0;
        let salt = self.salt.to_le_bytes();
        (fits && u32_at(header, 0) == self.crc.sum(&[&salt, &header[4..]])).then_some(header)
    }

    fn walk(&self) -> Walk {
        let mut walk = Walk { end: 4096, synced: 4096, ..Walk::default() };
        let mut whole = walk.clone();
        while walk.seal.is_none() && self.step(&mut walk).is_some() {
            if !walk.open {
                whole = walk.clone();
            }
            whole.synced = walk.synced;
        }
        whole
    }

    /// One more frame, if there is one that fits.
    fn step(&self, walk: &mut Walk) -> Option<()> {
        let header = self.header(walk.end)?;
        let (lsn, records) = (u64_at(header, 8), u64::from(u32_at(header, 16)));
        let (kind, frag) = (header[20], header[22]);
        let synced = u32_at(header, 24) as usize * 8;
        let body_at = walk.end + 32;
        let body = self.bytes.get(body_at..body_at.checked_add(u32_at(header, 4) as usize)?)?;
        let first = walk.start.is_none();
        let sum = self.crc.sum(&[&self.salt.to_le_bytes(), body]);
        let in_place = synced <= walk.end && synced >= walk.synced && (first || lsn == walk.next_lsn);
        if sum != u32_at(header, 28) || !in_place || header[21] != 0 || first != (kind == 3) {
            return None;
        }
        let control = frag == 0 && !walk.open && records == 0;
        match kind {
            1 => {
                let fits = match frag {
                    0 => !walk.open && count(body) == Some(records),
                    1 => !walk.open && records == 0,
                    2 => walk.open && records == 0,
                    _ => walk.open && records > 0,
                };
                walk.open = frag == 1 || frag == 2;
                walk.next_lsn += records;
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
                let sums = [u64_at(body, 0), u64_at(body, 8), u64_at(body, 16)];
                let fits = control && sums == [walk.next_lsn, walk.frames, walk.data_bytes];
                walk.seal = fits.then(|| (u64_at(body, 24), u64_at(body, 32)));
                walk.seal?;
            }
            6 => {
                let low = u64_at(body, 0);
                walk.low = walk.low.max(low);
                (control && body.len() >= 8 && low <= walk.next_lsn).then_some(())?;
            }
            8 | 9 => control.then_some(())?,
            other => panic!("no kind {other} is made here"),
        }
        walk.frames += 1;
        walk.synced = synced;
        walk.last_hcrc = u32_at(header, 0);
        walk.end = (body_at + body.len()).next_multiple_of(8);
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
        behind
    }

    /// A segment that should have no frames: whether it has a torn tail.
    fn unstarted(&self, next_lsn: u64) -> Result<bool, Verdict> {
        let behind = self.behind(4096, next_lsn);
        let whole = behind.synced <= 4096 && self.bytes.len() >= self.capacity;
        if whole { Ok(behind.any) } else { Err(Damaged(self.number)) }
    }
}

/// Makes the sum of a segment's header fit what it says.
pub(crate) fn sum_header(segment: &mut [u8]) {
    let sum = Crc::of(segment).sum(&[&segment[..124]]);
    segment[124..128].copy_from_slice(&sum.to_le_bytes());
}

/// Makes the sums of the frame at an offset fit what it says; of its body only where that is there.
pub(crate) fn sum_frame(segment: &mut [u8], at: usize) {
    let (crc, salt) = (Crc::of(segment), u64_at(segment, 48).to_le_bytes());
    let body = at + 32..at + 32 + u32_at(segment, at + 4) as usize;
    if let Some(body) = segment.get(body) {
        let sum = crc.sum(&[&salt, body]);
        segment[at + 28..at + 32].copy_from_slice(&sum.to_le_bytes());
    }
    let sum = crc.sum(&[&salt, &segment[at + 4..at + 32]]);
    segment[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// How many records a body is, if it is nothing else.
fn count(mut body: &[u8]) -> Option<u64> {
    let mut records = 0;
    while !body.is_empty() {
        let (mut len, mut shift) = (0_u64, 0);
        loop {
            let (&byte, rest) = body.split_first()?;
            body = rest;
            len |= u64::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        body = body.get(usize::try_from(len).ok()?..)?;
        records += 1;
    }
    Some(records)
}

#[derive(Debug, Clone, Copy)]
enum Crc {
    Ieee,
    Castagnoli,
}

impl Crc {
    fn of(segment: &[u8]) -> Self {
        if segment.get(20) == Some(&2) { Self::Castagnoli } else { Self::Ieee }
    }

    fn sum(self, parts: &[&[u8]]) -> u32 {
        static TABLES: LazyLock<[[u32; 256]; 2]> = LazyLock::new(|| [0xEDB8_8320, 0x82F6_3B78].map(table));
        let table = &TABLES[self as usize];
        let bytes = parts.iter().flat_map(|part| part.iter());
        !bytes.fold(!0, |sum, byte| table[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8))
    }
}

fn table(polynomial: u32) -> [u32; 256] {
    let step = |sum: u32| if sum & 1 == 1 { polynomial ^ (sum >> 1) } else { sum >> 1 };
    let mut bytes = 0_u32..;
    std::array::from_fn(|_| (0..8).fold(bytes.next().unwrap(), |sum, _| step(sum)))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |field| u32::from_le_bytes(field.try_into().unwrap()))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |field| u64::from_le_bytes(field.try_into().unwrap()))
}
