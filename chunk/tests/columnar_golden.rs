//! Columnar chunks as they were written once: later versions have to read them, and write them again.
//!
//! The format is not frozen, and there are no files yet. Once it is: run the ignored test `files_are_written` once for
//! a version of the format, never change them again, and take `ignore` off the other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "golden files are files")]

use std::path::PathBuf;

use forebay_chunk::{Builder, BuilderOptions, Chunk, Direction, Limits, Profile};

#[path = "support/owned.rs"]
mod owned;
use owned::{Owned, collect};

const PROFILES: [(Profile, &str); 3] =
    [(Profile::Fast, "fast"), (Profile::Balanced, "balanced"), (Profile::Archive, "archive")];

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden", &format!("columnar-v1-{name}.chunk")].iter().collect()
}

/// Lines of several kinds in three groups: alike, times of their own, whole, empty, no UTF-8; with and without
/// metadata.
fn entries() -> Vec<Owned> {
    let line = |n: i64| match n % 8 {
        0..4 => {
            format!("level=info path=/items/{} status=200 took={}ms", n % 23, n * 7919 % 1000).into_bytes()
        }
        4 => format!("2023-11-14 22:13:{:02} 10.0.0.{} user-{}", n % 60, n % 250, n % 5).into_bytes(),
        5 => format!("trace {:032x} span {:016x}", n * n, n * 977).into_bytes(),
        6 => vec![b'\xFF'; usize::try_from(n % 7).unwrap()],
        _ => Vec::new(),
    };
    let entry = |n: i64| {
        let mut entry = Owned::new(1_700_000_000_000_000_000 + n * 1_234_567_891 / 3, &line(n));
        if n % 3 == 0 {
            entry.metadata.push((b"pod".to_vec(), format!("web-{}", n % 4).into_bytes()));
        }
        entry
    };
    (0..900).map(entry).collect()
}

fn written(profile: Profile) -> Vec<u8> {
    let options = BuilderOptions { block_size: 300 * 64, ..BuilderOptions::columnar(profile) };
    let mut builder = Builder::new(options).unwrap();
    for entry in entries() {
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    builder.finish().unwrap().bytes.to_vec()
}

#[test]
#[ignore = "writes the files that the other test reads"]
fn files_are_written() {
    for (profile, name) in PROFILES {
        std::fs::write(file(name), written(profile)).unwrap();
    }
}

#[test]
#[ignore = "the format is not frozen, and there are no files"]
fn what_was_written_is_read_and_written_again() {
    for (profile, name) in PROFILES {
        let bytes = std::fs::read(file(name)).unwrap();
        let chunk = Chunk::open(bytes.clone(), &Limits::default()).unwrap();
        chunk.verify().unwrap();
        assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)), Ok(entries()));
        // With the libzstd that wrote them; another one may find other matches.
        assert!(written(profile) == bytes, "{name}");
    }
}

#[test]
fn what_is_going_to_be_written_is_read() {
    for (profile, name) in PROFILES {
        let chunk = Chunk::open(written(profile), &Limits::default()).unwrap();
        assert!(chunk.blocks().len() >= 3, "{name}");
        chunk.verify().unwrap();
        assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)), Ok(entries()));
    }
}
