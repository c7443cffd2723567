//! A batch while it is filled: lines, and of which bytes of which files they are.

use jiff::tz::TimeZone;

use super::joiner::{Cut, End, Joiner};
use super::parcel::Parcel;
use super::positions::Piece;
use super::stamp::Stamp;
use super::times::Times;

/// How bytes become lines.
#[derive(Debug)]
pub struct Reading {
    /// Cuts them.
    pub joiner: Joiner,
    /// Reads their times, where that is asked for.
    pub stamp: Option<Stamp>,
    /// Labels that every stream has, beside its file name.
    pub labels: Vec<(String, String)>,
    /// A batch is full with so many bytes.
    pub batch_bytes: usize,
    /// The time of reading.
    pub wall_ns: i64,
    pub(super) buffer: Vec<u8>,
}

/// A batch while it is filled.
#[derive(Debug, Default)]
pub struct Load {
    /// The lines.
    pub parcel: Parcel,
    /// Of which bytes they are; of standard input, nobody knows.
    pub pieces: Vec<Piece>,
    /// Lines of standard input, which nobody can read again.
    pub of_input: u64,
    /// Bytes that were read for them.
    pub bytes: u64,
    /// Lines that were cut.
    pub cut: u64,
    /// When the first line came.
    pub began_ns: u64,
}

impl Reading {
    /// Lines as they are, at the time of reading.
    pub fn new(joiner: Joiner, batch_bytes: usize) -> Self {
        Self { joiner, stamp: None, labels: Vec::new(), batch_bytes, wall_ns: 0, buffer: Vec::new() }
    }

    /// With times as the lines say them.
    ///
    /// # Errors
    /// The format is none.
    pub fn with_times(mut self, format: &str, zone: TimeZone) -> Result<Self, super::stamp::StampError> {
        self.stamp = Some(Stamp::parse(format, zone)?);
        Ok(self)
    }

    /// The labels of the stream `name`.
    fn labels_of(&self, name: &str) -> Vec<(String, String)> {
        let mut labels = self.labels.clone();
        if name != super::discover::STANDARD_INPUT && !labels.iter().any(|(label, _)| label == "filename") {
            labels.push(("filename".to_owned(), name.to_owned()));
        }
        labels.sort();
        labels
    }
}

impl Load {
    /// Whether it is to be sent.
    pub fn is_full(&self, reading: &Reading) -> bool {
        self.parcel.bytes() >= reading.batch_bytes
    }

    /// Takes the events at the start of `bytes`, which are `piece` of the stream `name` and followed by `end`, until it
    /// is full.
    pub fn take(
        &mut self,
        reading: &mut Reading,
        name: &str,
        times: &mut Times,
        bytes: &[u8],
        mut piece: Piece,
        end: End,
    ) -> Cut {
        let Self { parcel, cut, .. } = self;
        let stream = parcel.stream(name, || reading.labels_of(name));
        let Reading { joiner, stamp, batch_bytes, wall_ns, .. } = reading;
        // What was found in the piece before must not matter to this one: it may be read again without that.
        stamp.iter_mut().for_each(Stamp::forget);
        let done = joiner.cut(bytes, piece.within, end, |event| {
            let timestamp_ns = match stamp {
                None => times.read_at(*wall_ns),
                Some(stamp) => match stamp.of(event.text, *wall_ns) {
                    Some(said_ns) => times.said(said_ns),
                    None => times.silent(*wall_ns),
                },
            };
            parcel.push(stream, timestamp_ns, event.text);
            *cut += u64::from(event.cut);
            parcel.bytes() < *batch_bytes
        });
        if done.consumed > 0 {
            self.bytes += done.consumed as u64;
            piece.to += done.consumed as u64;
            self.pieces.push(piece);
        }
        done
    }
}
