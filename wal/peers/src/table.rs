//! Rows become Markdown.

use std::fmt::Write;

use crate::cell::Cell;
use crate::child::Kind;
use crate::log::Contender;
use crate::rounds::Row;
use crate::sample::{Sample, latencies};
use crate::stats::{Ratio, median, ratio};

/// Of one sample, so that less is better.
pub fn value(cell: &Cell, sample: &Sample) -> f64 {
    match cell.kind {
        Kind::Fill => sample.stored_bytes as f64 / sample.payload_bytes.max(1) as f64,
        _ => sample.elapsed_ns as f64 / sample.records.max(1) as f64,
    }
}

/// How many times better ours is than `peer`, if both were measured.
pub fn against(row: &Row, peer: Contender) -> Option<Ratio> {
    let values = |who| {
        let samples = row.samples.get(&who)?;
        Some(samples.iter().map(|sample| value(&row.cell, sample)).collect::<Vec<_>>())
    };
    Some(ratio(&values(peer)?, &values(Contender::Forebay)?))
}

/// All tables, in the order of the rows.
pub fn render(rows: &[Row], contenders: &[Contender]) -> String {
    let mut text = String::new();
    let titles = rows.iter().fold(Vec::new(), |mut titles: Vec<String>, row| {
        let title = title(&row.cell);
        if !titles.contains(&title) {
            titles.push(title);
        }
        titles
    });
    for name in titles {
        let of_title: Vec<&Row> = rows.iter().filter(|row| title(&row.cell) == name).collect();
        let _ = writeln!(text, "### {name}\n");
        if of_title.iter().all(|row| row.cell.kind == Kind::Calls) {
            calls(&mut text, &of_title);
            continue;
        }
        let present: Vec<Contender> = contenders
            .iter()
            .copied()
            .filter(|who| {
                of_title.iter().any(|row| row.samples.contains_key(who) || row.failures.contains_key(who))
            })
            .collect();
        table(&mut text, &of_title, &present, figure);
        if of_title.iter().any(|row| row.cell.kind == Kind::Append) {
            let _ = writeln!(text, "Time of a call, p50 / p99 / p99.9 in microseconds:\n");
            table(&mut text, &of_title, &present, times);
            let _ =
                writeln!(text, "For a record: syncs, system calls that write, microseconds of processor:\n");
            table(&mut text, &of_title, &present, work);
        }
        if of_title.iter().any(|row| row.cell.kind == Kind::Follow) {
            let _ = writeln!(text, "p50 / p99 / p99.9 in microseconds:\n");
            table(&mut text, &of_title, &present, times);
        }
        for row in of_title {
            for (who, error) in &row.failures {
                let _ = writeln!(text, "- {} in `{}`: {error}", who.name(), row.cell.id());
            }
        }
        let _ = writeln!(text);
    }
    text
}

fn title(cell: &Cell) -> String {
    let slow = if cell.sync_cost.is_zero() { "" } else { ", each sync made to take 1 ms" };
    match cell.kind {
        Kind::Append if cell.rotates => "Segments that are filled, records a second".into(),
        Kind::Append => {
            let level = match cell.level.name() {
                "synced" => "Synced",
                "written" => "Written",
                "buffered" => "Buffered",
                _ => "Interval of 10 ms",
            };
            format!("{level}{slow}, records a second")
        }
        Kind::Calls => "What ours asks of the file system, for a thousand records".into(),
        Kind::Fill => "Bytes on the disk for each of payload".into(),
        Kind::Replay => "Opened and read, all of it".into(),
        Kind::Recover | Kind::Abandon => "Opened after a crash that tore the last append".into(),
        Kind::Truncate => "The older half given back".into(),
        Kind::Follow => "From the call that appends until a reader that follows has the record".into(),
    }
}

