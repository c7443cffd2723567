//! Walking the frames of one segment file in bounded memory, for recovery.
//!
//! A walk believes a frame only if its checksums, its place in the order of LSNs and its synced offset fit, and
//! a group only if all of it is there. So it ends at the byte where the first untrue thing begins.

use std::io;

use crate::carried::Carried;
use crate::codec::{NotUnpacked, Unpacker};
use crate::control::{Checkpoint, Seal, SegmentStart, StreamDef, low_watermark};
use crate::counter::Counter;
use crate::format::{Digest, FIRST_LSN, Features, HEADER_LEN, Header, MAX_NUMBER, MAX_RECORD, Unsupported};
use crate::frame::{Frag, FrameHeader, Kind};
use crate::fs::File;
use crate::record::count_records;
use crate::window::Window;

/// What the whole groups at the start of a segment say.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    /// Where it began, and with which LSN.
    pub(crate) begin: u64,
    pub(crate) first_lsn: u64,
    /// Where the last whole group ends.
    pub(crate) end: u64,
    /// Up to where frames prove that the segment was synced.
    pub(crate) synced: u64,
    /// The last frame that begins there or before; not looked for behind a hole.
    pub(crate) proven: u64,
    /// Its LSN: what the proof reaches.
    pub(crate) proven_lsn: u64,
    pub(crate) start: Option<SegmentStart>,
    pub(crate) seal: Option<Seal>,
    /// Where the last frame begins.
    pub(crate) last_at: u64,
    /// LSN after the last record.
    pub(crate) next_lsn: u64,
    pub(crate) low: u64,
    pub(crate) frames: u64,
    pub(crate) data_bytes: u64,
    /// Numbers that have no record.
    pub(crate) burned: u64,
    pub(crate) last_hcrc: u32,
    /// Whether the last frame says that the log was closed.
    pub(crate) clean: bool,
    /// What the next segment begins with, as all says that was walked before; filled in at the end.
    pub(crate) carried: Carried,
    /// Whether copies of all streams are behind the start, as a frame shows that is none and fills no hole.
    pub(crate) lists_all: bool,
    /// Nothing but its start and copies came so far.
    copies: bool,
    /// The kind of the group that was begun in fragments and is not over.
    open: Option<Kind>,
    /// Bytes of the bodies of its fragments so far, and the records in them.
    joined: u64,
    counter: Counter,
    /// Begun behind a hole: what a segment begins with, and counts, is not asked for.
    resumed: bool,
}

/// Why a walk cannot go on, although the bytes are whole.
#[derive(Debug)]
pub(crate) struct Unknown {
    pub(crate) offset: u64,
    pub(crate) what: Unsupported,
}

impl Walk {
    fn new() -> Self {
        Self {
            begin: HEADER_LEN,
            first_lsn: 0,
            end: HEADER_LEN,
            synced: HEADER_LEN,
            proven: HEADER_LEN,
            proven_lsn: 0,
            start: None,
            seal: None,
            last_at: HEADER_LEN,
            next_lsn: 0,
            low: 0,
            frames: 0,
            data_bytes: 0,
            burned: 0,
            last_hcrc: 0,
            clean: false,
            carried: Carried::default(),
            lists_all: false,
            copies: true,
            open: None,
            joined: 0,
            counter: Counter::default(),
            resumed: false,
        }
    }

    /// Where a walk may go on behind a hole: at a frame with this LSN, with what the frames before have said.
    pub(crate) fn behind(at: u64, next_lsn: u64, before: &Self, carried: Carried) -> Self {
        let (synced, low) = (before.synced, before.low);
        Self {
            begin: at,
            first_lsn: next_lsn,
            end: at,
            last_at: at,
            next_lsn,
            synced,
            low,
            resumed: true,
            copies: false,
            carried,
            ..Self::new()
        }
    }

    /// Walks a segment from its first frame. Burned numbers are counted from `from` on.
    pub(crate) fn over<R: File>(
        file: &R,
        header: &Header,
        sizes: (u64, u64),
    ) -> io::Result<Result<Self, Unknown>> {
        Self::new().on(file, header, sizes, &mut Window::default())
    }

    /// The same walk from its beginning.
    pub(crate) fn again(&self) -> Self {
        if self.resumed {
            Self::behind(self.begin, self.first_lsn, &Self::new(), Carried::default())
        } else {
            Self::new()
        }
    }

    /// Whether there is more in the segment than a part of what it begins with, behind one that hands this on.
    pub(crate) fn has_begun(&self, before: &Carried) -> bool {
        self.start.is_some_and(|start| {
            let more = self.next_lsn > start.base_lsn || self.seal.is_some();
            more || self.frames > 1 + self.carried.frames() || !self.carried.is_part_of(before)
        })
    }

