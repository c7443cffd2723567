//! What was aimed at, beside what the rows say.

use std::fmt::Write;

use crate::child::Kind;
use crate::log::Contender::{self, Durability, Floor, MRecordLog, OkayWal, RaftEngine, Walrus};
use crate::rounds::Row;
use crate::sample::latencies;
use crate::stats::{geometric_mean, median};
use crate::table::{against, quantity, value};

/// Rows by the parts of their names, and how many times as fast as each peer ours is to be in their geometric mean.
struct Goal {
    name: &'static str,
    rows: &'static [&'static str],
    aims: &'static [(Contender, f64)],
}

const GOALS: [Goal; 9] = [
    Goal {
        name: "Synced, 1 writer",
        rows: &["synced/64B/w1/b1", "synced/1KiB/w1/b1", "synced/64KiB/w1/b1"],
        aims: &[(OkayWal, 1.0), (RaftEngine, 1.0), (Walrus, 1.0), (Durability, 1.7), (Floor, 0.95)],
    },
    Goal {
        name: "Synced, 8 writers",
        rows: &["synced/64B/w8/b1", "synced/1KiB/w8/b1", "synced/64KiB/w8/b1"],
        aims: &[(OkayWal, 1.4), (RaftEngine, 1.4), (Walrus, 5.0), (Durability, 8.0), (Floor, 0.85)],
    },
    Goal {
        name: "Synced, 8 writers, a sync takes 1 ms",
        rows: &["synced+1ms/64B/w8/b1", "synced+1ms/1KiB/w8/b1", "synced+1ms/64KiB/w8/b1"],
        aims: &[(OkayWal, 1.4), (RaftEngine, 1.4), (Walrus, 5.0), (Durability, 8.0), (Floor, 0.85)],
    },
    Goal {
        name: "Synced, 64 writers, a sync takes 1 ms",
        rows: &["synced+1ms/64B/w64/b1", "synced+1ms/1KiB/w64/b1", "synced+1ms/64KiB/w64/b1"],
        aims: &[(OkayWal, 1.7), (RaftEngine, 1.7), (Walrus, 25.0), (Durability, 40.0), (Floor, 0.8)],
    },
    Goal {
        name: "Written, 1 writer, 64 B and 1 KiB",
        rows: &["written/64B/w1/b1", "written/1KiB/w1/b1"],
        aims: &[(RaftEngine, 2.0), (MRecordLog, 5.0), (Walrus, 1.5), (Durability, 1.2), (Floor, 0.85)],
    },
    Goal {
        name: "Written, 8 and 64 writers, 64 B",
        rows: &["written/64B/w8/b1", "written/64B/w64/b1"],
        aims: &[(RaftEngine, 2.0), (MRecordLog, 10.0), (Walrus, 2.0), (Durability, 3.0)],
    },
    Goal {
        name: "Written, batches of 1,000 x 2 KiB",
        rows: &["written/2KiB/w1/b1000"],
        aims: &[(RaftEngine, 2.0), (MRecordLog, 5.0), (Walrus, 3.0), (Durability, 1.5), (Floor, 0.8)],
    },
    Goal {
        name: "Buffered, 1 writer, 64 B",
        rows: &["buffered/64B/w1/b1"],
        aims: &[(MRecordLog, 20.0), (Durability, 3.0), (Floor, 0.7)],
    },
    Goal {
        name: "Replay of records of 256 B",
        rows: &["replay/256B"],
        aims: &[
            (OkayWal, 2.0),
            (RaftEngine, 2.0),
            (MRecordLog, 5.0),
            (Walrus, 5.0),
            (Durability, 3.0),
            (Floor, 0.7),
        ],
    },
];

/// A table of aims and what was reached, of the rows that were measured.
pub fn render(rows: &[Row]) -> String {
    let mut text = String::from("| | beside | aim | reached | |\n|---|---|---|---|---|\n");
    let measured = |id: &&str| rows.iter().find(|row| row.cell.id() == **id);
    for goal in &GOALS {
        let of_goal: Vec<&Row> = goal.rows.iter().filter_map(measured).collect();
        for &(peer, aim) in goal.aims {
            let ratios: Vec<f64> =
                of_goal.iter().filter_map(|row| against(row, peer)).map(|ratio| ratio.value).collect();
            if !ratios.is_empty() {
                let missing = goal.rows.len() - ratios.len();
                let part =
                    if missing == 0 { String::new() } else { format!(" ({missing} rows not measured)") };
                line(&mut text, goal.name, peer.name(), aim, geometric_mean(&ratios), true, &part);
            }
        }
    }
    absolute(&mut text, rows);
    text
}

fn absolute(text: &mut String, rows: &[Row]) {
    for row in rows {
        let Some(samples) = row.samples.get(&Contender::Forebay) else { continue };
        let values: Vec<f64> = samples.iter().map(|sample| value(&row.cell, sample)).collect();
        let id = row.cell.id();
        if id == "buffered/64B/w1/b1" {
            line(
                text,
                "Buffered, 1 writer, 64 B, records a second",
                "",
                8e6,
                1e9 / median(&values),
                true,
                "",
            );
        }
        if id == "disk/64B/b100" {
            line(
                text,
                "Bytes on disk of a byte, 64 B in batches of 100",
                "",
                1.05,
                median(&values),
                false,
                "",
            );
        }
        if row.cell.kind == Kind::Append && row.cell.rotates && id.contains("synced") {
            let all = latencies(samples);
            let spread = all.value_at_quantile(0.999) as f64 / all.value_at_quantile(0.5).max(1) as f64;
            line(text, &format!("p99.9 / p50 in `{id}`"), "", 3.0, spread, false, "");
        }
    }
}

fn line(text: &mut String, name: &str, peer: &str, aim: f64, reached: f64, more: bool, part: &str) {
    let met = if more { reached >= aim } else { reached <= aim };
    let sign = if more { "≥" } else { "≤" };
    let said = if met { "met" } else { "**missed**" };
    let _ = writeln!(
        text,
        "| {name} | {peer} | {sign} {} | {}{part} | {said} |",
        quantity(aim),
        quantity(reached)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;

    #[test]
    fn every_goal_names_rows_that_there_are() {
        let ids: Vec<String> = Cell::all().iter().map(Cell::id).collect();
        for id in GOALS.iter().flat_map(|goal| goal.rows) {
            assert!(ids.iter().any(|known| known == id), "{id}");
        }
    }
}
