//! What a query cost, stage by stage; in every answer and in the metrics.

use forebay_agent::clock::monotonic_ns;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::holes::Holes;
use super::merge::Work;

/// Times and sizes of one query. Times of parallel work are added up.
#[derive(Debug, Default, Clone)]
pub struct Stages {
    /// Asking the ingesters.
    pub ingesters_ns: u64,
    /// Finding chunks.
    pub index_lookup_ns: u64,
    /// Fetching objects.
    pub chunk_download_ns: u64,
    /// Verifying objects and decompressing blocks.
    pub chunk_decode_ns: u64,
    /// Filtering and merging.
    pub processing_ns: u64,
    /// Bytes of the objects.
    pub bytes: u64,
    /// Chunks that the index named.
    pub chunks: u64,
    /// Entries read, before filters and with duplicates.
    pub lines: u64,
    /// Entries that came from more than one source.
    pub duplicates: u64,
    /// Entries in the answer.
    pub lines_answered: u64,
    /// What could not be read.
    pub holes: Holes,
}

/// Nanoseconds since `started_ns`.
pub(super) fn since(started_ns: u64) -> u64 {
    monotonic_ns().saturating_sub(started_ns)
}

impl Stages {
    /// Books what a merge did in `elapsed_ns`.
    pub(super) fn add_work(&mut self, work: &Work, elapsed_ns: u64) {
        self.chunk_decode_ns += work.decode_ns;
        self.processing_ns += elapsed_ns.saturating_sub(work.decode_ns);
        self.lines += work.lines;
        self.duplicates += work.duplicates;
    }

    /// Books what a part of the query cost.
    pub(super) fn add(&mut self, part: &Self) {
        self.ingesters_ns += part.ingesters_ns;
        self.index_lookup_ns += part.index_lookup_ns;
        self.chunk_download_ns += part.chunk_download_ns;
        self.chunk_decode_ns += part.chunk_decode_ns;
        self.processing_ns += part.processing_ns;
        self.bytes += part.bytes;
        self.chunks += part.chunks;
        self.lines += part.lines;
        self.duplicates += part.duplicates;
        self.lines_answered += part.lines_answered;
        self.holes.join(&part.holes);
    }

    /// Tells the metrics.
    pub fn record(&self) {
        for (stage, ns) in self.times() {
            metrics::histogram!("forebay_query_stage_seconds", "stage" => stage).record(seconds(ns));
        }
    }

    fn times(&self) -> [(&'static str, u64); 5] {
        [
            ("ingesters", self.ingesters_ns),
            ("index_lookup", self.index_lookup_ns),
            ("chunk_download", self.chunk_download_ns),
            ("chunk_decode", self.chunk_decode_ns),
            ("processing", self.processing_ns),
        ]
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl Serialize for Stages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (stage, ns) in self.times() {
            map.serialize_entry(stage, &seconds(ns))?;
        }
        map.serialize_entry("bytes", &self.bytes)?;
        map.serialize_entry("chunks", &self.chunks)?;
        map.serialize_entry("lines", &self.lines)?;
        map.serialize_entry("duplicates", &self.duplicates)?;
        map.end()
    }
}