    /// Goes on from where the walk stands.
    pub(crate) fn on<R: File>(
        self,
        file: &R,
        header: &Header,
        (size, from): (u64, u64),
        window: &mut Window,
    ) -> io::Result<Result<Self, Unknown>> {
        let digest = header.digest();
        let mut unpacker = Unpacker::default();
        let mut walk = self;
        // Control frames are whole groups, so this is never ahead of `whole`, and too much to be copied each time.
        let mut carried = std::mem::take(&mut walk.carried);
        let mut whole = walk.clone();
        // A frame at or before the newest proof of a sync, and its LSN.
        let mut proven = (HEADER_LEN, 0);
        while walk.seal.is_none() {
            let at = walk.end;
            let Some((frame, hcrc, body)) = window.frame(file, (at, size), &digest)? else { break };
            let synced = frame.synced();
            let next_lsn = if walk.is_before_start() { frame.first_lsn } else { walk.next_lsn };
            if synced > at || synced < walk.synced || frame.first_lsn != next_lsn {
                break;
            }
            let packed = header.features.has(Features::COMPRESSION) && frame.codec != 0;
            let unpacked = match packed && !frame.kind.is_ignorable() {
                true => unpacker.unpack(frame.codec, body),
                false => Ok(body),
            };
            let body = match unpacked {
                Ok(body) => body,
                Err(NotUnpacked::Damaged) => break,
                Err(NotUnpacked::Unknown) => {
                    return Ok(Err(Unknown { offset: at, what: Unsupported::Codec(frame.codec) }));
                }
            };
            match walk.step((&frame, body), header, from, &mut carried) {
                Step::Fits => {}
                Step::Broken => break,
                Step::Unknown(what) => return Ok(Err(Unknown { offset: at, what })),
            }
            if synced == at {
                proven = (at, next_lsn);
            }
            walk.synced = synced;
            walk.last_at = at;
            walk.end = at + frame.frame_len();
            walk.frames += 1;
            walk.last_hcrc = hcrc;
            if walk.open.is_none() || cfg!(wal_mutant = "half_a_batch") {
                // All but what is carried, which is not in either yet.
                whole = Self { carried: whole.carried, ..walk };
                carried.group();
            }
        }
        // Fragments at the end prove a sync as well as any frame.
        whole.synced = walk.synced;
        whole.carried = carried;
        if !whole.resumed {
            (whole.proven, whole.proven_lsn) =
                frame_at(file, window, (proven, walk.synced), (size, &digest))?;
        }
        Ok(Ok(whole))
    }

    fn is_before_start(&self) -> bool {
        self.start.is_none() && !self.resumed
    }

    /// Takes in a frame that is whole and in its place.
    fn step(
        &mut self,
        (frame, body): (&FrameHeader, &[u8]),
        header: &Header,
        from: u64,
        carried: &mut Carried,
    ) -> Step {
        let whole = frame.frag == Frag::Whole && self.open.is_none();
        let control = whole && frame.records == 0;
        if self.is_before_start() && (frame.kind != Kind::SEGMENT_START || !control) {
            return Step::Broken;
        }
        let packs = header.features.has(Features::COMPRESSION);
        if frame.codec != 0 && !packs && !frame.kind.is_ignorable() {
            return Step::Unknown(Unsupported::Codec(frame.codec));
        }
        let streams = header.features.has(Features::STREAMS);
        let fits = match frame.kind {
            Kind::STREAM_DATA | Kind::STREAM_DEF if !streams => {
                return Step::Unknown(Unsupported::Kind(frame.kind.0));
            }
            Kind::DATA | Kind::STREAM_DATA => self.data(frame, body, carried),
            Kind::SEGMENT_START => {
                self.start = SegmentStart::decode(body).filter(|start| {
                    let place = start.segment == header.segment && start.base_lsn == frame.first_lsn;
                    let bounds = (FIRST_LSN..=MAX_NUMBER).contains(&start.base_lsn);
                    place && bounds && self.is_before_start() && start.low_watermark <= start.base_lsn
                });
                self.start.is_some_and(|start| {
                    self.first_lsn = start.base_lsn;
                    self.next_lsn = start.base_lsn;
                    self.low = start.low_watermark;
                    control
                })
            }
            Kind::SEAL => {
                self.seal = Seal::decode(body).filter(|seal| {
                    let sums = seal.frames == self.frames && seal.data_bytes == self.data_bytes;
                    let next = header.segment.checked_add(1) == Some(seal.next_segment);
                    (sums || self.resumed) && seal.end_lsn == self.next_lsn && next
                });
                self.seal.is_some() && control
            }
            Kind::LOW_WATERMARK => match low_watermark(body).filter(|low| *low <= self.next_lsn) {
                Some(low) => {
                    self.low = self.low.max(low);
                    control
                }
                None => false,
            },
            Kind::CHECKPOINT => {
                let new = Checkpoint::decode(body).filter(|new| control && new.lsn <= self.next_lsn);
                carried.checkpoint(new)
            }
            Kind::STREAM_DEF => carried.stream(StreamDef::decode(body).filter(|_| control).map(|mut def| {
                // Records that come yet are not gone.
                def.low = def.low.min(self.next_lsn);
                def
            })),
            Kind::PAD | Kind::CLEAN_CLOSE => control,
            // Numbers are taken where they were burned, and by what a later version wrote.
            kind if kind == Kind::BURNED || kind.is_ignorable() => {
                let whole = whole && (kind != Kind::BURNED || frame.records > 0);
                self.next_lsn += u64::from(frame.records);
                self.burned += self.next_lsn.saturating_sub(frame.first_lsn.max(from));
                whole
            }
            kind => return Step::Unknown(Unsupported::Kind(kind.0)),
        };
        self.clean = frame.kind == Kind::CLEAN_CLOSE;
        if self.copies {
            self.copies = matches!(frame.kind, Kind::SEGMENT_START | Kind::STREAM_DEF | Kind::CHECKPOINT);
            self.lists_all =
                matches!(frame.kind, Kind::DATA | Kind::STREAM_DATA | Kind::SEAL | Kind::LOW_WATERMARK);
        }
        if fits { Step::Fits } else { Step::Broken }
    }

