//! From the body of a push request to streams of borrowed lines.
//!
//! Every size a client claims is checked against the limits before memory is spent on it, and so is what its bytes
//! decode to, which may be many times as much: two bytes can stand for a line. Nothing is stored of a body that does
//! not decode to its end.

mod encoding;
mod fields;
mod json;
pub mod otlp;
mod protobuf;
mod room;

use std::borrow::Cow;

use bytes::Bytes;

use crate::excerpt::Excerpt;

pub use encoding::Encoding;
pub use room::{Intake, Room};

/// What a stream takes at most in a record and beside it, and each of its lines, beyond their bytes in the body.
const STREAM_BYTES: usize = 128;
const LINE_BYTES: usize = 24;

/// A name and its value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One stream of a push, borrowed from its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream<'a> {
    /// The labels as the client gave them.
    pub labels: LabelSet<'a>,
    /// The lines in the order they were sent.
    pub lines: Vec<Line<'a>>,
}

/// Labels as text (`{app="x"}`) or as an object of names and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelSet<'a> {
    /// Protobuf clients send the text, and those of the old JSON.
    Text(Cow<'a, str>),
    /// JSON clients send an object; in its order, repeated names included.
    Pairs(Vec<Pair<'a>>),
}

/// One line of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Nanoseconds since 1970.
    pub timestamp_ns: i64,
    /// The line.
    pub line: Cow<'a, [u8]>,
    /// Structured metadata in the client's order.
    pub metadata: Vec<Pair<'a>>,
}

/// The shape of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// `application/x-protobuf`: the message in a raw snappy block.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Why a push cannot be read. Nothing of it was stored.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// 400: send a body that decodes.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// The layer that did not decode.
        what: &'static str,
        /// What its decoder said.
        why: String,
    },
    /// 413: send smaller batches.
    #[error("{what} of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// The layer that is too large.
        what: &'static str,
        /// What the body claims or reached.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// 503: send it again a moment later.
    #[error("no room for {bytes} bytes: pushes of {held} bytes are being taken in, the limit is {limit}")]
    Busy {
        /// What there was no room for.
        bytes: u64,
        /// What all pushes hold.
        held: u64,
        /// The limit.
        limit: u64,
    },
    /// 415: send JSON or protobuf.
    #[error("content type {:?} is not supported: send application/json or application/x-protobuf", Excerpt(.0))]
    ContentType(String),
    /// 415: send snappy, gzip, deflate or none.
    #[error("content encoding {:?} is not supported: send snappy, gzip, deflate or identity", Excerpt(.0))]
    Encoding(String),
    /// 422: send at least one stream with a line.
    #[error("no streams in the push")]
    NoStreams,
}

impl ContentType {
    /// Reads a `Content-Type` header; one that is missing means protobuf, as Loki has it.
    ///
    /// # Errors
    /// [`PushError::ContentType`] for any other type.
    pub fn parse(header: Option<&str>) -> Result<Self, PushError> {
        let Some(header) = header else { return Ok(Self::Protobuf) };
        let media = header.split(';').next().unwrap_or(header).trim();
        if media.eq_ignore_ascii_case("application/json") {
            Ok(Self::Json)
        } else if media.eq_ignore_ascii_case("application/x-protobuf") {
            Ok(Self::Protobuf)
        } else {
            Err(PushError::ContentType(header.to_owned()))
        }
    }
}

/// A body that is unpacked but not yet borrowed from.
#[derive(Debug)]
pub enum Body {
    /// The message.
    Protobuf(Bytes),
    /// The text.
    Json(Bytes),
}

impl Body {
    /// Unpacks `body`, to at most as many bytes as `room` allows.
    ///
    /// # Errors
    /// [`PushError::Malformed`], [`PushError::TooLarge`] or [`PushError::Busy`].
    pub fn unpack(
        body: Bytes,
        content: ContentType,
        encoding: Encoding,
        room: &mut Room,
    ) -> Result<Self, PushError> {
        match content {
            ContentType::Json => Ok(Self::Json(encoding.unpack(body, room)?)),
            ContentType::Protobuf => {
                let block = match encoding {
                    Encoding::Snappy => body,
                    other => other.unpack(body, room)?,
                };
                Encoding::Snappy.unpack(block, room).map(Self::Protobuf)
            }
        }
    }

    /// Its bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Protobuf(bytes) | Self::Json(bytes) => bytes.len(),
        }
    }

    /// Gives the streams to `take`, one after the other: where the body has its lines one behind the other, no more than
    /// those of one stream are in memory. Their structures may take as many bytes as the body may unpack to. An error may
    /// come behind streams that were given; of such a body nothing is to be stored.
    ///
    /// # Errors
    /// [`PushError::Malformed`], [`PushError::TooLarge`], [`PushError::Busy`], or [`PushError::NoStreams`] where there
    /// is none.
    pub fn each_stream<'a>(
        &'a self,
        room: &mut Room,
        mut take: impl FnMut(&Stream<'a>),
    ) -> Result<(), PushError> {
        let mut some = false;
        match self {
            Self::Protobuf(message) => protobuf::each_stream(message, room, |stream, room| {
                some = true;
                room.recorded(STREAM_BYTES + LINE_BYTES * stream.lines.len())?;
                take(stream);
                Ok(())
            })?,
            Self::Json(text) => {
                for stream in json::streams(text, room)? {
                    some = true;
                    take(&stream);
                }
            }
        }
        if some { Ok(()) } else { Err(PushError::NoStreams) }
    }
}

#[cfg(test)]
mod tests;
