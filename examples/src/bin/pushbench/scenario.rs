//! The loads that are measured, and what the system to beat did under them.

use std::fmt;

use serde::Serialize;

/// A load.
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

/// Where the [baselines](Scenario::loki) come from.
pub(crate) const BASELINE_SOURCE: &str = "\
Loki 3 (grafana/loki of 2026-08-22, Go 1.26.6), measured elsewhere: one process, filesystem store, snappy chunks, WAL on
(it does not fsync before it answers, the pipeline does), load on the same 2 shared AMD EPYC cores, 137 bytes a line.
On another machine, and from run to run on a shared one, absolute figures differ: read them as orders of magnitude.";

impl Scenario {
    /// All, the heaviest first.
    pub(crate) const ALL: [Self; 3] = [Self::Batches, Self::Small, Self::Single];

    /// Connections, each with one push under way.
    pub(crate) fn connections(self) -> u32 {
        match self {
            Self::Batches | Self::Single => 4,
            Self::Small => 16,
        }
    }

    /// Streams, each written to by one connection.
    pub(crate) fn streams(self) -> u32 {
        match self {
            Self::Batches | Self::Single => 64,
            Self::Small => 256,
        }
    }

    /// Lines a push.
    pub(crate) fn push_lines(self) -> usize {
        match self {
            Self::Batches => 1_000,
            Self::Small => 100,
            Self::Single => 1,
        }
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
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, streams, lines) = (self.connections(), self.streams(), self.push_lines());
        let plural = if lines == 1 { "" } else { "s" };
        write!(f, "{connections} connections, {streams} streams, {lines} line{plural} a push")
    }
}