    fn data(&mut self, frame: &FrameHeader, body: &[u8], carried: &mut Carried) -> bool {
        let records = u64::from(frame.records);
        let before = if matches!(frame.frag, Frag::Middle | Frag::Last) { self.joined } else { 0 };
        // A reader joins them as they were before compression.
        self.joined = before + if frame.codec == 0 { u64::from(frame.body_len) } else { body.len() as u64 };
        if frame.frag == Frag::First {
            self.counter = Counter::default();
        }
        let record = |before, stream| carried.record(stream, frame.first_lsn.saturating_add(before + 1));
        let fits = match frame.frag {
            // None at all is legal: an empty batch once wrote that.
            Frag::Whole => self.open.is_none() && count_records(frame.kind, body, record) == Some(records),
            Frag::First => self.open.is_none() && records == 0 && self.counter.take(frame.kind, body, record),
            Frag::Middle => {
                self.open == Some(frame.kind) && records == 0 && self.counter.take(frame.kind, body, record)
            }
            Frag::Last => {
                let counted = self.open == Some(frame.kind) && self.counter.take(frame.kind, body, record);
                counted && records > 0 && self.counter.records() == Some(records)
            }
        };
        self.open = matches!(frame.frag, Frag::First | Frag::Middle).then_some(frame.kind);
        self.next_lsn += records;
        self.data_bytes += u64::from(frame.body_len);
        // A reader joins them in memory.
        fits && self.joined <= MAX_RECORD
    }
}

/// The last frame that begins at `to` or before, and its LSN, going over headers from such a frame on: what a walk
/// would have to remember of every frame.
fn frame_at<R: File>(
    file: &R,
    window: &mut Window,
    (mut found, to): ((u64, u64), u64),
    (size, digest): (u64, &Digest),
) -> io::Result<(u64, u64)> {
    let mut at = found.0;
    while at <= to
        && let Some(frame) = window.header(file, (at, size), digest)?
    {
        found = (at, frame.first_lsn);
        at += frame.frame_len();
    }
    Ok(found)
}

enum Step {
    Fits,
    Broken,
    Unknown(Unsupported),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joined, they were as long as the segment, and a reader held all of it.
    #[test]
    fn fragments_are_no_group_where_they_are_longer_than_any_batch() {
        let fragment = |frag, body_len| FrameHeader {
            body_len,
            first_lsn: 1,
            records: u32::from(frag == Frag::Last),
            kind: Kind::DATA,
            codec: 0,
            frag,
            synced8: 512,
            body_crc: 0,
        };
        let (mut walk, mut carried) = (Walk::new(), Carried::default());
        assert!(walk.data(&fragment(Frag::First, 200 << 20), &[], &mut carried));
        assert!(walk.data(&fragment(Frag::Middle, 50 << 20), &[], &mut carried));
        let mut longest = walk.clone();
        assert!(longest.data(&fragment(Frag::Last, 6 << 20), &[0], &mut carried));
        assert!(
            longest.data(&fragment(Frag::First, 200 << 20), &[], &mut carried),
            "the next one begins at nothing"
        );
        assert!(!walk.data(&fragment(Frag::Middle, (6 << 20) + 1), &[], &mut carried));
    }
}
