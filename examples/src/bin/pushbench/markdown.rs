//! The tables of `BENCHMARKS.md`.

use forebay_agent::figures::{UNKNOWN, count};

use crate::report::{percentile_ms, short};
use crate::run::Measured;
use crate::scenario::{AimedRate, Scenario};

/// What was measured of each load, beside the system to beat and what is to be reached.
pub(crate) fn shapes(measured: &[Measured]) -> String {
    let mut out = header(&[
        "load",
        "",
        "CPU s / M lines",
        "lines/s",
        "peak RSS MB",
        "MB/s",
        "p50 / p99 ms",
        "f, ms",
        "records / sync",
        "rate · f / connections",
    ]);
    for one in measured {
        let both = |p50, p99| format!("{} / {}", short(p50), short(p99));
        let scenario = one.scenario();
        if let Some(loki) = scenario.map(Scenario::loki) {
            out += &row(&[
                one.run.plan.shape.to_string(),
                "Loki 3, no sync".to_owned(),
                short(Some(loki.server_cpu_per_million_lines)),
                count(Some(loki.lines_per_second)),
                count(Some(loki.peak_rss_megabytes)),
                short(Some(loki.megabytes_per_second)),
                both(Some(loki.p50_ms), Some(loki.p99_ms)),
            ]);
        }
        out += &row(&[
            if scenario.is_some() { String::new() } else { one.run.plan.shape.to_string() },
            "**here, synced**".to_owned(),
            short(one.server_cpu_per_million_lines()),
            count(Some(one.lines_per_second())),
            count(one.peak_rss_megabytes()),
            short(Some(one.megabytes_per_second())),
            both(one.percentile_ms(50), one.percentile_ms(99)),
            short(one.sync_ms()),
            short(one.records_per_sync()),
            short(one.share_of_syncs()),
        ]);
        if let Some(scenario) = scenario {
            out += &aim(one, scenario);
        }
    }
    out
}

/// What is to be reached, and whether it is.
fn aim(one: &Measured, scenario: Scenario) -> String {
    let aim = scenario.aim();
    let (rate, share) = match aim.rate {
        AimedRate::OfBaseline(times) => (Some(times * scenario.loki().lines_per_second), None),
        AimedRate::OfSyncs(part) => (None, Some(part)),
    };
    let whole = one.load.refused_pushes == 0;
    let most = |aim, found| verdict("≤", aim, found, whole, |found, aim| found <= aim);
    let least = |aim, found| verdict("≥", aim, found, whole, |found, aim| found >= aim);
    row(&[
        String::new(),
        "aim".to_owned(),
        most(Some(aim.server_cpu_per_million_lines), one.server_cpu_per_million_lines()),
        least(rate, Some(one.lines_per_second())),
        most(aim.peak_rss_megabytes, one.peak_rss_megabytes()),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        least(share, one.share_of_syncs()),
    ])
}

/// Nothing is met by what was in part refused, or was not what it was to be.
fn verdict(
    sign: &str,
    aim: Option<f64>,
    found: Option<f64>,
    is_whole: bool,
    is_met: impl Fn(f64, f64) -> bool,
) -> String {
    let Some(aim) = aim else { return String::new() };
    let met = match found {
        None => "not measured",
        Some(found) if is_whole && is_met(found, aim) => "met",
        Some(_) => "**missed**",
    };
    format!("{sign} {}: {met}", short(Some(aim)))
}

/// What a line costs, by streams and copies.
pub(crate) fn costs(measured: &[Measured]) -> String {
    let mut out = header(&[
        "streams",
        "copies",
        "connections",
        "CPU us / line",
        "lines/s",
        "p50 / p99 ms",
        "records / sync",
        "peak RSS MB",
    ]);
    for one in measured {
        let shape = one.run.plan.shape;
        out += &row(&[
            count(Some(shape.streams.into())),
            one.run.copies.to_string(),
            shape.connections.to_string(),
            // Seconds of a million lines are microseconds of one.
            short(one.server_cpu_per_million_lines()),
            count(Some(one.lines_per_second())),
            format!("{} / {}", short(one.percentile_ms(50)), short(one.percentile_ms(99))),
            short(one.records_per_sync()),
            count(one.peak_rss_megabytes()),
        ]);
    }
    out
}

