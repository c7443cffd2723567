//! Columnar chunks as they were written once: later versions have to read them, and write them again.
//!
//! The ignored test `files_are_written` is run once for a version of the format; its files never change once that is released.

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

/// Lines of several kinds in some groups: alike, times of their own, values of all classes, text, whole, empty, no UTF-8;
/// with and without metadata.
fn entries() -> Vec<Owned> {
    let words = ["cart", "order", "fetch", "query", "token", "merge", "shard"];
    let word = |n: i64| words[usize::try_from(n).unwrap() % words.len()];
    let line = |n: i64| match n % 12 {
        0..4 => {
            format!("level=info path=/items/{} status=200 took={}ms", n % 23, n * 7919 % 1000).into_bytes()
        }
        4 => format!("2023-11-14 22:13:{:02} 10.0.0.{} user-{}", n % 60, n % 250, n % 5).into_bytes(),
        5 => format!("trace {:032x} span {:016x}", n * n, n * 977).into_bytes(),
        6 => vec![b'\xFF'; usize::try_from(n % 7).unwrap()],
        8 => format!(
            "{:08x}-{:04x}-4000-8000-{:012x} {:06} {:X}",
            n * 0x9E37,
            n % 65_536,
            n * n,
            n % 1000,
            n * 0x1234_5678 + 0xA000_0000
        )
        .into_bytes(),
        9 => format!("said \"{} {} {}\" to {}", word(n), word(n / 7), word(n * n), word(n / 3)).into_bytes(),
        10 => format!("from {} and again {}: 0{}", n * 31, n * 31, n % 40).into_bytes(),
        _ => Vec::new(),
    };
    let entry = |n: i64| {
        let mut entry = Owned::new(1_700_000_000_000_000_000 + n * 1_234_567_891 / 3, &line(n));
        if n % 3 == 0 {
            entry.metadata.push((b"pod".to_vec(), format!("web-{}", n % 4).into_bytes()));
        }
        entry
    };
    (0..1400).map(entry).collect()
}

fn written(profile: Profile) -> Vec<u8> {
    let options = BuilderOptions { block_size: 500 * 64, ..BuilderOptions::columnar(profile) };
    let mut builder = Builder::new(options).unwrap();
    for entry in entries() {
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    builder.finish().unwrap().bytes.to_vec()
}

#[test]
#[ignore = "writes the files that the other test reads, once for each version of the format"]
fn files_are_written() {
    for (profile, name) in PROFILES {
        std::fs::write(file(name), written(profile)).unwrap();
    }
}

#[test]
fn what_was_written_is_read_and_written_again() {
    for (profile, name) in PROFILES {
        let bytes = std::fs::read(file(name)).unwrap();
        let chunk = Chunk::open(bytes.clone(), &Limits::default()).unwrap();
        chunk.verify().unwrap();
        assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)), Ok(entries()));
        // With the libzstd that wrote them; another one may find other matches.
        assert!(written(profile) == bytes, "{name} is written otherwise now: is it another libzstd?");
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
