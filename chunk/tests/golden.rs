//! Chunks that Loki wrote, in every version that it writes and every codec, and what Loki itself reads from
//! them. Runs over the files in `tests/golden`, and over those of the directory that `FOREBAY_GOLDEN_LOKI`
//! names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use forebay_chunk::loki::{Key, Object, Schema, fingerprint};
use forebay_chunk::{Append, Builder, BuilderOptions, Chunk, Codec, Direction, EncodedChunk, Format, Limits};
use serde_json::Value;

#[path = "support/owned.rs"]
mod owned;
use owned::{Owned, collect, directed};

/// What Loki's test configuration had, for that chunks are cut where Loki cut them.
const BLOCK_SIZE: usize = 8192;

/// A row of the manifest, and the files of its name as far as they are there.
struct Golden {
    row: Value,
    directory: PathBuf,
}

impl Golden {
    fn all() -> Vec<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let other = std::env::var_os("FOREBAY_GOLDEN_LOKI").map(PathBuf::from);
        let mut all = Vec::new();
        for directory in [Some(own), other].into_iter().flatten() {
            let manifest = read(&directory.join("manifest.json")).expect("a manifest");
            let rows: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
            all.extend(rows.into_iter().map(|row| Self { row, directory: directory.clone() }));
        }
        all
    }

    /// Those whose codec is there, with the chunk opened.
    fn supported() -> impl Iterator<Item = (Self, Chunk)> {
        let mut all = Self::all();
        all.retain(|golden| golden.codec().is_supported());
        all.into_iter().map(|golden| {
            let bytes = golden.file("chunk").expect("a chunk");
            let chunk =
                Chunk::open(bytes, &Limits::default()).unwrap_or_else(|e| panic!("{}: {e}", golden.name()));
            (golden, chunk)
        })
    }

    fn name(&self) -> &str {
        self.text("name")
    }

    fn text(&self, field: &str) -> &str {
        self.row[field].as_str().unwrap()
    }

    fn number(&self, field: &str) -> u64 {
        self.row[field].as_u64().unwrap()
    }

    fn codec(&self) -> Codec {
        self.text("codec").parse().unwrap()
    }

    fn file(&self, extension: &str) -> Option<Vec<u8>> {
        read(&self.directory.join(format!("{}.{extension}", self.name())))
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        let labels = self.row["labels"].as_object().unwrap();
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect()
    }

    /// What Loki reads back, in order.
    fn entries(&self) -> Vec<Owned> {
        let text = String::from_utf8(self.file("entries.jsonl").expect("entries")).unwrap();
        let entry = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            let pairs = value["metadata"].as_array().cloned().unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap().as_bytes().to_vec();
            Owned {
                timestamp_ns: value["ts"].as_str().unwrap().parse().unwrap(),
                line: unbase64(value["line_b64"].as_str().unwrap()),
                metadata: pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
            }
        };
        text.lines().map(entry).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn read(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

fn unbase64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|&byte| byte != b'=');
    let (mut out, mut bits, mut count) = (Vec::new(), 0usize, 0);
    for digit in digits {
        bits = bits << 6 | ALPHABET.iter().position(|&known| known == digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count).to_le_bytes()[0]);
        }
    }
    out
}

fn built(format: Format, codec: Codec, entries: &[Owned]) -> EncodedChunk {
    let options = BuilderOptions { format, codec, block_size: BLOCK_SIZE, ..BuilderOptions::default() };
    let mut builder = Builder::new(options).unwrap();
    for entry in entries {
        assert_eq!(entry.lend(|entry| builder.append(entry)), Ok(Append::Stored));
    }
    builder.finish().unwrap()
}

#[test]
fn every_codec_that_loki_has_is_known_and_read() {
    let all = Golden::all();
    for golden in &all {
        assert_eq!(u64::from(golden.codec().byte()), golden.number("codec_byte"), "{}", golden.name());
    }
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_supported()) {
        assert!(Golden::supported().filter(|(golden, _)| golden.codec() == codec).count() >= 5, "{codec}");
    }
}

#[test]
fn what_loki_wrote_is_read_as_loki_reads_it() {
    for (golden, chunk) in Golden::supported() {
        let name = golden.name();
        assert_eq!(u64::from(chunk.format().version()), golden.number("format"), "{name}");
        assert_eq!(chunk.codec(), golden.codec(), "{name}");
        assert_eq!(chunk.blocks().len() as u64, golden.number("blocks"), "{name}");
        assert_eq!(chunk.entry_count(), golden.number("entries"), "{name}");
        assert_eq!(chunk.damage(), [], "{name}");
        let expected = golden.entries();
        assert_eq!(chunk.bounds(), Some((expected[0].timestamp_ns, expected.last().unwrap().timestamp_ns)));
        for direction in [Direction::Forward, Direction::Backward] {
            let found = collect(&mut chunk.entries(.., direction)).unwrap();
            assert_eq!(found, directed(expected.clone(), direction), "{name} {direction:?}");
        }
    }
}