fn table(
    text: &mut String,
    rows: &[&Row],
    contenders: &[Contender],
    cell: fn(&Row, Contender, &[Sample]) -> String,
) {
    let names: Vec<&str> = contenders.iter().map(|who| who.name()).collect();
    let _ = writeln!(text, "| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for row in rows {
        let cells: Vec<String> = contenders
            .iter()
            .map(|who| match row.samples.get(who) {
                Some(samples) => cell(row, *who, samples),
                None if row.failures.contains_key(who) => "failed".into(),
                None => String::new(),
            })
            .collect();
        let _ = writeln!(text, "| `{}` | {} |", row.cell.id(), cells.join(" | "));
    }
    let _ = writeln!(text);
}

/// The median, and how many times better ours is.
fn figure(row: &Row, who: Contender, samples: &[Sample]) -> String {
    let values: Vec<f64> = samples.iter().map(|sample| value(&row.cell, sample)).collect();
    let middle = median(&values);
    let own = match row.cell.kind {
        Kind::Append | Kind::Calls => quantity(1e9 / middle),
        Kind::Fill => format!("{middle:.3}"),
        Kind::Replay => {
            let payload = samples.first().map_or(0, |sample| sample.payload_bytes) as f64;
            let records = samples.first().map_or(0, |sample| sample.records) as f64;
            format!("{:.0} MB/s", payload / (middle * records) * 1e3)
        }
        Kind::Follow => format!("{} µs", quantity(middle / 1e3)),
        _ => format!("{:.2} ms", middle / 1e6),
    };
    match against(row, who) {
        _ if who == Contender::Forebay => format!("**{own}**"),
        Some(Ratio { value, .. }) if row.cell.kind == Kind::Fill => format!("{own} ({value:.2})"),
        Some(Ratio { value, low, high }) => format!("{own} ({value:.2}, {low:.2} to {high:.2})"),
        None => own,
    }
}

fn times(_: &Row, _: Contender, samples: &[Sample]) -> String {
    let all = latencies(samples);
    let at = |quantile| quantity(all.value_at_quantile(quantile) as f64 / 1e3);
    format!("{} / {} / {}", at(0.5), at(0.99), at(0.999))
}

fn work(_: &Row, _: Contender, samples: &[Sample]) -> String {
    let each = |of: fn(&Sample) -> u64| {
        median(
            &samples
                .iter()
                .map(|sample| of(sample) as f64 / sample.records.max(1) as f64)
                .collect::<Vec<_>>(),
        )
    };
    let [syncs, writes, cpu] =
        [each(|sample| sample.syncs), each(|sample| sample.writes), each(|sample| sample.cpu_ns)];
    format!("{}, {}, {}", quantity(syncs), quantity(writes), quantity(cpu / 1e3))
}

fn calls(text: &mut String, rows: &[&Row]) {
    for row in rows {
        let Some(samples) = row.samples.get(&Contender::Forebay) else { continue };
        let records: u64 = samples.iter().map(|sample| sample.records).sum();
        let mut names: Vec<&String> = samples.iter().flat_map(|sample| sample.calls.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let counts = names.iter().map(|name| {
            let n: u64 = samples.iter().filter_map(|sample| sample.calls.get(*name)).sum();
            format!("{name} {}", quantity(n as f64 * 1e3 / records.max(1) as f64))
        });
        let _ = writeln!(text, "- `{}`: {}", row.cell.id(), counts.collect::<Vec<_>>().join(", "));
    }
    let _ = writeln!(text);
}

/// Three digits, or all in front of the point.
pub fn quantity(value: f64) -> String {
    match value {
        v if v >= 1e7 => format!("{:.1} M", v / 1e6),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e3 => {
            let whole = v.round() as u64;
            format!("{},{:03}", whole / 1_000, whole % 1_000)
        }
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.01 => format!("{v:.2}"),
        0.0 => "0".into(),
        v => format!("{v:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short() {
        let said: Vec<String> =
            [12_345_678.0, 1_234_567.0, 98_765.4, 1_005.0, 123.4, 12.34, 1.234, 0.0123, 0.0]
                .map(quantity)
                .to_vec();
        assert_eq!(said, ["12.3 M", "1.23 M", "98,765", "1,005", "123", "12.3", "1.23", "0.01", "0"]);
    }
}
