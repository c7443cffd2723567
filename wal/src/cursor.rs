//! Where a reader stands in the files of a log: frame after frame, record after record, one frame in memory at a time.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::Lsn;
use crate::codec::Unpacker;
use crate::directory::{Entry, segment_path};
use crate::error::{Damage, DamageClass, ReadError};
use crate::format::{Digest, Features, HEADER_LEN, HEADER_USED, Header, MAX_RECORD};
use crate::frame::{FRAME_HEADER_LEN, Frag, Kind};
use crate::fs::{File, Fs, read_full};
use crate::record::Records;
use crate::source::Source;
use crate::window::Window;

pub(crate) struct Cursor<F: Fs> {
    pub(crate) source: Source<F>,
    segment: Option<Open<F>>,
    window: Window,
    /// Records below are skipped.
    from: u64,
    /// LSN of the next frame.
    lsn: u64,
    /// LSN of the next record of the frame before it, and where those are that are still to be given out.
    ready: (u64, Records),
    place: Body,
    /// The body of a batch in fragments.
    joined: Bytes,
    fragments: Vec<u8>,
    unpacker: Unpacker,
}

/// Where the body of a frame lies.
#[derive(Clone, Copy)]
enum Body {
    Window,
    Unpacked,
    Joined,
}

struct Open<F: Fs> {
    file: F::File,
    path: PathBuf,
    number: u64,
    digest: Digest,
    /// Whether bodies may be compressed.
    packs: bool,
    size: u64,
    offset: u64,
}

/// A record in the [`body`](Cursor::body) of its frame.
pub(crate) struct Found {
    pub(crate) lsn: u64,
    pub(crate) stream: u32,
    pub(crate) at: Range<usize>,
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A frame nearer to the end.
    Nearer,
    /// The records below this LSN are gone.
    Gone(u64),
}

impl<F: Fs> Cursor<F> {
    pub(crate) fn new(source: Source<F>, from: u64) -> Self {
        Self {
            source,
            segment: None,
            window: Window::default(),
            from,
            lsn: from,
            ready: (from, Records::NONE),
            place: Body::Window,
            joined: Bytes::new(),
            fragments: Vec::new(),
            unpacker: Unpacker::default(),
        }
    }