#[test]
fn the_envelope_and_the_keys_are_those_of_loki() {
    for (golden, chunk) in Golden::supported() {
        let name = golden.name();
        let key: Key = golden.text("key_v13").parse().unwrap();
        assert_eq!(golden.text("key_v11").parse(), Ok(key.clone()), "{name}");
        assert_eq!(key.text(Schema::V11), golden.text("key_v11"), "{name}");
        assert_eq!(key.text(Schema::V13), golden.text("key_v13"), "{name}");

        let stored = golden.file("object").expect("an object");
        let object = Object::open_keyed(stored.clone(), &key, &Limits::default()).unwrap();
        assert_eq!(u64::from(object.checksum), golden.number("checksum"), "{name}");
        assert_eq!(object.chunk.bytes(), chunk.bytes(), "{name}");
        let envelope = &object.envelope;
        assert_eq!(envelope.tenant, golden.text("tenant"), "{name}");
        assert_eq!(envelope.fingerprint.to_string(), golden.text("fingerprint"), "{name}");
        assert_eq!(envelope.fingerprint, fingerprint(&golden.labels()), "{name}");
        assert_eq!(envelope.from_ms, golden.row["from_ms"].as_i64().unwrap(), "{name}");
        assert_eq!(envelope.through_ms, golden.row["through_ms"].as_i64().unwrap(), "{name}");

        let again = envelope.encode(chunk.bytes()).unwrap();
        assert_eq!(again.key, key, "{name}");
        assert!(again.bytes == stored, "{name}: the object differs");
    }
}

#[test]
fn an_envelope_made_from_labels_is_that_of_loki() {
    for (golden, chunk) in Golden::supported() {
        let (from_ns, through_ns) = chunk.bounds().unwrap();
        let bytes = chunk.bytes().clone();
        let encoded = EncodedChunk { bytes, from_ns, through_ns, entries: 0, raw_bytes: 0 };
        let labels = golden.labels();
        let own: Vec<_> = labels.into_iter().filter(|(name, _)| *name != "__name__").collect();
        let envelope = forebay_chunk::loki::Envelope::new(golden.text("tenant"), &own, &encoded);
        let object = envelope.encode(&encoded.bytes).unwrap();
        assert_eq!(object.key.text(Schema::V13), golden.text("key_v13"), "{}", golden.name());
    }
}

#[test]
fn without_compression_and_metadata_the_same_bytes_are_written() {
    let mut compared = 0;
    for (golden, chunk) in Golden::supported() {
        let entries = golden.entries();
        let has_metadata = entries.iter().any(|entry| !entry.metadata.is_empty());
        if chunk.codec() != Codec::None || !chunk.format().is_writable() || has_metadata {
            continue;
        }
        let again = built(chunk.format(), Codec::None, &entries);
        assert!(again.bytes == chunk.bytes(), "{}: the chunk differs", golden.name());
        compared += 1;
    }
    assert!(compared >= 3);
}

#[test]
fn what_is_written_again_reads_the_same() {
    for (golden, chunk) in Golden::supported() {
        let entries = golden.entries();
        let format = if chunk.format().is_writable() { chunk.format() } else { Format::LokiV4 };
        let again = built(format, chunk.codec(), &entries);
        let chunk = Chunk::open(again.bytes, &Limits::default()).unwrap();
        assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)), Ok(entries), "{}", golden.name());
    }
}

#[test]
#[cfg(not(all(feature = "gzip", feature = "lz4", feature = "zstd")))]
fn a_codec_that_is_not_there_is_named() {
    let missing: Vec<Golden> =
        Golden::all().into_iter().filter(|golden| !golden.codec().is_supported()).collect();
    assert!(!missing.is_empty());
    for golden in missing {
        let bytes = golden.file("chunk").expect("a chunk");
        let codec = golden.codec().byte();
        let error = Chunk::open(bytes, &Limits::default()).unwrap_err();
        assert_eq!(error, forebay_chunk::Error::UnsupportedCodec { codec }, "{}", golden.name());
        assert!(error.to_string().contains(golden.text("codec")));
    }
}
