//! Counting the records of a body that comes in pieces, without joining them.

use crate::frame::Kind;

/// How far a body was read: by the lengths in it, without a look at the records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counter {
    records: u64,
    /// Bytes of the record that are still to come.
    left: u64,
    /// The number that is being read, and how many bytes of it there were.
    number: u64,
    bytes: u32,
    /// The number of its stream, once that was read.
    stream: Option<u32>,
}

impl Counter {
    /// Takes in the next piece of a body of this kind of frame; whether it may be one. The stream of each record that
    /// begins there goes to `sink`, with how many there were before it.
    pub(crate) fn take(&mut self, kind: Kind, mut piece: &[u8], mut sink: impl FnMut(u64, u32)) -> bool {
        loop {
            let skip = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
            self.left -= skip as u64;
            piece = piece.get(skip..).unwrap_or_default();
            let Some((&byte, rest)) = piece.split_first() else { return true };
            piece = rest;
            let bits = u64::from(byte & 0x7F);
            if self.bytes >= 9 && (self.bytes > 9 || bits > 1) {
                return false;
            }
            self.number |= bits << (7 * self.bytes);
            self.bytes += 1;
            if byte >= 0x80 {
                continue;
            }
            let number = std::mem::take(&mut self.number);
            self.bytes = 0;
            if kind == Kind::STREAM_DATA && self.stream.is_none() {
                self.stream = u32::try_from(number).ok();
                if self.stream.is_none() {
                    return false;
                }
                continue;
            }
            sink(self.records, self.stream.take().unwrap_or(0));
            self.left = number;
            self.records += 1;
        }
    }

    /// How many records there were, if the body ended with one.
    pub(crate) fn records(&self) -> Option<u64> {
        (self.left == 0 && self.bytes == 0 && self.stream.is_none()).then_some(self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::count_records;

    /// Of the body in these pieces, and the stream of each.
    fn count(kind: Kind, pieces: &[&[u8]]) -> (Option<u64>, Vec<(u64, u32)>) {
        let (mut counter, mut streams) = (Counter::default(), Vec::new());
        let fits = pieces
            .iter()
            .all(|piece| counter.take(kind, piece, |before, stream| streams.push((before, stream))));
        let records = counter.records().filter(|_| fits);
        streams.truncate(if records.is_some() { streams.len() } else { 0 });
        (records, streams)
    }

    #[test]
    fn it_counts_as_one_who_has_all_of_the_body() {
        let longest = b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01";
        let bodies: [&[u8]; 10] = [
            b"",
            b"\x01a\x00\x02bc",
            b"\x01a\x00\x02b",
            b"\x01a\x80",
            b"\x81\x80\x00a",
            longest,
            b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02",
            b"\x07\x01x\x00\x01y\xAC\x02\x02zz",
            b"\x07",
            b"\xFF\xFF\xFF\xFF\x1F\x00",
        ];
        for kind in [Kind::DATA, Kind::STREAM_DATA] {
            for body in bodies {
                let mut streams = Vec::new();
                let records = count_records(kind, body, |before, stream| streams.push((before, stream)));
                streams.truncate(if records.is_some() { streams.len() } else { 0 });
                let expected = (records, streams);
                for cut in 0..=body.len() {
                    let (head, tail) = body.split_at(cut);
                    assert_eq!(count(kind, &[head, tail]), expected, "{body:?} cut at {cut}");
                }
                let bytes: Vec<_> = body.chunks(1).collect();
                assert_eq!(count(kind, &bytes), expected, "{body:?} byte by byte");
            }
        }
    }
}
