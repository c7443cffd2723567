//! Reading records back, one frame in memory at a time: for replay after opening, and at any time later.
//!
//! A reader sees a record once it is durable and not before, so that what was read cannot be taken back.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::Lsn;
use crate::directory::{Entry, segment_path};
use crate::error::{Damage, DamageClass, ReadError};
use crate::format::{Digest, HEADER_LEN, HEADER_USED, Header, MAX_RECORD};
use crate::frame::{FRAME_HEADER_LEN, Frag, Kind};
use crate::fs::{File, Fs, StdFs, read_full};
use crate::record::Records;
use crate::source::Source;
use crate::window::Window;

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its number; the next record's is one more, or higher where numbers were burned.
    pub lsn: Lsn,
    /// The stream it belongs to; 0 where the log has none.
    pub stream: u32,
    /// What was appended: a slice of the frame it was stored in.
    pub bytes: Bytes,
}

/// Records in order, from where the reader was made up to what is durable.
///
/// `None` says that the reader has caught up: asked again later, it goes on with what has been appended since.
/// After [`ReadError::Io`] it tries again when asked again; after any other error it has ended, and a new reader from
/// [`next_lsn`](Self::next_lsn) tries again.
///
/// A reader of a log that is open pins it where it reads, under the name `reader`, and so holds back
/// [`truncate_before`](crate::Wal::truncate_before): drop it when done. It keeps one frame in memory, or the
/// fragments of one record; reading costs one copy and one checksum of every byte.
pub struct Reader<F: Fs = StdFs> {
    source: Source<F>,
    segment: Option<Open<F>>,
    window: Window,
    /// Records below are skipped.
    from: u64,
    /// LSN of the next frame.
    lsn: u64,
    /// Records of the frame before it that are still to be given out, and the LSN of the first.
    ready: (u64, Records),
    /// Durable when last looked at.
    limit: u64,
    fragments: Vec<u8>,
    failed: bool,
}

struct Open<F: Fs> {
    file: F::File,
    path: PathBuf,
    number: u64,
    digest: Digest,
    size: u64,
    offset: u64,
}

impl<F: Fs> Reader<F> {
    pub(crate) fn new(source: Source<F>, from: u64) -> Self {
        Self {
            source,
            segment: None,
            window: Window::default(),
            from,
            lsn: from,
            ready: (from, Records::new(Bytes::new())),
            limit: 0,
            fragments: Vec::new(),
            failed: false,
        }
    }

