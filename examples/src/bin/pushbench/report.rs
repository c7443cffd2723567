//! What was measured, beside what the system to beat did.

use std::time::Duration;

use forebay_agent::figures::{UNKNOWN, count, table as draw};
use serde_json::{Value, json};

use crate::load::Load;
use crate::scenario::{BASELINE_SOURCE, Scenario};

/// One scenario, measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) scenario: Scenario,
    pub(crate) load: Load,
    /// Processor time of the server, where its process is known.
    pub(crate) server_cpu: Option<Duration>,
    /// Processor time of the load itself.
    pub(crate) client_cpu: Duration,
    /// Most memory the server had resident since it started.
    pub(crate) peak_rss_bytes: Option<u64>,
    /// Syncs of the server's log, where it shows them.
    pub(crate) wal_syncs: Option<f64>,
}

impl Measured {
    fn lines_per_second(&self) -> f64 {
        self.load.lines as f64 / self.load.elapsed.as_secs_f64().max(1e-9)
    }

    fn megabytes_per_second(&self) -> f64 {
        self.load.bytes as f64 / 1e6 / self.load.elapsed.as_secs_f64().max(1e-9)
    }

    /// Nearest rank, in milliseconds.
    fn percentile_ms(&self, percent: usize) -> Option<f64> {
        let latencies = &self.load.latencies_us;
        let rank = (latencies.len() * percent).div_ceil(100).max(1);
        latencies.get(rank - 1).map(|&us| f64::from(us) / 1e3)
    }

    /// Processor seconds for a million lines.
    fn per_million_lines(&self, cpu: Duration) -> Option<f64> {
        (self.load.lines > 0).then(|| cpu.as_secs_f64() / (self.load.lines as f64 / 1e6))
    }

    fn peak_rss_megabytes(&self) -> Option<f64> {
        self.peak_rss_bytes.map(|bytes| bytes as f64 / 1e6)
    }
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
        "WAL\nsyncs",
        "peak RSS\nMB",
    ];
    let rows = measured.iter().flat_map(|one| {
        let loki = one.scenario.loki();
        let own = [
            one.scenario.to_string(),
            count(Some(one.lines_per_second())),
            short(Some(one.megabytes_per_second())),
            short(one.percentile_ms(50)),
            short(one.percentile_ms(99)),
            short(one.server_cpu.and_then(|cpu| one.per_million_lines(cpu))),
            short(one.per_million_lines(one.client_cpu)),
            count(one.wal_syncs),
            count(one.peak_rss_megabytes()),
        ];
        let theirs = [
            "  Loki 3, see below".to_owned(),
            count(Some(loki.lines_per_second)),
            short(Some(loki.megabytes_per_second)),
            short(Some(loki.p50_ms)),
            short(Some(loki.p99_ms)),
            short(Some(loki.server_cpu_per_million_lines)),
            UNKNOWN.to_owned(),
            UNKNOWN.to_owned(),
            count(Some(loki.peak_rss_megabytes)),
        ];
        [own, theirs]
    });
    let mut out = draw(header, rows).to_string();
    for one in measured.iter().filter(|one| one.load.refused_pushes > 0) {
        let (refused, first) =
            (one.load.refused_pushes, one.load.first_refusal.as_deref().unwrap_or(UNKNOWN));
        out.push_str(&format!(
            "\n{}: {refused} pushes were refused and do not count, the first with {first}",
            one.scenario
        ));
    }
    out + "\n" + BASELINE_SOURCE
}

/// The same for programs; what is not known is null.
pub(crate) fn json(measured: &[Measured]) -> Value {
    let results = measured.iter().map(|one| {
        json!({
            "scenario": one.scenario.to_string(),
            "connections": one.scenario.connections(),
            "streams": one.scenario.streams(),
            "push_lines": one.scenario.push_lines(),
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
            "server_cpu_per_million_lines": one.server_cpu.and_then(|cpu| one.per_million_lines(cpu)),
            "client_cpu_per_million_lines": one.per_million_lines(one.client_cpu),
            "wal_syncs": one.wal_syncs,
            "peak_rss_megabytes": one.peak_rss_megabytes(),
            "loki": one.scenario.loki(),
        })
    });
    json!({ "results": results.collect::<Vec<_>>(), "loki_source": BASELINE_SOURCE })
}

/// Two figures or more, no more decimals than they need.
fn short(figure: Option<f64>) -> String {
    match figure {
        None => UNKNOWN.to_owned(),
        Some(figure) if figure >= 100.0 => count(Some(figure)),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let load = Load {
            lines: 2_000_000,
            bytes: 300_000_000,
            refused_pushes: 1,
            first_refusal: Some("503 Service Unavailable: full".to_owned()),
            elapsed: Duration::from_secs(4),
            latencies_us: (1..=200).map(|n| n * 100).collect(),
        };
        Measured {
            scenario: Scenario::Batches,
            load,
            server_cpu: Some(Duration::from_secs(5)),
            client_cpu: Duration::from_secs(1),
            peak_rss_bytes: Some(250_000_000),
            wal_syncs: None,
        }
    }

    #[test]
    fn figures_are_per_second_per_million_lines_and_by_rank() {
        let json = json(&[measured()]);
        let one = &json["results"][0];
        for (name, expected) in [
            ("lines_per_second", 500_000.0),
            ("megabytes_per_second", 75.0),
            ("p50_ms", 10.0),
            ("p99_ms", 19.8),
            ("server_cpu_per_million_lines", 2.5),
            ("client_cpu_per_million_lines", 0.5),
            ("peak_rss_megabytes", 250.0),
        ] {
            assert_eq!(one[name], expected, "{name}");
        }
        assert_eq!(one["wal_syncs"], Value::Null);
        assert_eq!(one["loki"]["lines_per_second"], 400_585.0);
    }

    #[test]
    fn the_table_has_both_systems_and_says_where_the_other_was_measured() {
        let text = table(&[measured()]);
        assert!(text.contains("500,000") && text.contains("400,585"), "{text}");
        assert!(text.contains("1 pushes were refused and do not count, the first with 503"), "{text}");
        assert!(text.contains("does not fsync before it answers"), "{text}");
    }

    #[test]
    fn nothing_measured_is_not_a_number_of_anything() {
        let nothing = Measured { load: Load::default(), server_cpu: None, ..measured() };
        assert_eq!(json(&[nothing])["results"][0]["p99_ms"], Value::Null);
    }
}
