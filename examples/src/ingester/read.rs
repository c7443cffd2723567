//! Reading what is in memory, without holding a stream's lock while it is decoded.

use bytes::Bytes;
use forebay_chunk::{Direction, TimeRange};
use forebay_wal::fs::Fs;

use super::Ingester;
use super::stream::Stream;
use crate::index::Span;
use crate::labels::Labels;
use crate::logql::Matcher;
use crate::offload::offload;
use crate::query::merge::{Found, Merge, Source, SourceError, Want, identity_bytes};
use crate::record::Writer;
use crate::wire::{Select, WireError};

/// Bytes of a part of an answer before the next one is begun.
const PART_BYTES: usize = 1 << 20;

/// Why nothing was read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The request makes no sense.
    #[error(transparent)]
    Request(#[from] WireError),
    /// A block in memory does not decode, which no correct program sees.
    #[error("block in memory is damaged")]
    Block(#[from] SourceError),
}

impl<F: Fs> Ingester<F> {
    /// The entries that `select` asks for, as records whose sections are in time order.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn select(&self, select: Select) -> Result<Vec<Bytes>, ReadError> {
        let logs = select.logs()?;
        let range = TimeRange::from(select.from_ns..=select.through_ns);
        let streams = self.shared.tenants.matching(&select.tenant, &logs.matchers, range);
        offload(move || {
            let direction = if select.backward { Direction::Backward } else { Direction::Forward };
            let mut parts = Parts::new(&select);
            let want = if select.identities { Want::Times } else { Want::Lines };
            if select.limit == 0 {
                // No order between streams is needed: one after the other needs the least memory.
                for stream in &streams {
                    let mut merge = Merge::new(direction, want, logs.clone());
                    add(&mut merge, 0, stream, range, direction)?;
                    parts.begin(&stream.labels);
                    while let Some(found) = merge.next()? {
                        parts.push(&found, &stream.labels);
                    }
                    parts.end();
                }
                return Ok(parts.finish());
            }
            let mut merge = Merge::new(direction, want, logs);
            for (number, stream) in (0_u32..).zip(&streams) {
                add(&mut merge, number, stream, range, direction)?;
            }
            let mut chosen: Vec<Vec<Found>> = vec![Vec::new(); streams.len()];
            let limit = usize::try_from(select.limit).unwrap_or(usize::MAX);
            let mut count = 0;
            while count < limit
                && let Some(found) = merge.next()?
            {
                chosen[found.stream as usize].push(found);
                count += 1;
            }
            for (found, stream) in chosen.iter().zip(&streams).filter(|(found, _)| !found.is_empty()) {
                parts.begin(&stream.labels);
                found.iter().for_each(|found| parts.push(found, &stream.labels));
                parts.end();
            }
            Ok(parts.finish())
        })
        .await
    }

    /// The labels of streams with entries in `span` that match.
    pub fn series(&self, tenant: &str, matchers: &[Matcher], span: Span) -> Vec<Labels> {
        let range = TimeRange::from(span.from_ns..=span.through_ns);
        self.shared.tenants.matching(tenant, matchers, range).iter().map(|s| s.labels.clone()).collect()
    }
}

fn add(
    merge: &mut Merge,
    number: u32,
    stream: &Stream,
    range: TimeRange,
    direction: Direction,
) -> Result<(), SourceError> {
    stream
        .snapshots(range)
        .into_iter()
        .try_for_each(|s| merge.add(number, Source::Chunk(Box::new(s.entries_in(range, direction)))))
}

/// Writes entries into records of about [`PART_BYTES`].
struct Parts<'a> {
    select: &'a Select,
    writer: Writer,
    bytes: usize,
    parts: Vec<Bytes>,
}

impl<'a> Parts<'a> {
    fn new(select: &'a Select) -> Self {
        Self { select, writer: Writer::new(&select.tenant, 0), bytes: 0, parts: Vec::new() }
    }

    fn begin(&mut self, labels: &Labels) {
        self.writer.begin(&labels.pairs());
    }

    fn end(&mut self) {
        self.writer.end();
    }

    fn push(&mut self, found: &Found, labels: &Labels) {
        if self.bytes >= PART_BYTES {
            self.end();
            self.cut();
            self.begin(labels);
        }
        if self.select.identities {
            let (identity, size) = identity_bytes(found, self.select.sizes);
            let size = size.as_ref().map_or(&[][..], |size| size);
            self.writer.entry(found.timestamp_ns, [&identity, size], &[]);
            self.bytes += identity.len() + size.len();
        } else {
            let metadata: Vec<(&str, &str)> =
                found.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            self.writer.entry(found.timestamp_ns, [&found.line, &[]], &metadata);
            self.bytes += found.line.len();
        }
    }

    fn cut(&mut self) {
        let full = std::mem::replace(&mut self.writer, Writer::new(&self.select.tenant, PART_BYTES));
        self.parts.push(full.finish().all());
        self.bytes = 0;
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.cut();
        self.parts
    }
}
