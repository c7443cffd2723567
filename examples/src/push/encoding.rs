//! Unpacking a body under a limit: what a bomb would grow to is never held in memory.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use super::PushError;
use super::room::Room;

/// A `Content-Encoding` that the push routes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// A raw snappy block.
    Snappy,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or bare RFC 1951 as some clients send it.
    Deflate,
}

impl Encoding {
    /// Reads a `Content-Encoding` header.
    ///
    /// # Errors
    /// [`PushError::Encoding`] for one that is not known.
    pub fn parse(header: Option<&str>) -> Result<Self, PushError> {
        match header.map(|h| h.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Self::Identity),
            Some("snappy") => Ok(Self::Snappy),
            Some("gzip" | "x-gzip") => Ok(Self::Gzip),
            Some("deflate") => Ok(Self::Deflate),
            Some(other) => Err(PushError::Encoding(other.to_owned())),
        }
    }

    /// The unpacked `body`, at most as many bytes as `room` allows.
    ///
    /// # Errors
    /// [`PushError::Malformed`], [`PushError::TooLarge`] or [`PushError::Busy`].
    pub fn unpack(self, body: Bytes, room: &mut Room) -> Result<Bytes, PushError> {
        match self {
            Self::Identity if body.len() as u64 > room.limit() => {
                Err(too_large(body.len() as u64, room.limit()))
            }
            Self::Identity => Ok(body),
            Self::Snappy => snappy(&body, room),
            Self::Gzip => read(MultiGzDecoder::new(body.as_ref()), "gzip body", body.len(), room),
            Self::Deflate => read(Inflate::new(&body), "deflate body", body.len(), room),
        }
    }
}

fn too_large(size: u64, limit: u64) -> PushError {
    PushError::TooLarge { what: "unpacked body", size, limit }
}

fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flg, ..] if cmf & 0x0f == 8 && u16::from_be_bytes([*cmf, *flg]) % 31 == 0)
}

/// Reads a deflated body to the end that it says it has: flate2's readers take one that is cut short for a whole one.
struct Inflate<'a> {
    body: &'a [u8],
    state: Decompress,
    ended: bool,
}

impl<'a> Inflate<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self { body, state: Decompress::new(is_zlib(body)), ended: false }
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !out.is_empty() {
            let (taken, given) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(self.body, out, FlushDecompress::None)?;
            let taken = usize::try_from(self.state.total_in() - taken).unwrap_or(self.body.len());
            let given = usize::try_from(self.state.total_out() - given).unwrap_or(out.len());
            self.body = self.body.get(taken..).unwrap_or_default();
            self.ended = status == Status::StreamEnd;
            if given > 0 {
                return Ok(given);
            }
            if taken == 0 && !self.ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}

fn snappy(body: &[u8], room: &mut Room) -> Result<Bytes, PushError> {
    let malformed = |e: snap::Error| PushError::Malformed { what: "snappy block", why: e.to_string() };
    let size = snap::raw::decompress_len(body).map_err(malformed)?;
    if size as u64 > room.limit() {
        return Err(too_large(size as u64, room.limit()));
    }
    // The block's own claim is not worth memory until the body is large enough for it: snappy cannot do better
    // than about 1 : 22.
    if size / 24 > body.len() {
        let why = format!("{} bytes cannot hold the {size} they claim", body.len());
        return Err(PushError::Malformed { what: "snappy block", why });
    }
    room.grow(size as u64)?;
    let mut out = vec![0; size];
    let len = snap::raw::Decoder::new().decompress(body, &mut out).map_err(malformed)?;
    out.truncate(len);
    Ok(out.into())
}

/// What it grows to is not known before: there is room for a likely size first, then for twice as much each time.
fn read(
    mut decoder: impl Read,
    what: &'static str,
    packed: usize,
    room: &mut Room,
) -> Result<Bytes, PushError> {
    let limit = room.limit();
    let mut out = Vec::new();
    let mut step = (packed as u64).saturating_mul(8).clamp(4 << 10, 1 << 26);
    loop {
        // A byte more than the limit tells a body that ends there from one that goes on.
        step = step.min((limit - out.len() as u64).saturating_add(1));
        room.grow(step)?;
        out.reserve_exact(usize::try_from(step).map_err(|_| too_large(step, limit))?);
        let read = decoder.by_ref().take(step).read_to_end(&mut out);
        let read = read.map_err(|e| PushError::Malformed { what, why: e.to_string() })?;
        if out.len() as u64 > limit {
            return Err(too_large(out.len() as u64, limit));
        }
        if (read as u64) < step {
            return Ok(out.into());
        }
        step = out.len() as u64;
    }
}
