//! Lines on their way, of several streams: encoded as often as they are sent, whole or in parts.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

use super::batch::{self, Batch};

/// How a push is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Packing {
    /// Protobuf in a snappy block: least work for both sides.
    #[default]
    Snappy,
    /// JSON in gzip: fewest bytes. Bytes that are no UTF-8 are replaced.
    Gzip,
    /// JSON as it is: to be read on the way. Bytes that are no UTF-8 are replaced.
    None,
}

/// Bytes that an entry is counted for beside its line: its time and its lengths.
const ENTRY_BYTES: usize = 24;

/// Lines of some streams.
#[derive(Debug, Default)]
pub struct Parcel {
    streams: Vec<Vec<(String, String)>>,
    by_name: BTreeMap<String, usize>,
    lines: Vec<Line>,
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    stream: usize,
    timestamp_ns: i64,
    end: usize,
}

impl Parcel {
    /// The number of the stream `name`, which gets `labels` when it is new.
    pub fn stream(&mut self, name: &str, labels: impl FnOnce() -> Vec<(String, String)>) -> usize {
        if let Some(&stream) = self.by_name.get(name) {
            return stream;
        }
        self.streams.push(labels());
        self.by_name.insert(name.to_owned(), self.streams.len() - 1);
        self.streams.len() - 1
    }

    /// Adds a line to a stream.
    pub fn push(&mut self, stream: usize, timestamp_ns: i64, text: &[u8]) {
        self.text.extend_from_slice(text);
        self.lines.push(Line { stream, timestamp_ns, end: self.text.len() });
    }

    /// Lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of the lines and their times.
    pub fn bytes(&self) -> usize {
        self.text.len() + ENTRY_BYTES * self.lines.len()
    }

    /// Streams that lines were meant for.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// The body of a push with the lines of these numbers. The same lines give the same bytes.
    ///
    /// # Panics
    /// Where there are fewer lines.
    pub fn encode(&self, lines: Range<usize>, packing: Packing) -> Bytes {
        let mut of_stream = vec![Vec::new(); self.streams.len()];
        for number in lines {
            of_stream[self.lines[number].stream].push(number);
        }
        match packing {
            Packing::Snappy => self.protobuf(&of_stream),
            Packing::None => self.json(&of_stream).into(),
            Packing::Gzip => {
                let mut out = GzEncoder::new(Vec::new(), Compression::fast());
                let written = out.write_all(&self.json(&of_stream)).and_then(|()| out.finish());
                written.expect("writing to memory does not fail").into()
            }
        }
    }

    fn text_of(&self, number: usize) -> (i64, &[u8]) {
        let start = number.checked_sub(1).map_or(0, |before| self.lines[before].end);
        let line = self.lines[number];
        (line.timestamp_ns, &self.text[start..line.end])
    }

    fn protobuf(&self, of_stream: &[Vec<usize>]) -> Bytes {
        let mut batch = Batch::default();
        for (labels, lines) in self.streams.iter().zip(of_stream) {
            let stream = batch.add_stream(labels);
            for &number in lines {
                let (timestamp_ns, text) = self.text_of(number);
                batch.push(stream, timestamp_ns, text);
            }
        }
        batch.encode()
    }

    fn json(&self, of_stream: &[Vec<usize>]) -> Vec<u8> {
        let mut out = b"{\"streams\":[".to_vec();
        let mut first_stream = true;
        for (labels, lines) in self.streams.iter().zip(of_stream).filter(|(_, lines)| !lines.is_empty()) {
            out.extend_from_slice(if std::mem::take(&mut first_stream) {
                b"{\"stream\":{"
            } else {
                b",{\"stream\":{"
            });
            for (i, (name, value)) in labels.iter().enumerate() {
                out.extend_from_slice(if i == 0 { b"" } else { b"," });
                quote(&mut out, name);
                out.push(b':');
                quote(&mut out, value);
            }
            out.extend_from_slice(b"},\"values\":[");
            for (i, &number) in lines.iter().enumerate() {
                let (timestamp_ns, text) = self.text_of(number);
                out.extend_from_slice(if i == 0 { b"[\"" } else { b",[\"" });
                out.extend_from_slice(timestamp_ns.to_string().as_bytes());
                out.extend_from_slice(b"\",");
                quote(&mut out, &String::from_utf8_lossy(text));
                out.push(b']');
            }
            out.extend_from_slice(b"]}");
        }
        out.extend_from_slice(b"]}");
        out
    }
}

fn quote(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text is JSON, and memory does not fail");
}

impl Packing {
    /// The `Content-Type` of a body that is packed so.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Snappy => batch::CONTENT_TYPE,
            Self::Gzip | Self::None => "application/json",
        }
    }

    /// What else the server has to be told.
    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self == Self::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logproto::{PushRequest, Timestamp};
    use flate2::read::GzDecoder;
    use prost::Message;
    use serde_json::{Value, json};
    use std::io::Read;

    fn parcel() -> Parcel {
        let labels =
            |app: &str| vec![("app".to_owned(), app.to_owned()), ("file".to_owned(), "a \"b\"".to_owned())];
        let mut parcel = Parcel::default();
        let a = parcel.stream("a", || labels("a"));
        let b = parcel.stream("b", || labels("b"));
        assert_eq!(parcel.stream("a", || panic!("it is known")), a);
        parcel.push(a, 1, b"one");
        parcel.push(b, 2, b"\xff\"\n");
        parcel.push(a, -3, b"");
        parcel
    }

    #[test]
    fn lines_are_the_same_in_protobuf_and_json() {
        let parcel = parcel();
        let message =
            snap::raw::Decoder::new().decompress_vec(&parcel.encode(0..3, Packing::Snappy)).unwrap();
        let request = PushRequest::decode(&message[..]).unwrap();
        assert_eq!(request.streams[0].labels, r#"{app="a", file="a \"b\""}"#);
        let of = |stream: usize| {
            let entries = &request.streams[stream].entries;
            entries.iter().map(|e| (e.timestamp.unwrap(), e.line.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(of(0), [(Timestamp::from_ns(1), b"one".to_vec()), (Timestamp::from_ns(-3), Vec::new())]);
        assert_eq!(of(1), [(Timestamp::from_ns(2), b"\xff\"\n".to_vec())]);

        let body = parcel.encode(0..3, Packing::None);
        let expected = json!({"streams": [
            {"stream": {"app": "a", "file": "a \"b\""}, "values": [["1", "one"], ["-3", ""]]},
            {"stream": {"app": "b", "file": "a \"b\""}, "values": [["2", "\u{fffd}\"\n"]]},
        ]});
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
        let mut unpacked = Vec::new();
        GzDecoder::new(&parcel.encode(0..3, Packing::Gzip)[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, body);
    }

    #[test]
    fn a_part_has_its_lines_only_and_no_stream_without_any() {
        let body = parcel().encode(1..2, Packing::None);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["streams"].as_array().unwrap().len(), 1);
        assert_eq!(body["streams"][0]["values"], json!([["2", "\u{fffd}\"\n"]]));
    }
}