    /// LSN of the record that comes next.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.ready.0.max(self.from)
    }

    /// LSN of the next frame: up to there all is in memory.
    #[inline]
    pub(crate) fn frame_lsn(&self) -> u64 {
        self.lsn
    }

    /// The segment it reads from.
    #[inline]
    pub(crate) fn segment(&self) -> Option<u64> {
        self.segment.as_ref().map(|open| open.number)
    }

    /// Whether the next step reads nothing from a file.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_frame(&self) -> bool {
        self.segment.as_ref().is_some_and(|open| self.window.holds_frame(open.offset))
    }

    /// What was read ahead of the end is overwritten by what comes.
    pub(crate) fn forget_ahead(&mut self) {
        self.window.forget_ahead();
    }

    /// Nothing more comes in this segment.
    pub(crate) fn leave(&mut self) {
        self.segment = None;
        self.source.advance(self.next_lsn());
    }

    /// Records below `lsn` are not wanted any more.
    pub(crate) fn skip_to(&mut self, lsn: u64) {
        self.from = self.from.max(lsn);
        if self.segment.as_ref().is_some_and(|open| !self.source.has(open.number)) {
            self.segment = None;
            self.fragments.clear();
        }
    }

    /// What the records of the frame lie in.
    #[inline]
    pub(crate) fn body(&self) -> &Bytes {
        match self.place {
            Body::Window => self.window.buf(),
            Body::Unpacked => self.unpacker.body(),
            Body::Joined => &self.joined,
        }
    }

    /// The next record of the frame that was taken in last; `limit` is the end of those that can be lost.
    #[inline]
    pub(crate) fn record(&mut self, limit: u64) -> Option<Result<Found, ReadError>> {
        let buf = match self.place {
            Body::Window => self.window.buf(),
            Body::Unpacked => self.unpacker.body(),
            Body::Joined => &self.joined,
        };
        while let Some(at) = self.ready.1.next(buf) {
            let Some(at) = at else {
                let lsns = self.ready.0..limit;
                self.ready.1 = Records::NONE;
                return Some(Err(self.corrupt(lsns)));
            };
            let lsn = self.ready.0;
            self.ready.0 += 1;
            if lsn >= self.from {
                return Some(Ok(Found { lsn, stream: self.ready.1.stream(), at }));
            }
        }
        None
    }

    /// Takes in one frame, when all records of the one before are given out. After an error of the file system the next
    /// step tries again from the same place. There is a record at or behind [`frame_lsn`](Self::frame_lsn) and below
    /// `limit`.
    pub(crate) fn step(&mut self, limit: u64) -> Result<Step, ReadError> {
        let mut open = match self.segment.take() {
            Some(open) => open,
            None => {
                let entry = self.source.holding(self.lsn);
                let entry = entry.expect("there are records, so there is a segment");
                if entry.base > self.lsn.max(self.from) {
                    self.lsn = entry.base;
                    return Ok(Step::Gone(entry.base));
                }
                self.lsn = entry.base;
                match self.open(entry, limit)? {
                    Some(open) => open,
                    None => return Ok(Step::Nearer),
                }
            }
        };
        let located = match self.window.locate(&open.file, (open.offset, open.size), &open.digest) {
            Ok(located) => located,
            Err(source) => {
                let path = open.path.clone();
                self.segment = Some(open);
                return Err(ReadError::Io { operation: "read", path, source });
            }
        };
        let (frame, body) = match located {
            Some((frame, _, body)) if frame.first_lsn == self.lsn => (frame, body),
            // Its file was given to another meanwhile: where it is pinned, it had no records.
            _ if !self.source.has(open.number) => {
                self.fragments.clear();
                return Ok(Step::Nearer);
            }
            _ => return Err(corrupt((&open.path, open.number), open.offset, self.lsn..limit)),
        };
        if frame.frag == Frag::First {
            self.fragments.clear();
        }
        let is_data = matches!(frame.kind, Kind::DATA | Kind::STREAM_DATA);
        let (place, body) = if is_data && open.packs && frame.codec != 0 {
            let stored = self.window.buf().get(body).unwrap_or_default();
            match self.unpacker.unpack(frame.codec, stored) {
                Ok(raw) => (Body::Unpacked, 0..raw.len()),
                Err(_) => return Err(corrupt((&open.path, open.number), open.offset, self.lsn..limit)),
            }
        } else {
            (Body::Window, body)
        };
        if (self.fragments.len() + body.len()) as u64 > MAX_RECORD {
            return Err(corrupt((&open.path, open.number), open.offset, self.lsn..limit));
        }
        let records = u64::from(frame.records);
        let end = self.lsn + records;
        match (frame.kind, frame.frag) {
            (Kind::DATA | Kind::STREAM_DATA, Frag::Whole) => {
                self.place = place;
                self.ready = (self.lsn, Records::of(frame.kind, body));
            }
            (Kind::DATA | Kind::STREAM_DATA, Frag::First | Frag::Middle) => {
                self.place = place;
                let mut fragments = std::mem::take(&mut self.fragments);
                fragments.extend_from_slice(self.body().get(body).unwrap_or_default());
                self.fragments = fragments;
            }
            (Kind::DATA | Kind::STREAM_DATA, Frag::Last) => {
                self.place = place;
                let mut fragments = std::mem::take(&mut self.fragments);
                fragments.extend_from_slice(self.body().get(body).unwrap_or_default());
                self.joined = fragments.into();
                self.place = Body::Joined;
                self.ready = (self.lsn, Records::of(frame.kind, 0..self.joined.len()));
            }
            // Burned, or a later version's: no record has these numbers.
            _ => self.ready = (end, Records::NONE),
        }
        if end <= self.from {
            self.ready = (end, Records::NONE);
        }
        self.lsn = end;
        if frame.kind != Kind::SEAL {
            open.offset += frame.frame_len();
            self.segment = Some(open);
            return Ok(Step::Nearer);
        }
        let Some(next) = self.source.after(open.number) else {
            // The files that a view saw have changed.
            return Err(corrupt((&open.path, open.number), open.offset, self.lsn..limit));
        };
        if next.base == self.lsn {
            self.segment = self.open(next, limit)?;
        } else {
            // A truncation took what lies between off the list: who pins nothing is told at the next step.
            self.fragments.clear();
        }
        Ok(Step::Nearer)
    }

    /// Opens a segment, unless it has gone meanwhile.
    fn open(&mut self, entry: Entry, limit: u64) -> Result<Option<Open<F>>, ReadError> {
        self.source.advance(self.from.max(entry.base));
        self.window.clear();
        self.fragments.clear();
        let path = segment_path(self.source.dir(), entry.segment);
        let opened = self.source.fs().open_read(&path).and_then(|file| {
            let mut block = [0_u8; HEADER_USED];
            read_full(&file, &mut block, 0)?;
            Ok((file.size()?, file, block))
        });
        let (size, file, block) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.source.has(entry.segment) => {
                return Ok(None);
            }
            Err(source) => return Err(ReadError::Io { operation: "open", path, source }),
        };
        match Header::decode(&block) {
            Ok(header) if header.segment == entry.segment && header.log_id == self.source.log_id() => {
                let (digest, packs) = (header.digest(), header.features.has(Features::COMPRESSION));
                let (number, offset) = (entry.segment, HEADER_LEN);
                Ok(Some(Open { file, path, number, digest, packs, size, offset }))
            }
            _ if !self.source.has(entry.segment) => Ok(None),
            _ => Err(corrupt((&path, entry.segment), 0, self.lsn..limit)),
        }
    }

    fn corrupt(&self, lsns: Range<u64>) -> ReadError {
        let open = self.segment.as_ref();
        let place = open.map_or((Path::new(""), 0), |open| (&open.path, open.number));
        corrupt(place, open.map_or(0, |open| open.offset), lsns)
    }
}

fn corrupt((path, segment): (&Path, u64), offset: u64, lsns: Range<u64>) -> ReadError {
    let bytes = offset..offset + FRAME_HEADER_LEN as u64;
    let lsns = Lsn(lsns.start)..Lsn(lsns.end);
    let path = path.to_path_buf();
    ReadError::Corrupt(Damage { path, segment, bytes, lsns, class: DamageClass::DamagedDurable })
}
