//! forebay-chunk beside other ways to keep the same lines: `cargo run --release -- [ROUNDS]`, 9 rounds unless it says
//! otherwise. Sets are those of `chunk/benches/speed`: its own, and the `*.log` of the directories in `FOREBAY_LINES`.
//! Peers take turns on one thread, and the least time of each counts.

#[path = "../../benches/speed/lines.rs"]
mod lines;
mod peer;
#[expect(dead_code, reason = "the benchmark of the crate takes more of it")]
#[path = "../../benches/speed/set.rs"]
mod set;

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use peer::Peer;
use set::{Regime, Set};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// What a peer made of a set.
struct Row {
    bytes: usize,
    build: f64,
    read: f64,
}

fn main() -> Outcome<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(9), |rounds| rounds.parse())?;
    let names: Vec<_> = Peer::ALL.iter().map(|peer| peer.name()).collect();
    let header = format!("| set | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    let mut measured = Vec::new();
    for set in Set::all(Regime::Jitter) {
        let rows = measure(&set, rounds)?;
        measured.push((set, rows));
    }
    let a_line = |set: &Set, row: &Row| format!("{:.2}", row.bytes as f64 / set.lines.len() as f64);
    let speed = |set: &Set, seconds: f64| format!("{:.0}", set.raw_bytes() as f64 / seconds / 1e6);
    let cells: [(&str, &dyn Fn(&Set, &Row) -> String); 3] = [
        ("Bytes a line", &a_line),
        ("Build, MB/s", &|set, row| speed(set, row.build)),
        ("Full read, MB/s", &|set, row| speed(set, row.read)),
    ];
    for (title, cell) in cells {
        println!("{title}:\n\n{header}");
        for (set, rows) in &measured {
            let cells: Vec<_> = rows.iter().map(|row| cell(set, row)).collect();
            println!("| {} | {} |", set.name, cells.join(" | "));
        }
        println!();
    }
    Ok(())
}

fn measure(set: &Set, rounds: usize) -> Outcome<Vec<Row>> {
    let mut stored = Vec::new();
    for peer in Peer::ALL {
        let chunk = peer.build(set)?;
        let lines = peer.read(&chunk)?;
        if lines != (set.lines.len(), set.raw_bytes()) {
            return Err(
                format!("{}: {lines:?} lines and bytes of {} came back", peer.name(), set.name).into()
            );
        }
        stored.push(chunk);
    }
    let mut rows: Vec<_> = stored
        .iter()
        .map(|chunk| Row {
            bytes: chunk.iter().map(|part| part.len()).sum(),
            build: f64::MAX,
            read: f64::MAX,
        })
        .collect();
    for round in 0..rounds {
        for ((peer, chunk), row) in Peer::ALL.iter().zip(&stored).zip(&mut rows) {
            // What takes seconds is done once.
            if round == 0 || row.build < 0.2 {
                row.build = row.build.min(seconds(|| peer.build(set).map(drop))?);
            }
            row.read = row.read.min(seconds(|| peer.read(chunk).map(|lines| _ = black_box(lines)))?);
        }
    }
    Ok(rows)
}

fn seconds(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}
