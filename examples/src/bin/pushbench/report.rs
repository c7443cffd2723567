//! The figures of a run, for people and for programs, beside what the system to beat did.

use std::time::Duration;

use forebay_agent::figures::{UNKNOWN, count, table as draw};
use serde_json::{Value, json};

use crate::ask::Asked;
use crate::run::Measured;
use crate::scenario::{BASELINE_SOURCE, Scenario};
use crate::watch::quarters;

/// The part of a rate that is as good as the rate.
const KEPT_UP: f64 = 0.95;

impl Measured {
    pub(crate) fn scenario(&self) -> Option<Scenario> {
        self.run.plan.shape.scenario().filter(|_| self.run.copies == 1 && self.run.plan.rate.is_none())
    }

    pub(crate) fn lines_per_second(&self) -> f64 {
        self.load.lines as f64 / self.load.elapsed.as_secs_f64().max(1e-9)
    }

    /// Whether lines went through at the rate at which they were to be pushed.
    pub(crate) fn kept_up(&self) -> bool {
        self.run.plan.rate.is_none_or(|rate| self.lines_per_second() >= KEPT_UP * rate as f64)
    }

    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.load.bytes as f64 / 1e6 / self.load.elapsed.as_secs_f64().max(1e-9)
    }

    /// Of the pushes.
    pub(crate) fn percentile_ms(&self, percent: usize) -> Option<f64> {
        percentile_ms(&self.load.latencies_us, percent)
    }

    /// Of the server, for a million lines.
    pub(crate) fn server_cpu_per_million_lines(&self) -> Option<f64> {
        self.server_cpu.and_then(|cpu| self.per_million_lines(cpu))
    }

    fn per_million_lines(&self, cpu: Duration) -> Option<f64> {
        (self.load.lines > 0).then(|| cpu.as_secs_f64() / (self.load.lines as f64 / 1e6))
    }

    pub(crate) fn peak_rss_megabytes(&self) -> Option<f64> {
        self.peak_rss_bytes.map(|bytes| bytes as f64 / 1e6)
    }

    /// The mean time of a sync of the log.
    pub(crate) fn sync_ms(&self) -> Option<f64> {
        self.wal.map(|wal| wal.sync_seconds * 1e3 / wal.syncs)
    }

    /// Records that shared a sync, in the mean.
    pub(crate) fn records_per_sync(&self) -> Option<f64> {
        self.wal.map(|wal| wal.records / wal.syncs)
    }

    /// Pushes a second beside those that there would be if one cost nothing but a sync of its own, on every connection.
    /// Above 1 where nothing waits for its own sync alone.
    pub(crate) fn share_of_syncs(&self) -> Option<f64> {
        let shape = self.run.plan.shape;
        let pushes = self.lines_per_second() / f64::from(shape.push_lines);
        self.sync_ms().map(|ms| pushes * ms / 1e3 / f64::from(shape.connections))
    }
}

/// Nearest rank of `latencies_us`, which ascend.
pub(crate) fn percentile_ms(latencies_us: &[u32], percent: usize) -> Option<f64> {
    let rank = (latencies_us.len() * percent).div_ceil(100).max(1);
    latencies_us.get(rank - 1).map(|&us| f64::from(us) / 1e3)
}

/// A table for people, with its notes.
pub(crate) fn table(measured: &[Measured]) -> String {
    let header = [
        "",
        "lines/s",
        "MB/s",
        "p50 ms",
        "p99 ms",
        "server CPU s\n/ M lines",
        "client CPU s\n/ M lines",
        "mean sync\nms (f)",
        "records\n/ sync",
        "rate * f\n/ connections",
        "peak RSS\nMB",
    ];
    let rows = measured.iter().flat_map(|one| {
        let own = [
            name(one),
            count(Some(one.lines_per_second())),
            short(Some(one.megabytes_per_second())),
            short(one.percentile_ms(50)),
            short(one.percentile_ms(99)),
            short(one.server_cpu_per_million_lines()),
            short(one.per_million_lines(one.client_cpu)),
            short(one.sync_ms()),
            short(one.records_per_sync()),
            short(one.share_of_syncs()),
            count(one.peak_rss_megabytes()),
        ];
        let theirs = one.scenario().map(Scenario::loki).map(|loki| {
            [
                "  Loki 3, see below".to_owned(),
                count(Some(loki.lines_per_second)),
                short(Some(loki.megabytes_per_second)),
                short(Some(loki.p50_ms)),
                short(Some(loki.p99_ms)),
                short(Some(loki.server_cpu_per_million_lines)),
                UNKNOWN.to_owned(),
                UNKNOWN.to_owned(),
                UNKNOWN.to_owned(),
                UNKNOWN.to_owned(),
                count(Some(loki.peak_rss_megabytes)),
            ]
        });
        [Some(own), theirs].into_iter().flatten()
    });
    let mut out = draw(header, rows).to_string() + "\n";
    if measured.iter().any(|one| !one.asked.is_empty()) {
        out += &format!("{}\n", answers(measured));
    }
    out += &notes(measured);
    if measured.iter().any(|one| one.scenario().is_some()) {
        out += BASELINE_SOURCE;
    }
    out
}

