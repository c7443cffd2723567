//! Lines on their way into the body of a push: protobuf, then a raw snappy block.
//!
//! Entries are written as they come, straight into the message of their stream, so a batch costs one copy of a line
//! and no allocation per line. The test decodes it with the messages that the server uses.

use bytes::Bytes;
use prost::encoding::{encode_varint, encoded_len_varint};

/// `application/x-protobuf`, what a [`Batch`] encodes to.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// Keys of the fields, all of them of field number 1 or 2: (number << 3) | wire type.
const STREAMS: u8 = 0x0a;
const LABELS: u8 = 0x0a;
const ENTRIES: u8 = 0x12;
const TIMESTAMP: u8 = 0x0a;
const LINE: u8 = 0x12;
const SECONDS: u8 = 0x08;
const NANOS: u8 = 0x10;

/// Lines of some streams, collected for one push.
#[derive(Debug)]
pub struct Batch {
    streams: Vec<Stream>,
    message: Vec<u8>,
    snappy: snap::raw::Encoder,
    lines: usize,
    line_bytes: usize,
    entry_bytes: usize,
}

#[derive(Debug)]
struct Stream {
    labels: String,
    entries: Vec<u8>,
}

impl Default for Batch {
    fn default() -> Self {
        let snappy = snap::raw::Encoder::new();
        Self { streams: Vec::new(), message: Vec::new(), snappy, lines: 0, line_bytes: 0, entry_bytes: 0 }
    }
}

impl Batch {
    /// Lets lines come from one more stream, and says by which number.
    pub fn add_stream(&mut self, labels: &[(String, String)]) -> usize {
        self.streams.push(Stream { labels: selector(labels), entries: Vec::new() });
        self.streams.len() - 1
    }

    /// Adds a line to a stream.
    ///
    /// # Panics
    /// Where [`add_stream`](Self::add_stream) did not give the number `stream`.
    pub fn push(&mut self, stream: usize, timestamp_ns: i64, line: &[u8]) {
        let seconds = timestamp_ns.div_euclid(1_000_000_000).cast_unsigned();
        let nanos = timestamp_ns.rem_euclid(1_000_000_000).cast_unsigned();
        let timestamp_len = 2 + encoded_len_varint(seconds) + encoded_len_varint(nanos);
        let entry_len = 2 + timestamp_len + 1 + encoded_len_varint(line.len() as u64) + line.len();

        let out = &mut self.streams[stream].entries;
        let before = out.len();
        out.push(ENTRIES);
        encode_varint(entry_len as u64, out);
        out.push(TIMESTAMP);
        encode_varint(timestamp_len as u64, out);
        out.push(SECONDS);
        encode_varint(seconds, out);
        out.push(NANOS);
        encode_varint(nanos, out);
        out.push(LINE);
        encode_varint(line.len() as u64, out);
        out.extend_from_slice(line);
        self.entry_bytes += out.len() - before;
        self.lines += 1;
        self.line_bytes += line.len();
    }

    /// Lines collected.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Bytes of the lines collected.
    pub fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// Bytes that the lines collected take in the message, about 20 a line more than the lines.
    pub fn entry_bytes(&self) -> usize {
        self.entry_bytes
    }

    /// The body of a push with all lines; the batch is empty then and keeps its streams.
    pub fn encode(&mut self) -> Bytes {
        self.message.clear();
        for Stream { labels, entries } in self.streams.iter_mut().filter(|stream| !stream.entries.is_empty())
        {
            let stream_len = 1 + encoded_len_varint(labels.len() as u64) + labels.len() + entries.len();
            self.message.push(STREAMS);
            encode_varint(stream_len as u64, &mut self.message);
            self.message.push(LABELS);
            encode_varint(labels.len() as u64, &mut self.message);
            self.message.extend_from_slice(labels.as_bytes());
            self.message.append(entries);
        }
        self.lines = 0;
        self.line_bytes = 0;
        self.entry_bytes = 0;
        self.snappy.compress_vec(&self.message).expect("a batch is far smaller than 4 GiB").into()
    }
}

/// Labels as Loki writes them, `{a="x", b="y"}`, with Go's escapes.
fn selector(labels: &[(String, String)]) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { ", " });
        out.push_str(name);
        out.push_str("=\"");
        for character in value.chars() {
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                '\n' => out.push_str("\\n"),
                '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
                _ => out.push(character),
            }
        }
        out.push('"');
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logproto::{PushRequest, Timestamp};
    use prost::Message;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn decode(body: &[u8]) -> PushRequest {
        let message = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        PushRequest::decode(&message[..]).unwrap()
    }

    #[test]
    fn what_is_pushed_is_what_the_server_decodes() {
        let long = vec![b'x'; 70_000];
        let lines: [(i64, &[u8]); 5] = [
            (0, b""),
            (1, b"\xff\x00"),
            (999_999_999, b"a line"),
            (1_772_884_800_123_456_789, &long),
            (-1, b"old"),
        ];
        let mut batch = Batch::default();
        let first = batch.add_stream(&pairs(&[("app", "a"), ("file", "C:\\\"x\"\n\t")]));
        batch.add_stream(&pairs(&[("app", "silent")]));
        let third = batch.add_stream(&pairs(&[("app", "b")]));
        for (timestamp_ns, line) in lines {
            batch.push(first, timestamp_ns, line);
            batch.push(third, timestamp_ns, line);
        }
        assert_eq!((batch.lines(), batch.line_bytes()), (10, 2 * (2 + 6 + 70_000 + 3)));

        let request = decode(&batch.encode());
        assert_eq!(request.streams.len(), 2, "the stream without lines is not sent");
        assert_eq!(request.streams[0].labels, r#"{app="a", file="C:\\\"x\"\n\x09"}"#);
        assert_eq!(request.streams[1].labels, r#"{app="b"}"#);
        for stream in request.streams {
            let sent =
                stream.entries.iter().map(|e| (e.timestamp.unwrap(), e.line.to_vec())).collect::<Vec<_>>();
            let wanted = lines.map(|(timestamp_ns, line)| (Timestamp::from_ns(timestamp_ns), line.to_vec()));
            assert_eq!(sent, wanted);
        }
    }

    #[test]
    fn an_encoded_batch_is_empty_and_knows_its_streams() {
        let mut batch = Batch::default();
        let stream = batch.add_stream(&pairs(&[("app", "a")]));
        batch.push(stream, 1, b"first");
        batch.encode();
        assert_eq!((batch.lines(), batch.line_bytes()), (0, 0));
        batch.push(stream, 2, b"second");
        let request = decode(&batch.encode());
        assert_eq!(request.streams[0].entries.len(), 1);
        assert_eq!(request.streams[0].entries[0].line, &b"second"[..]);
    }
}
