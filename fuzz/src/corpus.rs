//! The corpus, replayed on stable: every file as it is, and mutants of every file from a fixed seed.
//!
//! `FOREBAY_FUZZ_MUTANTS` sets how many mutants a file has; a large number is a fuzzer for those without a nightly.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::{BODIES, Body};

const MUTANTS: u64 = 100;

/// Inputs that lie elsewhere, since they are others' golden files too.
const ELSEWHERE: [(&str, &str, &str); 2] =
    [("chunk_open", "../chunk/tests/golden", "chunk"), ("chunk_envelope", "../chunk/tests/golden", "object")];

#[test]
fn every_file_of_the_corpus_keeps_the_promises() {
    check(0);
}

#[test]
fn mutants_of_the_corpus_keep_the_promises() {
    check(std::env::var("FOREBAY_FUZZ_MUTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTANTS));
}

/// Feeds each body its corpus, or so many mutants of each file; the first finding of each target is told.
fn check(mutants: u64) {
    let findings: Vec<&str> = BODIES
        .into_iter()
        .filter_map(|(target, body)| (!keeps(target, body, mutants)).then_some(target))
        .collect();
    assert!(findings.is_empty(), "broken promises, shown above: {}", findings.join(", "));
}

fn keeps(target: &str, body: Body, mutants: u64) -> bool {
    let corpus = corpus(target);
    corpus.iter().enumerate().all(|(file, (path, data))| {
        if mutants == 0 {
            return feed(target, body, data, &path.display().to_string());
        }
        let mut chance = Chance(0x5eed ^ file as u64);
        (0..mutants).all(|number| {
            let other = &corpus[chance.below(corpus.len())].1;
            let mutant = mutate(data, other, &mut chance);
            feed(target, body, &mutant, &format!("mutant {number} of {}", path.display()))
        })
    })
}

#[test]
fn every_target_has_a_program_a_body_and_a_corpus() {
    let bodies: BTreeSet<String> = BODIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(here().join(dir)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("fuzz_targets"), bodies);
    assert_eq!(names("corpus"), bodies);
    for (target, _) in BODIES {
        assert!(!corpus(target).is_empty(), "{target} has no corpus");
    }
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a target by name, so that every run has them in the same order.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files =
        |dir: PathBuf| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut paths = files(here().join("corpus").join(target));
    for (_, dir, extension) in ELSEWHERE.iter().filter(|(name, ..)| *name == target) {
        let found = files(here().join(dir))
            .into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == *extension));
        paths.extend(found);
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Whether the body keeps its promises for `data`; if not, the input is shown as far as it is short.
fn feed(target: &str, body: Body, data: &[u8], from: &str) -> bool {
    let kept = catch_unwind(AssertUnwindSafe(|| body(data))).is_ok();
    if !kept {
        let shown = &data[..data.len().min(2048)];
        eprintln!("{target}: {from}, {} bytes: {}\n", data.len(), shown.escape_ascii());
    }
    kept
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// One to four small changes.
fn mutate(data: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    const EDGES: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'}', b'\\', b'\n'];
    let mut out = data.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(out.len() + 1);
        let length = 1 + chance.below(16);
        let end = (at + length).min(out.len());
        match chance.below(7) {
            0 if at < out.len() => out[at] ^= 1 << chance.below(8),
            1 if at < out.len() => out[at] = EDGES[chance.below(EDGES.len())],
            2 => out.truncate(at),
            3 => drop(out.drain(at..end)),
            4 => {
                let part = out[at..end].to_vec();
                out.splice(at..at, part);
            }
            5 => out.splice(at..at, [EDGES[chance.below(EDGES.len())]]).for_each(drop),
            _ => {
                let from = chance.below(other.len() + 1);
                let part = other[from..(from + length).min(other.len())].to_vec();
                out.splice(at..end, part).for_each(drop);
            }
        }
    }
    out
}