fn name(one: &Measured) -> String {
    let copies = if one.run.copies > 1 { format!(", {} copies", one.run.copies) } else { String::new() };
    format!("{}{copies}", one.run.plan.shape)
}

fn answers(measured: &[Measured]) -> String {
    let rows = measured.iter().flat_map(|one| &one.asked).map(|asked| {
        [
            format!("{:?} {}", asked.ask.over, asked.ask.text),
            count(Some(asked.answers as f64)),
            short(percentile_ms(&asked.latencies_us, 50)),
            short(percentile_ms(&asked.latencies_us, 99)),
            count(Some(asked.failures as f64)),
        ]
    });
    draw(["query", "answers", "p50 ms", "p99 ms", "failures"], rows).to_string()
}

/// What went wrong, and whether memory was flat where it was looked at for long enough.
pub(crate) fn notes(measured: &[Measured]) -> String {
    let mut out = String::new();
    for one in measured {
        if one.load.refused_pushes > 0 {
            let first = one.load.first_refusal.as_deref().unwrap_or(UNKNOWN);
            let refused = one.load.refused_pushes;
            out += &format!(
                "{}: {refused} pushes were refused and do not count, the first with {first}\n",
                name(one)
            );
        }
        if let Some(rate) = one.run.plan.rate.filter(|_| !one.kept_up()) {
            let (found, planned) = (count(Some(one.lines_per_second())), count(Some(rate as f64)));
            out += &format!("{}: {found} lines/s went through, {planned} were to\n", name(one));
        }
        for Asked { ask, failures, first_failure, .. } in &one.asked {
            if let Some(first) = first_failure {
                out += &format!("{}: {failures} failures, the first: {first}\n", ask.text);
            }
        }
        if let Some((second, last)) = quarters(&one.samples).filter(|_| one.samples.len() >= 60) {
            out += &format!(
                "{}: {second:.0} MB resident in the second quarter of the time, {last:.0} MB in the last\n",
                name(one)
            );
        }
    }
    out
}

/// The same for programs; what is not known is null.
pub(crate) fn json(measured: &[Measured]) -> Value {
    let results = measured.iter().map(|one| {
        let shape = one.run.plan.shape;
        let queries = one.asked.iter().map(|asked| {
            json!({
                "query": asked.ask.text,
                "over_seconds": asked.ask.over.as_secs_f64(),
                "answers": asked.answers,
                "p50_ms": percentile_ms(&asked.latencies_us, 50),
                "p99_ms": percentile_ms(&asked.latencies_us, 99),
                "failures": asked.failures,
                "first_failure": asked.first_failure,
            })
        });
        json!({
            "connections": shape.connections,
            "streams": shape.streams,
            "push_lines": shape.push_lines,
            "copies": one.run.copies,
            "rate": one.run.plan.rate,
            "seconds": one.load.elapsed.as_secs_f64(),
            "lines": one.load.lines,
            "bytes": one.load.bytes,
            "pushes": one.load.latencies_us.len(),
            "refused_pushes": one.load.refused_pushes,
            "first_refusal": one.load.first_refusal,
            "lines_per_second": one.lines_per_second(),
            "megabytes_per_second": one.megabytes_per_second(),
            "p50_ms": one.percentile_ms(50),
            "p99_ms": one.percentile_ms(99),
            "server_cpu_per_million_lines": one.server_cpu_per_million_lines(),
            "client_cpu_per_million_lines": one.per_million_lines(one.client_cpu),
            "wal_syncs": one.wal.map(|wal| wal.syncs),
            "mean_sync_ms": one.sync_ms(),
            "records_per_sync": one.records_per_sync(),
            "share_of_syncs": one.share_of_syncs(),
            "peak_rss_megabytes": one.peak_rss_megabytes(),
            "queries": queries.collect::<Vec<_>>(),
            "loki": one.scenario().map(Scenario::loki),
        })
    });
    json!({ "results": results.collect::<Vec<_>>(), "loki_source": BASELINE_SOURCE })
}

