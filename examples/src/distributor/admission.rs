//! What of a push is valid, as one record, and why the rest is not. No more than this stands between a client's bytes
//! and the log.

use std::sync::Arc;

use forebay_chunk::loki::METRIC_NAME_LABEL;
use forebay_tenant::{Limits, Reason, Validator, Verdict, labels};
use smallvec::SmallVec;

use super::Report;
use super::known::Known;
use crate::excerpt::Excerpt;
use crate::push::{LabelSet, Line, Stream};
use crate::record::{Push, Writer};

/// The checks of a tenant at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    /// The tenant's.
    pub limits: &'a Limits,
    /// Nanoseconds since 1970.
    pub now_ns: i64,
    /// Lines and metadata that no chunk can hold are refused whatever the tenant's limits say.
    pub chunk_limits: &'a forebay_chunk::Limits,
    /// Streams are split into sections of so many bytes at most, or of a single line.
    pub record_bytes: usize,
}

impl Admission<'_> {
    /// Begins a push of `tenant`, with memory for a record of `capacity` bytes.
    #[must_use]
    pub fn begin(&self, tenant: &str, capacity: usize) -> Admitted<'_> {
        Admitted {
            checks: self,
            validator: Validator::new(self.limits, self.now_ns),
            writer: Writer::new(tenant, capacity).split_sections(self.record_bytes),
            report: Report::default(),
            unescaped: String::new(),
            known: None,
        }
    }
}

/// What was admitted of a push so far.
#[derive(Debug)]
pub struct Admitted<'a> {
    checks: &'a Admission<'a>,
    validator: Validator<'a>,
    writer: Writer,
    report: Report,
    unescaped: String,
    known: Option<(&'a Known, &'a Arc<Limits>)>,
}

impl<'a> Admitted<'a> {
    /// The same with what is known of label texts under the tenant's `limits`, the same that it checks.
    #[must_use]
    pub fn knowing(self, known: &'a Known, limits: &'a Arc<Limits>) -> Self {
        Self { known: Some((known, limits)), ..self }
    }

    /// Takes what is valid of `stream`.
    pub fn take(&mut self, stream: &Stream<'_>) {
        self.report.seen(stream);
        if stream.lines.is_empty() || !self.take_labels(stream) {
            return;
        }
        stream.lines.iter().for_each(|line| self.take_line(line));
        self.writer.end();
    }

    /// Begins the section of `stream`, if its labels are valid.
    fn take_labels(&mut self, stream: &Stream<'_>) -> bool {
        let Self { validator, writer, report, unescaped, known, .. } = self;
        let known = *known;
        if let (LabelSet::Text(text), Some((known, limits))) = (&stream.labels, known)
            && known.find(text, limits, |canonical| writer.begin_canonical(canonical)).is_some()
        {
            return true;
        }
        let pairs = match &stream.labels {
            LabelSet::Text(text) => match labels::parse(text, unescaped) {
                Ok(pairs) => pairs,
                Err(error) => {
                    let why = format_args!("labels {:?}: {error}", Excerpt(text));
                    report.discard_stream(stream, error.reason(), &why);
                    return false;
                }
            },
            LabelSet::Pairs(pairs) => {
                let mut pairs: Vec<(&str, &str)> = pairs
                    .iter()
                    .map(|(n, v)| (n.as_ref(), v.as_ref()))
                    .filter(|(_, v)| !v.is_empty())
                    .collect();
                pairs.sort_by_key(|(name, _)| *name);
                pairs
            }
        };
        if let Err(rejection) = validator.labels(&pairs) {
            report.discard_stream(stream, rejection.reason(), &rejection);
            return false;
        }
        // Chunks carry a name of their own there: streams that differ in it alone would be one object.
        if pairs.iter().any(|(name, _)| *name == METRIC_NAME_LABEL) {
            let why = format_args!("label {METRIC_NAME_LABEL} is reserved");
            report.discard_stream(stream, Reason::InvalidLabels, &why);
            return false;
        }
        let canonical = writer.begin(&pairs);
        if let (LabelSet::Text(text), Some((known, limits))) = (&stream.labels, known) {
            known.learn(text, limits, canonical);
        }
        true
    }

    fn take_line(&mut self, line: &Line<'_>) {
        let Self { checks, validator, writer, report, .. } = self;
        let metadata: SmallVec<[(&str, &str); 8]> =
            line.metadata.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        let (keep, suffix) = match validator.entry(line.timestamp_ns, &line.line, &metadata) {
            Verdict::Accept => (line.line.len(), ""),
            Verdict::Truncate { keep } => (keep, checks.limits.max_line_size_truncate_identifier.as_str()),
            Verdict::Discard(rejection) => return report.discard_line(line, rejection.reason(), &rejection),
        };
        let chunk = checks.chunk_limits;
        let size = keep + suffix.len();
        if size > chunk.max_line_bytes {
            let why =
                format_args!("line of {size} bytes exceeds what a chunk holds, {}", chunk.max_line_bytes);
            return report.discard_line(line, Reason::LineTooLong, &why);
        }
        let metadata_bytes: usize = metadata.iter().map(|(n, v)| n.len() + v.len()).sum();
        // A line and its metadata travel in one record, which the largest line bounds.
        let most = chunk.max_symbol_bytes.min(chunk.max_line_bytes);
        if metadata_bytes > most || metadata.len() > chunk.max_symbols / 2 {
            let why = format_args!("metadata of {metadata_bytes} bytes exceeds what a chunk holds");
            return report.discard_line(line, Reason::StructuredMetadataTooLarge, &why);
        }
        writer.entry(line.timestamp_ns, [&line.line[..keep], suffix.as_bytes()], &metadata);
    }

    /// The record of what is valid, and a report of what is not.
    #[must_use]
    pub fn finish(self) -> (Push, Report) {
        (self.writer.finish(), self.report)
    }
}
