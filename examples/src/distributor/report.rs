//! What of a push was not stored, by reason, with the first example of each.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use forebay_tenant::Reason;

use super::Outcome;
use crate::labels::Labels;
use crate::push::{Line, Stream};
use crate::record::SectionInfo;

/// What was discarded for one reason.
#[derive(Debug, Clone, Default)]
pub struct Discards {
    /// Lines.
    pub lines: u64,
    /// Bytes of lines and metadata.
    pub bytes: u64,
    /// What the first was discarded for, with its numbers.
    pub example: String,
}

/// What of one push was not stored.
#[derive(Debug, Default)]
pub struct Report {
    lines: u64,
    reasons: BTreeMap<&'static str, Discards>,
    over_limit: bool,
}

impl Report {
    /// Counts the lines of a stream.
    pub(super) fn seen(&mut self, stream: &Stream<'_>) {
        self.lines += stream.lines.len() as u64;
    }

    /// Discards all lines of a stream.
    pub(super) fn discard_stream(&mut self, stream: &Stream<'_>, reason: Reason, why: &dyn Display) {
        let bytes = stream.lines.iter().map(size).sum();
        self.add(reason, stream.lines.len() as u64, bytes, why);
    }

    /// Discards one line.
    pub(super) fn discard_line(&mut self, line: &Line<'_>, reason: Reason, why: &dyn Display) {
        self.add(reason, 1, size(line), why);
    }

    /// Discards a section that would have been one stream too many.
    pub(super) fn over_stream_limit(&mut self, section: &SectionInfo, labels: &Labels, why: &dyn Display) {
        self.over_limit = true;
        let why = format_args!("stream {labels}: {why}");
        self.add(Reason::StreamLimit, u64::from(section.entries), section.bytes as u64, &why);
    }

    fn add(&mut self, reason: Reason, lines: u64, bytes: u64, why: &dyn Display) {
        let discards = self.reasons.entry(reason.as_str()).or_default();
        if discards.lines == 0 {
            discards.example = why.to_string();
        }
        discards.lines += lines;
        discards.bytes += bytes;
    }

    /// Tells the metrics.
    pub(super) fn count(&self, tenant: &str) {
        for (reason, discards) in &self.reasons {
            record(tenant, reason, discards.lines, discards.bytes);
        }
    }

    /// Tells the metrics, and decides what to answer.
    pub(super) fn finish(self, tenant: &str) -> Outcome {
        self.count(tenant);
        if self.over_limit {
            Outcome::StreamLimited(self)
        } else if self.reasons.is_empty() {
            Outcome::Stored
        } else {
            Outcome::Invalid(self)
        }
    }

    /// Lines of the push.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Lines that were not stored.
    pub fn discarded(&self) -> u64 {
        self.reasons.values().map(|discards| discards.lines).sum()
    }

    /// What was discarded, by reason.
    pub fn reasons(&self) -> &BTreeMap<&'static str, Discards> {
        &self.reasons
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = self.lines - self.discarded();
        write!(f, "{} of {} lines were refused, {stored} are stored", self.discarded(), self.lines)?;
        for (reason, discards) in &self.reasons {
            f.write_char('\n')?;
            write!(f, "{reason}: {} lines, the first: {}", discards.lines, discards.example)?;
        }
        Ok(())
    }
}

/// Counts lines and bytes that were discarded for `reason`.
pub(super) fn count(tenant: &str, reason: Reason, lines: u64, bytes: u64) {
    record(tenant, reason.as_str(), lines, bytes);
}

fn record(tenant: &str, reason: &'static str, lines: u64, bytes: u64) {
    metrics::counter!("forebay_discarded_lines_total", "tenant" => crate::metrics::tenant(tenant), "reason" => reason)
        .increment(lines);
    metrics::counter!("forebay_discarded_bytes_total", "tenant" => crate::metrics::tenant(tenant), "reason" => reason)
        .increment(bytes);
}

fn size(line: &Line<'_>) -> u64 {
    let metadata: usize = line.metadata.iter().map(|(n, v)| n.len() + v.len()).sum();
    (line.line.len() + metadata) as u64
}
