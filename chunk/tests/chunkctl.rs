//! The program as its users run it: what it prints, what it answers, and what it leaves alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test of a program has files")]

use std::path::{Path, PathBuf};
use std::process::Command;

use forebay_chunk::loki::{Envelope, Object, Schema};
use forebay_chunk::{BuilderOptions, Chunk, Limits, Profile};
use serde_json::Value;

#[path = "support/owned.rs"]
mod owned;
#[path = "support/shapes.rs"]
mod shapes;
use owned::Owned;
use shapes::{all, built};

struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Answer {
    /// The objects of its lines.
    fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn is(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }
}

fn run(arguments: &[&str], files: &[&Path]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chunkctl"));
    let output = command.args(arguments).args(files).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

fn entries() -> Vec<Owned> {
    let line = |n: i64| match n {
        7 => b"not \xFF text\nat all".to_vec(),
        _ => format!("user {} took {} ms", n % 5, n * n).into_bytes(),
    };
    let entry = |n: i64| Owned {
        timestamp_ns: 1_700_000_000_000_000_000 + n,
        line: line(n),
        metadata: if n % 10 == 0 { vec![(b"trace".to_vec(), n.to_string().into_bytes())] } else { vec![] },
    };
    (0..60).map(entry).collect()
}

fn loki() -> BuilderOptions {
    BuilderOptions { block_size: 300, ..BuilderOptions::default() }
}

fn columnar() -> BuilderOptions {
    BuilderOptions { block_size: 20 * 64, ..BuilderOptions::columnar(Profile::Fast) }
}

/// An object of these entries, in Loki's envelope or with the same in its footer.
fn object(options: BuilderOptions) -> Vec<u8> {
    let chunk = built(options, &entries()).unwrap();
    let encoded = chunk.recompress(options).unwrap().unwrap();
    let envelope = Envelope::new("tenant-a", &[("app", "web")], &encoded);
    envelope.encode(&encoded.bytes).unwrap().bytes.to_vec()
}

/// The same chunk with the last byte of its second block another one.
fn damaged(options: BuilderOptions) -> (Vec<u8>, u64) {
    let chunk = built(options, &entries()).unwrap();
    let block = chunk.blocks()[1];
    let mut bytes = chunk.bytes().to_vec();
    bytes[usize::try_from(block.offset + block.size_bytes).unwrap() - 1] ^= 1;
    (bytes, block.entries)
}

#[test]
fn inspect_says_what_a_file_is_and_whose() {
    let files = Files::new();
    for (name, options) in [("loki-v4", loki()), ("columnar", columnar())] {
        let path = files.put(name, &object(options));
        let text = run(&["inspect"], &[&path]).is(0).out;
        for part in [name, "object", "tenant-a", "app=\"web\"", "2023-11-14T22:13:20.000000000Z", "60"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let objects = run(&["inspect", "--json"], &[&path]).is(0).objects();
        let [report] = &objects[..] else { panic!("{objects:?}") };
        assert_eq!((report["format"].as_str(), report["entries"].as_u64()), (Some(name), Some(60)));
        assert_eq!(report["object"]["labels"][1][0], "app");
        assert!(report["blocks"].as_array().unwrap().len() > 1);
        let bare = files.put("bare", built(options, &entries()).unwrap().bytes());
        assert!(run(&["inspect", "--json"], &[&bare]).is(0).objects()[0]["object"].is_null());
    }
}

#[test]
fn verify_tells_whole_files_from_damaged_ones_and_from_none() {
    let files = Files::new();
    for options in [loki(), columnar()] {
        let whole = files.put("whole", &object(options));
        let report = run(&["verify", "--json"], &[&whole]).is(0).objects().remove(0);
        let hash = built(options, &entries()).unwrap().content_hash().unwrap();
        assert_eq!(report["content_hash"], format!("{hash:032x}"));
        assert!(run(&["verify"], &[&whole]).is(0).out.contains("whole"));

        let (bytes, lost) = damaged(options);
        let bad = files.put("damaged", &bytes);
        let report = run(&["verify", "--json"], &[&bad]).is(1).objects().remove(0);
        assert_eq!((&report["state"], report["entries_lost"].as_u64()), (&"damaged".into(), Some(lost)));
        assert_eq!(report["damage"][0]["block"], 1);
        assert!(run(&["verify"], &[&bad]).is(1).out.contains("checksum"));
        assert_eq!(run(&["verify", "--json"], &[&whole, &bad, &whole]).is(1).objects().len(), 3);
    }
    for (name, bytes) in [("empty", &b""[..]), ("text", b"no chunk at all, but long enough to be one")] {
        let path = files.put(name, bytes);
        let answer = run(&["verify", "--json"], &[&path]).is(1);
        assert_eq!(answer.objects()[0]["state"], "unreadable");
        assert!(answer.err.contains(name));
    }
    assert!(run(&["verify"], &[&files.path("none")]).is(2).err.contains("No such file"));
    run(&["verify", "--policy", "often"], &[&files.path("none")]).is(2);
    run(&["verify"], &[]).is(2);
}

#[test]
fn dump_shows_each_entry_on_a_line_and_those_that_are_wanted() {
    let files = Files::new();
    for options in [loki(), columnar()] {
        let path = files.put("chunk", &object(options));
        let text = run(&["dump"], &[&path]).is(0).out;
        assert_eq!(text.lines().count(), 60);
        assert!(text.starts_with("2023-11-14T22:13:20.000000000Z  user 0 took 0 ms  trace=0\n"));
        assert!(text.contains("not \\xff text\\nat all"));
        let objects = run(&["dump", "--json"], &[&path]).is(0).objects();
        assert_eq!(objects[7]["line_hex"], "6e6f7420ff20746578740a617420616c6c");
        assert_eq!(objects[10]["metadata"][0][1], "10");
        let lines = |arguments: &[&str]| -> Vec<String> {
            let arguments = [&["dump", "--json"], arguments].concat();
            let objects = run(&arguments, &[&path]).is(0).objects();
            objects.iter().map(|object| object["line"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(
            lines(&["--match", "user 3", "--not", "took 9", "--limit", "2"]),
            ["user 3 took 64 ms", "user 3 took 169 ms"]
        );
        assert_eq!(
            lines(&["--match", "USER 4", "--any-case", "--backward", "--limit", "1"]),
            ["user 4 took 3481 ms"]
        );
        let from = ["--from", "1700000000000000002", "--to", "1700000000000000003"];
        assert_eq!(lines(&from), ["user 2 took 4 ms", "user 3 took 9 ms"]);

        let (bytes, lost) = damaged(options);
        let bad = files.put("damaged", &bytes);
        let answer = run(&["dump"], &[&bad]).is(1);
        assert_eq!(answer.out.lines().count() as u64, 60 - lost);
        assert!(answer.err.contains("block 1 lost"));
        let answer = run(&["dump", "--policy", "fail"], &[&bad]).is(1);
        assert!(answer.err.contains("checksum"), "{}", answer.err);
    }
}

#[test]
fn a_columnar_chunk_without_its_end_is_salvaged() {
    let files = Files::new();
    let chunk = built(columnar(), &entries()).unwrap();
    let last = chunk.blocks()[chunk.blocks().len() - 1];
    let end = usize::try_from(last.offset + last.size_bytes).unwrap();
    let path = files.put("cut", &chunk.bytes()[..end + 3]);
    run(&["dump"], &[&path]).is(1);
    assert_eq!(run(&["dump", "--policy", "salvage"], &[&path]).is(1).out.lines().count(), 60);
}

#[test]
fn convert_writes_the_same_entries_and_what_an_object_says() {
    let files = Files::new();
    let ways: [(&str, &[&str]); 3] = [
        ("columnar", &["--to", "columnar", "--profile", "archive"]),
        ("zstd", &["--to", "loki-v4", "--codec", "zstd"]),
        ("fast", &["--to", "columnar", "--profile", "fast"]),
    ];
    for (from, options) in [("loki", loki()), ("columns", columnar())] {
        let path = files.put(from, &object(options));
        for (to, way) in ways {
            let new = files.path(&format!("{from}-{to}"));
            let arguments = [&["convert", "--json"], way].concat();
            let report = run(&arguments, &[&path, &new]).is(0).objects().remove(0);
            assert_eq!(
                (report["entries"].as_u64(), report["damage"].as_array().map(Vec::len)),
                (Some(60), Some(0))
            );
            let object = Object::open(std::fs::read(&new).unwrap(), &Limits::default()).unwrap();
            assert_eq!((object.envelope.tenant.as_str(), object.envelope.labels.len()), ("tenant-a", 2));
            assert_eq!(all(&object.chunk), entries());
            // It is not written over.
            let before = std::fs::read(&new).unwrap();
            run(&arguments, &[&path, &new]).is(2);
            assert_eq!(std::fs::read(&new).unwrap(), before);
        }
    }
    let path = files.put("metadata", &object(loki()));
    let answer = run(&["convert", "--to", "loki-v3"], &[&path, &files.path("v3")]).is(2);
    assert!(answer.err.contains("metadata") && !files.path("v3").exists());
    run(&["convert", "--to", "loki-v4", "--codec", "zip"], &[&path, &files.path("zip")]).is(2);
}

#[test]
fn a_damaged_chunk_is_converted_only_if_that_is_asked_for() {
    let files = Files::new();
    for (name, options) in [("loki", loki()), ("columnar", columnar())] {
        let (bytes, lost) = damaged(options);
        let (path, new) = (files.put(name, &bytes), files.path(&format!("{name}-new")));
        run(&["convert", "--to", "columnar"], &[&path, &new]).is(1);
        assert!(!new.exists());
        let report = run(&["convert", "--partial", "--to", "columnar", "--json"], &[&path, &new]).is(1);
        assert_eq!(report.objects()[0]["damage"][0]["entries_lost"].as_u64(), Some(lost));
        let chunk = Chunk::open(std::fs::read(&new).unwrap(), &Limits::default()).unwrap();
        assert_eq!(chunk.entry_count(), 60 - lost);
    }
}

/// It got the times of entries that are gone: in columns nothing was written, and in Loki's format a key that lies.
#[test]
fn what_is_left_of_an_object_is_described_by_its_own_times() {
    let files = Files::new();
    let entries: Vec<Owned> =
        (0..60).map(|n| Owned::new(n * 10_000_000, format!("line {n} of sixty").as_bytes())).collect();
    for (name, options) in [("loki", loki()), ("columnar", columnar())] {
        let chunk = built(options, &entries).unwrap();
        let encoded = chunk.recompress(options).unwrap().unwrap();
        let envelope = Envelope::new("tenant-a", &[("app", "web")], &encoded);
        let mut bytes = envelope.encode(&encoded.bytes).unwrap().bytes.to_vec();
        let last = Object::open(bytes.clone(), &Limits::default()).unwrap().chunk;
        let last = last.blocks()[last.blocks().len() - 1];
        let end = usize::try_from(last.offset + last.size_bytes).unwrap();
        // Of Loki's object the chunk is the last part.
        let shift = if name == "loki" { bytes.len() - encoded.bytes.len() } else { 0 };
        bytes[shift + end - 1] ^= 1;
        let path = files.put(name, &bytes);
        for to in ["columnar", "loki-v4"] {
            let new = files.path(&format!("{name}-{to}"));
            let arguments = ["convert", "--partial", "--json", "--to", to];
            let report = run(&arguments, &[&path, &new]).is(1).objects().remove(0);
            assert_eq!(report["entries"].as_u64(), Some(60 - last.entries));
            let object = Object::open(std::fs::read(&new).unwrap(), &Limits::default()).unwrap();
            let times = (object.envelope.from_ms, object.envelope.through_ms);
            assert_eq!(times, (0, i64::try_from(59 - last.entries).unwrap() * 10));
            let key = object.envelope.key(object.checksum).text(Schema::V13);
            assert_eq!(report["object"]["key"].as_str(), Some(&*key));
        }
    }
}

/// The content hash of the whole is kept, whatever may be lost of others.
#[test]
fn what_is_whole_is_converted_as_a_whole_even_if_a_part_would_do() {
    let files = Files::new();
    let path = files.put("whole", &object(columnar()));
    let new = files.path("new");
    run(&["convert", "--partial", "--to", "loki-v4"], &[&path, &new]).is(0);
    let object = Object::open(std::fs::read(&new).unwrap(), &Limits::default()).unwrap();
    assert_eq!(all(&object.chunk), entries());
    assert_eq!(files.names(), ["new", "whole"], "and nothing else is left there");
}

/// A device has no size that could be asked for.
#[cfg(unix)]
#[test]
fn what_has_no_end_is_read_up_to_the_limit() {
    let answer = run(&["verify"], &[Path::new("/dev/zero")]).is(2);
    assert!(answer.err.contains("max_object_bytes"), "{}", answer.err);
}

/// Bytes changed and cut at random: every command answers, by one of its codes, and writes nothing.
#[test]
fn whatever_lies_there_is_answered() {
    let files = Files::new();
    let mut state = 1u64;
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % end.max(1)
    };
    let mut codes = [0; 3];
    for (round, options) in (0..12).flat_map(|round| [(round, loki()), (round, columnar())]) {
        let mut bytes = object(options);
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            bytes[at] = u8::try_from(below(256)).unwrap();
        }
        if round % 3 == 0 {
            bytes.truncate(below(bytes.len()));
        }
        let path = files.put("chunk", &bytes);
        for command in
            [&["inspect", "--json"][..], &["verify"], &["dump", "--json"], &["dump", "--policy", "salvage"]]
        {
            let answer = run(command, &[&path]);
            codes[usize::try_from(answer.code).unwrap()] += 1;
            assert!(answer.code == 0 || !answer.err.is_empty() || !answer.out.is_empty(), "{command:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    assert!(codes[1] > 40, "{codes:?}");
}
