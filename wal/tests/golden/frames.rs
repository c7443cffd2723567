//! Segments and frames as the format's document has them, sharing nothing with the crate.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The files of a log by their number.
pub(crate) type Files = BTreeMap<u64, Vec<u8>>;

/// A file under a header.
pub(crate) struct Segment<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) number: u64,
    pub(crate) capacity: usize,
    pub(crate) salt: u64,
    pub(crate) log_id: [u8; 16],
    pub(crate) features: u32,
    crc: Crc,
}

/// A frame whose sums fit.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) at: usize,
    /// Where the next one begins.
    pub(crate) next: usize,
    pub(crate) kind: u8,
    pub(crate) frag: u8,
    pub(crate) codec: u8,
    pub(crate) lsn: u64,
    pub(crate) records: u64,
    pub(crate) synced: usize,
    pub(crate) hcrc: u32,
    pub(crate) body: &'a [u8],
}

impl<'a> Segment<'a> {
    /// A file that may have lost its header, under that of `header`.
    pub(crate) fn under(header: &[u8], bytes: &'a [u8]) -> Option<Self> {
        let crc = Crc::of(header);
        let whole = header.len() >= 128 && header.starts_with(b"\x89LIW\r\n\x1a\n");
        if !whole || u32_at(header, 124) != crc.sum(&[&header[..124]]) {
            return None;
        }
        let features = u32_at(header, 12);
        assert!(header[8] == 1 && features & !0b1_0111 == 0, "none of a later version is made here");
        let capacity = usize::try_from(u64_at(header, 56)).unwrap();
        Some(Self {
            bytes: &bytes[..bytes.len().min(capacity)],
            number: u64_at(header, 40),
            capacity,
            salt: u64_at(header, 48),
            log_id: header[24..40].try_into().unwrap(),
            features,
            crc,
        })
    }

    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        Self::under(bytes, bytes)
    }

    /// The 32 bytes of a frame's header, if they are one.
    pub(crate) fn header(&self, at: usize) -> Option<&'a [u8]> {
        let header = self.bytes.get(at..at + 32)?;
        let fits = header[20] != 0 && header[22] < 4 && header[23] == 0;
        let salt = self.salt.to_le_bytes();
        (fits && u32_at(header, 0) == self.crc.sum(&[&salt, &header[4..]])).then_some(header)
    }

    pub(crate) fn frame(&self, at: usize) -> Option<Frame<'a>> {
        let header = self.header(at)?;
        let begin = at + 32;
        let body = self.bytes.get(begin..begin.checked_add(u32_at(header, 4) as usize)?)?;
        let fits = self.crc.sum(&[&self.salt.to_le_bytes(), body]) == u32_at(header, 28);
        fits.then(|| Frame {
            at,
            next: (begin + body.len()).next_multiple_of(8),
            kind: header[20],
            frag: header[22],
            codec: header[21],
            lsn: u64_at(header, 8),
            records: u32_at(header, 16).into(),
            synced: u32_at(header, 24) as usize * 8,
            hcrc: u32_at(header, 0),
            body,
        })
    }

    /// The groups that are whole from `at` on, one right behind the other.
    pub(crate) fn groups(&self, mut at: usize) -> Vec<Vec<Frame<'a>>> {
        let (mut groups, mut open, mut lsn) = (Vec::new(), Vec::<Frame<'a>>::new(), None);
        while let Some(frame) = self.frame(at) {
            let fits = matches!((open.is_empty(), frame.frag), (true, 0 | 1) | (false, 2 | 3));
            if !fits || lsn.is_some_and(|lsn| lsn != frame.lsn) || frame.synced > at {
                break;
            }
            (at, lsn) = (frame.next, Some(frame.lsn + frame.records));
            open.push(frame);
            if matches!(frame.frag, 0 | 3) {
                groups.push(std::mem::take(&mut open));
            }
            if frame.kind == 4 {
                break;
            }
        }
        groups
    }

    /// All groups that are whole, wherever they lie.
    pub(crate) fn all_groups(&self) -> Vec<Vec<Frame<'a>>> {
        let (mut all, mut at) = (Vec::new(), 4096);
        while at + 32 <= self.bytes.len() {
            let found = self.groups(at);
            at = found.last().and_then(|group| group.last()).map_or(at + 8, |frame| frame.next);
            all.extend(found);
        }
        all
    }
}

/// The records of a body, if it is nothing else, with the number of their stream, behind which each lies where there
/// are streams.
pub(crate) fn records(mut body: &[u8], of_streams: bool) -> Option<Vec<(u64, &[u8])>> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let stream = if of_streams { uvarint(&mut body)? } else { 0 };
        let len = usize::try_from(uvarint(&mut body)?).ok()?;
        let (record, rest) = body.split_at_checked(len)?;
        records.push((stream, record));
        body = rest;
    }
    Some(records)
}

impl Frame<'_> {
    /// The body as it was before a codec made it smaller.
    pub(crate) fn unpacked(&self) -> Option<Vec<u8>> {
        match self.codec {
            0 => Some(self.body.to_vec()),
            #[cfg(feature = "snappy")]
            1 => self.fitting(snap::raw::Decoder::new().decompress_vec(self.body.get(4..)?).ok()?),
            #[cfg(feature = "zstd")]
            2 => {
                self.fitting(zstd::bulk::decompress(self.body.get(4..)?, u32_at(self.body, 0) as usize).ok()?)
            }
            _ => None,
        }
    }

    /// It has the length that stands in front.
    fn fitting(&self, body: Vec<u8>) -> Option<Vec<u8>> {
        (body.len() == u32_at(self.body, 0) as usize).then_some(body)
    }
}

fn uvarint(body: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = body.split_first()?;
        *body = rest;
        value |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return Some(value);
        }
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

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |field| u32::from_le_bytes(field.try_into().unwrap()))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |field| u64::from_le_bytes(field.try_into().unwrap()))
}
