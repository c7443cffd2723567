//! `kill -9` at any moment: what a level promises to outlive the process is there, and the lock is free.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;

use crate::machine::{ARGUMENT, Chance, rounds, start};
use crate::promise::Promises;
use crate::writer::{LEVELS, Level};

/// A writer in its `life`, and the lines that it says.
pub(crate) fn spawn(level: &Level, life: u64, dir: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = start::<&str>(&[], "live", dir);
    let mut child = command.env(ARGUMENT, format!("{} {life}", level.name)).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map_while(Result::ok))
}

/// Hears until so many appends were acknowledged; 0 is the moment before the opening.
pub(crate) fn hear_acks(
    lines: &mut impl Iterator<Item = String>,
    acks: u64,
    promises: &mut Promises,
    strong: bool,
) {
    let enough = promises.count("acked") + acks;
    for line in lines {
        promises.hear(&line, strong);
        if (acks == 0 && line == "opening") || (acks > 0 && promises.count("acked") >= enough) {
            break;
        }
    }
}

#[test]
fn what_outlives_the_process_is_there_after_it_was_killed() {
    for level in LEVELS {
        let scratch = tempfile::tempdir().unwrap();
        let (mut promises, mut chance) = (Promises::default(), Chance(11));
        let mut torn = 0;
        for life in 0..rounds("WAL_KILLS", 50) {
            let (mut child, mut lines) = spawn(level, life, scratch.path());
            let patience = chance.below(4) * chance.below(30);
            hear_acks(&mut lines, patience, &mut promises, level.outlives_process);
            (0..chance.below(200_000)).for_each(|_| std::hint::spin_loop());
            child.kill().unwrap();
            lines.for_each(|line| promises.hear(&line, level.outlives_process));
            child.wait().unwrap();
            let report = promises.check(scratch.path(), &format!("{}, life {life}", level.name));
            torn += u64::from(report.torn.is_some());
        }
        assert_eq!((promises.count("unknown"), promises.count("rejected")), (0, 0), "nothing failed");
        println!("{}: {} acknowledged, {torn} torn tails", level.name, promises.count("acked"));
    }
}