    /// LSN of the record that comes next.
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.ready.0.max(self.from))
    }

    /// Takes in one frame. After an error of the file system the next step tries again from the same place.
    fn step(&mut self) -> Result<(), ReadError> {
        let mut open = match self.segment.take() {
            Some(open) => open,
            None => {
                let entry = self.source.holding(self.lsn);
                let entry = entry.expect("there are durable records, so there is a segment");
                self.lsn = entry.base;
                self.open(entry)?
            }
        };
        let frame = match self.window.frame(&open.file, (open.offset, open.size), &open.digest) {
            Ok(frame) => frame,
            Err(source) => {
                let path = open.path.clone();
                self.segment = Some(open);
                return Err(ReadError::Io { operation: "read", path, source });
            }
        };
        let (frame, body) = match frame {
            Some((frame, _, body)) if frame.first_lsn == self.lsn => (frame, body),
            // A segment without records, whose file was given to another meanwhile: its pin holds records only.
            _ if !self.source.has(open.number) => return Ok(()),
            _ => return Err(corrupt((&open.path, open.number), open.offset, self.lsn..self.limit)),
        };
        if frame.frag == Frag::First {
            self.fragments.clear();
        }
        if (self.fragments.len() + body.len()) as u64 > MAX_RECORD {
            return Err(corrupt((&open.path, open.number), open.offset, self.lsn..self.limit));
        }
        let records = u64::from(frame.records);
        let wanted = self.lsn + records > self.from;
        match (frame.kind, frame.frag) {
            (Kind::DATA | Kind::STREAM_DATA, Frag::Whole) if wanted => {
                self.ready = (self.lsn, Records::of(frame.kind, Bytes::copy_from_slice(body)));
            }
            (Kind::DATA | Kind::STREAM_DATA, Frag::First | Frag::Middle) => {
                self.fragments.extend_from_slice(body);
            }
            (Kind::DATA | Kind::STREAM_DATA, Frag::Last) => {
                self.fragments.extend_from_slice(body);
                let body = std::mem::take(&mut self.fragments);
                if wanted {
                    self.ready = (self.lsn, Records::of(frame.kind, body.into()));
                }
            }
            // Burned, or a later version's: no record has these numbers.
            _ if wanted => self.ready = (self.lsn + records, Records::new(Bytes::new())),
            _ => {}
        }
        self.lsn += records;
        if frame.kind == Kind::SEAL {
            let Some(next) = self.source.after(open.number) else {
                // The files that a view saw have changed.
                return Err(corrupt((&open.path, open.number), open.offset, self.lsn..self.limit));
            };
            open = self.open(next)?;
        } else {
            open.offset += frame.frame_len();
        }
        self.segment = Some(open);
        Ok(())
    }

    fn open(&mut self, entry: Entry) -> Result<Open<F>, ReadError> {
        self.source.advance(self.from.max(entry.base));
        self.window.clear();
        let path = segment_path(self.source.dir(), entry.segment);
        let opened = self.source.fs().open_read(&path).and_then(|file| {
            let mut block = [0_u8; HEADER_USED];
            read_full(&file, &mut block, 0)?;
            Ok((file.size()?, file, block))
        });
        let (size, file, block) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(ReadError::Io { operation: "open", path, source }),
        };
        match Header::decode(&block) {
            Ok(header) if header.segment == entry.segment && header.log_id == self.source.log_id() => {
                let digest = header.digest();
                Ok(Open { file, path, number: entry.segment, digest, size, offset: HEADER_LEN })
            }
            _ if !self.source.has(entry.segment) => {
                Err(ReadError::Io { operation: "open", path, source: io::ErrorKind::NotFound.into() })
            }
            _ => Err(corrupt((&path, entry.segment), 0, self.lsn..self.limit)),
        }
    }
}

impl<F: Fs> Iterator for Reader<F> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            match self.ready.1.next() {
                Some(Some(bytes)) => {
                    let lsn = self.ready.0;
                    self.ready.0 += 1;
                    if lsn >= self.from {
                        return Some(Ok(Record { lsn: Lsn(lsn), stream: self.ready.1.stream(), bytes }));
                    }
                    continue;
                }
                Some(None) => {
                    self.failed = true;
                    let open = self.segment.as_ref();
                    let place = open.map_or((Path::new(""), 0), |open| (&open.path, open.number));
                    let offset = open.map_or(0, |open| open.offset);
                    return Some(Err(corrupt(place, offset, self.ready.0..self.limit)));
                }
                None => {}
            }
            if self.lsn >= self.limit {
                let durable = self.source.end();
                if durable <= self.limit || self.lsn >= durable {
                    return None;
                }
                // What was read ahead of the durable end has been overwritten since.
                self.window.clear();
                self.limit = durable;
            }
            if let Err(error) = self.step() {
                self.failed = matches!(error, ReadError::Corrupt(_));
                return Some(Err(error));
            }
        }
    }
}

impl<F: Fs> fmt::Debug for Reader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("next_lsn", &self.next_lsn()).finish_non_exhaustive()
    }
}

fn corrupt((path, segment): (&Path, u64), offset: u64, lsns: std::ops::Range<u64>) -> ReadError {
    let bytes = offset..offset + FRAME_HEADER_LEN as u64;
    let lsns = Lsn(lsns.start)..Lsn(lsns.end);
    let path = path.to_path_buf();
    ReadError::Corrupt(Damage { path, segment, bytes, lsns, class: DamageClass::DamagedDurable })
}