/// How long the queries of a run took; `aims` are the milliseconds that 99 of 100 may take, in their order.
pub(crate) fn queries(measured: &Measured, aims: &[f64]) -> String {
    let mut out = header(&["query", "over", "answers", "failures", "p50 ms", "p99 ms", "aim"]);
    let whole = measured.kept_up() && measured.load.refused_pushes == 0;
    for (number, asked) in measured.asked.iter().enumerate() {
        let p99 = percentile_ms(&asked.latencies_us, 99);
        out += &row(&[
            format!("`{}`", asked.ask.text.replace('|', "\\|")),
            format!("{:?}", asked.ask.over),
            count(Some(asked.answers as f64)),
            asked.failures.to_string(),
            short(percentile_ms(&asked.latencies_us, 50)),
            short(p99),
            verdict("≤", aims.get(number).copied(), p99, whole && asked.failures == 0, |found, aim| {
                found <= aim
            }),
        ]);
    }
    out
}

fn header(names: &[&str]) -> String {
    let rule = names.iter().enumerate().map(|(n, _)| if n < 2 { "---" } else { "---:" });
    format!("{}|{}|\n", row(names), rule.collect::<Vec<_>>().join("|"))
}

/// Cells that are missing at the end are empty.
fn row<T: AsRef<str>>(cells: &[T]) -> String {
    let cells: Vec<&str> =
        cells.iter().map(AsRef::as_ref).map(|cell| if cell == UNKNOWN { "–" } else { cell }).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::measured;

    /// Nothing of it failed.
    fn whole(scenario: Scenario) -> Measured {
        let mut one = measured(scenario);
        one.load.refused_pushes = 0;
        one.asked[0].failures = 0;
        one
    }

    #[test]
    fn a_load_has_both_systems_and_what_is_met_and_missed() {
        let text = shapes(&[whole(Scenario::Batches), whole(Scenario::Single)]);
        let row = |what: &str, nth: usize| {
            let row = text.lines().filter(|line| line.contains(what)).nth(nth).unwrap();
            row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()
        };
        assert_eq!(
            row("Loki", 0)[..5],
            ["4 connections, 64 streams, 1,000 lines a push", "Loki 3, no sync", "4.40", "400,585", "490"]
        );
        assert_eq!(row("here", 0)[2..5], ["2.50", "500,000", "250"]);
        let aims = row("aim", 0);
        assert_eq!(aims[2..5], ["≤ 1.10: **missed**", "≥ 801,170: **missed**", "≤ 250: met"]);
        let aims = row("aim", 1);
        assert_eq!((aims[2], aims[3], aims[4]), ("≤ 60.0: met", "", ""));
        assert_eq!(row("here", 1)[9], "250", "500,000 pushes of 2 ms on 4 connections");
        assert_eq!(aims[9], "≥ 0.70: met");
    }

    #[test]
    fn a_line_and_a_query_have_a_row_each() {
        let mut one = measured(Scenario::Batches);
        one.run.plan.shape = one.run.plan.shape.with_streams(10_000);
        one.run.copies = 3;
        let text = costs(&[one]);
        assert!(text.ends_with("| 10,000 | 3 | 4 | 2.50 | 500,000 | 10.0 / 19.8 | 2.50 | 250 |\n"), "{text}");
        let text = queries(&measured(Scenario::Batches), &[8.0]);
        assert!(
            text.ends_with("| `{a=\"b\"}` | 900s | 2 | 1 | 7.00 | 9.00 | ≤ 8.00: **missed** |\n"),
            "{text}"
        );
    }

    #[test]
    fn nothing_is_met_by_what_failed_in_part_or_was_slower_than_it_was_to_be() {
        let verdict = |one: &Measured| queries(one, &[10.0]).contains("≤ 10.0: met");
        assert!(verdict(&whole(Scenario::Batches)));
        let mut failed = whole(Scenario::Batches);
        failed.asked[0].failures = 1;
        let mut refused = whole(Scenario::Batches);
        refused.load.refused_pushes = 1;
        assert!(!shapes(&[measured(Scenario::Batches)]).contains(": met"));
        let mut late = whole(Scenario::Batches);
        late.run.plan.rate = Some(500_000);
        assert!(verdict(&late), "it was as fast as that");
        late.run.plan.rate = Some(600_000);
        for one in [failed, refused, late] {
            assert!(!verdict(&one));
        }
    }

    #[test]
    fn a_bar_in_a_query_does_not_end_its_cell() {
        let mut one = measured(Scenario::Batches);
        one.asked[0].ask.text = "{a=\"b\"} |= \"x\"".to_owned();
        assert!(queries(&one, &[]).contains("`{a=\"b\"} \\|= \"x\"`"));
    }
}