/// Two figures or more, no more decimals than they need.
pub(crate) fn short(figure: Option<f64>) -> String {
    match figure {
        None => UNKNOWN.to_owned(),
        Some(figure) if figure >= 100.0 => count(Some(figure)),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::{Load, Plan, Until};
    use crate::run::{Run, Wal};

    /// A run of `scenario` with round figures.
    pub(crate) fn measured(scenario: Scenario) -> Measured {
        let load = Load {
            lines: 2_000_000,
            bytes: 300_000_000,
            refused_pushes: 1,
            first_refusal: Some("503 Service Unavailable: full".to_owned()),
            elapsed: Duration::from_secs(4),
            latencies_us: (1..=200).map(|n| n * 100).collect(),
        };
        let until = Until::Time(Duration::from_secs(4));
        let ask = "15m {a=\"b\"}".parse().unwrap();
        let latencies_us = vec![7_000, 9_000];
        Measured {
            run: Run {
                plan: Plan { shape: scenario.shape(), until, rate: None },
                copies: 1,
                asks: Vec::new(),
            },
            load,
            server_cpu: Some(Duration::from_secs(5)),
            client_cpu: Duration::from_secs(1),
            peak_rss_bytes: Some(250_000_000),
            samples: Vec::new(),
            wal: Some(Wal { syncs: 1_000.0, sync_seconds: 2.0, records: 2_500.0 }),
            asked: vec![Asked {
                ask,
                answers: 2,
                latencies_us,
                failures: 1,
                first_failure: Some("too slow".to_owned()),
            }],
        }
    }

    #[test]
    fn figures_are_per_second_per_million_lines_and_by_rank() {
        let json = json(&[measured(Scenario::Batches)]);
        let one = &json["results"][0];
        for (name, expected) in [
            ("lines_per_second", 500_000.0),
            ("megabytes_per_second", 75.0),
            ("p50_ms", 10.0),
            ("p99_ms", 19.8),
            ("server_cpu_per_million_lines", 2.5),
            ("client_cpu_per_million_lines", 0.5),
            ("mean_sync_ms", 2.0),
            ("records_per_sync", 2.5),
            // 500 pushes a second of 2 ms on 4 connections.
            ("share_of_syncs", 0.25),
            ("peak_rss_megabytes", 250.0),
        ] {
            assert_eq!(one[name], expected, "{name}");
        }
        assert_eq!(one["loki"]["lines_per_second"], 400_585.0);
        assert_eq!((&one["queries"][0]["p50_ms"], &one["queries"][0]["p99_ms"]), (&json!(7.0), &json!(9.0)));
    }

    #[test]
    fn the_table_has_both_systems_and_says_what_went_wrong_and_where_the_other_was_measured() {
        let text = table(&[measured(Scenario::Batches)]);
        assert!(text.contains("500,000") && text.contains("400,585"), "{text}");
        assert!(text.contains("1 pushes were refused and do not count, the first with 503"), "{text}");
        assert!(text.contains("{a=\"b\"}: 1 failures, the first: too slow"), "{text}");
        assert!(text.contains("does not fsync before it answers"), "{text}");
    }

    #[test]
    fn only_what_pushed_as_the_other_system_was_pushed_to_is_compared_to_it() {
        let mut one = measured(Scenario::Small);
        assert_eq!(one.scenario(), Some(Scenario::Small));
        one.run.copies = 3;
        assert_eq!(one.scenario(), None);
        assert!(!table(&[one]).contains("Loki"));
        let mut half = measured(Scenario::Small);
        half.run.plan.rate = Some(1);
        assert_eq!(half.scenario(), None);
    }

    #[test]
    fn a_load_that_fell_behind_its_rate_says_so() {
        let mut one = measured(Scenario::Small);
        one.run.plan.rate = Some(526_000);
        assert!(!table(&[one]).contains("were to"), "half a million is nearly that");
        let mut behind = measured(Scenario::Small);
        behind.run.plan.rate = Some(600_000);
        let told = table(&[behind]);
        assert!(told.contains("500,000 lines/s went through, 600,000 were to\n"), "{told}");
    }

    #[test]
    fn nothing_measured_is_not_a_number_of_anything() {
        let nothing =
            Measured { load: Load::default(), server_cpu: None, wal: None, ..measured(Scenario::Single) };
        let one = &json(&[nothing])["results"][0];
        for name in ["p99_ms", "server_cpu_per_million_lines", "mean_sync_ms", "share_of_syncs"] {
            assert_eq!(one[name], Value::Null, "{name}");
        }
    }
}
