//! The loads that are measured, what the system to beat did under them, and what is to be reached.

use std::fmt;

use forebay_agent::figures::grouped;
use serde::Serialize;

/// How lines are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Each with one push under way.
    pub(crate) connections: u32,
    /// Each written to by one connection, so never fewer than these.
    pub(crate) streams: u32,
    /// Lines a push.
    pub(crate) push_lines: u32,
}

/// A load by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// 4 connections, 64 streams, 1,000 lines a push: agents that batch
    Batches,
    /// 16 connections, 256 streams, 100 lines a push: many agents with little to say each
    Small,
    /// 4 connections, 64 streams, 1 line a push: programs that push every line
    Single,
}

/// What a server did under a load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Baseline {
    pub(crate) lines_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Processor seconds of the server for a million lines.
    pub(crate) server_cpu_per_million_lines: f64,
    pub(crate) peak_rss_megabytes: f64,
}

/// What is to be reached under a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Aim {
    /// Processor seconds of the server for a million lines, at most.
    pub(crate) server_cpu_per_million_lines: f64,
    pub(crate) rate: AimedRate,
    /// Megabytes, at most.
    pub(crate) peak_rss_megabytes: Option<f64>,
}

/// How fast, at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AimedRate {
    /// So many times the [baseline](Scenario::loki).
    OfBaseline(f64),
    /// Such a part of connections / f, where f is the mean time of a sync: of what there would be if a push cost nothing
    /// but its own sync.
    OfSyncs(f64),
}

/// Where the [baselines](Scenario::loki) come from.
pub(crate) const BASELINE_SOURCE: &str = "\
Loki 3 (grafana/loki of 2026-08-22, Go 1.26.6), measured elsewhere: one process, filesystem store, snappy chunks, WAL on
(it does not fsync before it answers, the pipeline does), load on the same 2 shared AMD EPYC cores, 137 bytes a line.
On another machine, and from run to run on a shared one, absolute figures differ: read them as orders of magnitude.";

impl Scenario {
    /// All, the heaviest first.
    pub(crate) const ALL: [Self; 3] = [Self::Batches, Self::Small, Self::Single];

    /// How it pushes.
    pub(crate) fn shape(self) -> Shape {
        let (connections, streams, push_lines) = match self {
            Self::Batches => (4, 64, 1_000),
            Self::Small => (16, 256, 100),
            Self::Single => (4, 64, 1),
        };
        Shape { connections, streams, push_lines }
    }

    /// What Loki did, see [`BASELINE_SOURCE`].
    pub(crate) fn loki(self) -> Baseline {
        let [
            lines_per_second,
            megabytes_per_second,
            p50_ms,
            p99_ms,
            server_cpu_per_million_lines,
            peak_rss_megabytes,
        ] = match self {
            Self::Batches => [400_585.0, 55.0, 8.4, 28.0, 4.4, 490.0],
            Self::Small => [236_440.0, 33.0, 5.7, 28.0, 7.4, 871.0],
            Self::Single => [5_665.0, 0.8, 0.6, 2.5, 285.0, 926.0],
        };
        Baseline {
            lines_per_second,
            megabytes_per_second,
            p50_ms,
            p99_ms,
            server_cpu_per_million_lines,
            peak_rss_megabytes,
        }
    }

    /// What is to be reached.
    pub(crate) fn aim(self) -> Aim {
        let (server_cpu_per_million_lines, rate, peak_rss_megabytes) = match self {
            Self::Batches => (1.1, AimedRate::OfBaseline(2.0), Some(250.0)),
            Self::Small => (2.0, AimedRate::OfBaseline(2.0), Some(600.0)),
            Self::Single => (60.0, AimedRate::OfSyncs(0.7), None),
        };
        Aim { server_cpu_per_million_lines, rate, peak_rss_megabytes }
    }
}

impl Shape {
    /// The scenario that pushes so, if one does.
    pub(crate) fn scenario(self) -> Option<Scenario> {
        Scenario::ALL.into_iter().find(|scenario| scenario.shape() == self)
    }

    /// The same with so many streams, and no more connections than these.
    pub(crate) fn with_streams(self, streams: u32) -> Self {
        Self { streams, connections: self.connections.min(streams), ..self }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, streams, push_lines } = *self;
        let many = |count: u32, what: &str| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{} {what}{plural}", grouped(count.into()))
        };
        let (connections, streams) = (many(connections, "connection"), many(streams, "stream"));
        write!(f, "{connections}, {streams}, {} a push", many(push_lines, "line"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_knows_its_scenario_and_says_itself() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.shape().scenario(), Some(scenario));
        }
        let one = Scenario::Single.shape().with_streams(1);
        assert_eq!((one.connections, one.scenario()), (1, None));
        assert_eq!(one.to_string(), "1 connection, 1 stream, 1 line a push");
        let many = Scenario::Batches.shape().with_streams(10_000);
        assert_eq!(many.to_string(), "4 connections, 10,000 streams, 1,000 lines a push");
    }
}
