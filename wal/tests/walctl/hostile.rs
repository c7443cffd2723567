//! Directories in which anything may be wrong: every command answers, and none that was not told to writes.

use std::path::Path;

use crate::bench::{Log, all_golden, run};

const LOOKS: [&[&str]; 8] = [
    &["verify", "--json"],
    &["inspect", "--frames", "--json"],
    &["dump", "--json"],
    &["dump", "--salvage", "--json"],
    &["stat", "--json"],
    &["repair", "--json"],
    &["repair", "--policy", "salvage", "--json"],
    &["truncate", "--before", "5", "--json"],
];

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }
}

/// One to three things that may happen to files.
fn spoil(log: &Log, chance: &mut Chance) {
    let numbers: Vec<u64> = (1..=3).filter(|number| log.segment(*number).exists()).collect();
    for _ in 0..=chance.below(3) {
        let number = numbers[chance.below(numbers.len())];
        if !log.segment(number).exists() {
            continue;
        }
        let (what, value) = (chance.below(9), u8::try_from(chance.below(256)).unwrap());
        let at = |chance: &mut Chance, len: usize| match chance.below(3) {
            0 => chance.below(128).min(len),
            1 => (4096 + chance.below(2600)).min(len),
            _ => chance.below(len),
        };
        match what {
            0 => std::fs::remove_file(log.segment(number)).unwrap(),
            1 => drop(std::fs::copy(log.segment(number), log.segment(number + 1))),
            2 => log.edit(number, |bytes| bytes.truncate(at(chance, bytes.len()))),
            3 => log.edit(number, |bytes| {
                let from = at(chance, bytes.len());
                let to = (from + 512).min(bytes.len());
                bytes[from..to].fill(0);
            }),
            4 => log.edit(number, |bytes| bytes.extend([7; 5000])),
            _ => log.edit(number, |bytes| {
                let at = at(chance, bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if *byte == value { !*byte } else { value };
                }
            }),
        }
    }
}

#[test]
fn every_command_answers_whatever_lies_there_and_writes_nothing() {
    let rounds = std::env::var("WALCTL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8);
    let mut codes = [0; 3];
    for (name, seed) in all_golden().iter().flat_map(|name| (0..rounds).map(move |seed| (name, seed))) {
        let (log, mut chance) = (Log::golden(name), Chance(seed));
        spoil(&log, &mut chance);
        let before = log.files();
        let mut repaired = None;
        for command in LOOKS {
            let answer = run(command, log.dir());
            let code = usize::try_from(answer.code).unwrap();
            codes[code] += 1;
            assert!(code != 2 || !answer.err.is_empty(), "{name} {seed} {command:?}: an error is told");
            let objects = answer.objects();
            if command[0] == "inspect" {
                check_tiles(&objects);
            }
            if command.contains(&"salvage") {
                repaired = objects.first().filter(|_| code == 1).cloned();
            }
            assert_eq!(log.files(), before, "{name} {seed} {command:?} wrote");
        }
        let Some(plan) = repaired.filter(|plan| !plan["repaired"].is_null()) else { continue };
        let done = run(&["repair", "--policy", "salvage", "--yes", "--json"], log.dir());
        assert_eq!(done.code, 0, "{name} {seed}: {done:?}");
        assert_eq!(done.object()["repaired"], plan["repaired"], "{name} {seed}: as it was shown");
        assert_eq!(run(&["verify"], log.dir()).code, 0, "{name} {seed}");
    }
    assert!(codes.iter().all(|count| *count > 0), "{codes:?}");
}

/// What is shown lies side by side in the order of the file.
fn check_tiles(objects: &[serde_json::Value]) {
    let mut end = (0, 0);
    for object in objects.iter().filter(|object| object.get("at").is_some()) {
        let (segment, at) = (object["segment"].as_u64().unwrap(), object["at"].as_u64().unwrap());
        assert!((segment, at) >= end, "{object} begins before {end:?}");
        let body = object["frame"]["body_len"].as_u64().map(|len| at + (32 + len).next_multiple_of(8));
        end = (segment, object["end"].as_u64().or(body).unwrap());
    }
}

const NO_FILES: [fn(&Path); 2] = [
    |path| drop(std::fs::create_dir(path)),
    |path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success()),
];

#[test]
fn what_has_the_name_of_a_segment_and_is_no_file_is_told_and_not_waited_for() {
    for make in NO_FILES {
        let log = Log::golden("v1");
        make(&log.segment(4));
        for command in LOOKS {
            let answer = run(command, log.dir());
            assert_eq!(answer.code, 2, "{command:?}: {answer:?}");
            assert!(answer.err.contains("wal-0000000000000004.seg: this is no file"), "{}", answer.err);
        }
    }
}

/// Who would use it waited for ever, others need not look.
#[test]
fn what_has_the_name_of_a_spare_and_is_no_file_is_told_by_who_would_use_it() {
    for make in NO_FILES {
        let log = Log::golden("v1");
        make(&log.dir().join("spare-0.tmp"));
        for command in LOOKS {
            let answer = run(command, log.dir());
            let opens = command[0] == "truncate" || command.contains(&"--salvage");
            assert_eq!(answer.code, if opens { 2 } else { 0 }, "{command:?}: {answer:?}");
            let told = answer.err.contains("spare-0.tmp") && answer.err.contains("this is no file");
            assert_eq!(told, answer.code == 2, "{command:?}: {}", answer.err);
        }
    }
}
