//! Those who want to see lines as they come. What is told is what was kept: synced, and found by queries already. Who
//! reads too slowly misses lines and is told which; nobody waits for it, and what waits for it is bounded. Its filters are
//! part of each push that it hears of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use forebay_wal::fs::Fs;
use futures_util::{Stream, stream};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::Ingester;
use super::read::ReadError;
use crate::labels::Labels;
use crate::logql::{Logs, all_match};
use crate::query::merge::{OwnedMetadata, size};
use crate::record::{Section, Writer};
use crate::wire::{Dropped, Tail, Tailed};

/// Lines that wait for one listener, and their bytes with metadata; and how many that were dropped it is told of at once.
const MOST_LINES: usize = 1024;
const MOST_BYTES: usize = 4 << 20;

/// All who listen.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// How many there are, so that nothing is locked where there are none.
    count: AtomicUsize,
    all: RwLock<Vec<Arc<Listener>>>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct Listener {
    tenant: String,
    logs: Logs,
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<Line>,
    bytes: usize,
    dropped: Vec<Dropped>,
}

#[derive(Debug)]
struct Line {
    labels: Labels,
    timestamp_ns: i64,
    line: Bytes,
    metadata: OwnedMetadata,
}

impl<F: Fs> Ingester<F> {
    /// What is kept from now on of what `tail` names, as it comes. Ends when the ingester has nothing left.
    ///
    /// # Errors
    /// [`ReadError::Request`]
    pub fn tail(&self, tail: &Tail) -> Result<impl Stream<Item = Tailed> + Send + use<F>, ReadError> {
        let logs = tail.logs()?;
        let listening = Listening::begin(&self.shared.listeners, tail.tenant.clone(), logs);
        Ok(stream::unfold(listening, |listening| async {
            let tailed = listening.next().await?;
            Some((tailed, listening))
        }))
    }
}

impl Listeners {
    /// Tells of the entries of `section` but those at the places `repeats`, which were there before.
    pub(super) fn tell(&self, tenant: &str, labels: &Labels, section: &Section<'_>, repeats: &[u32]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for listener in self.all.read().iter().filter(|listener| listener.tenant == tenant) {
            listener.hear(labels, section, repeats);
        }
    }

    /// Lets all come to their end.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.all.read().iter().for_each(|listener| listener.more.notify_one());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

impl Listener {
    fn hear(&self, labels: &Labels, section: &Section<'_>, repeats: &[u32]) {
        if !all_match(&self.logs.matchers, &labels.pairs()) {
            return;
        }
        let wanted = (0..)
            .zip(section.entries())
            .filter(|(number, entry)| repeats.binary_search(number).is_err() && self.logs.keeps(entry.line));
        let (mut queue, mut dropped) = (self.queue.lock(), 0);
        for (_, entry) in wanted {
            let metadata = entry.metadata.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes()));
            let bytes = size(entry.line, metadata);
            let fits = queue.lines.len() < MOST_LINES
                && (queue.bytes + bytes <= MOST_BYTES || queue.lines.is_empty());
            if fits {
                queue.bytes += bytes;
                queue.lines.push(Line {
                    labels: labels.clone(),
                    timestamp_ns: entry.timestamp_ns,
                    line: Bytes::copy_from_slice(entry.line),
                    metadata: entry
                        .metadata
                        .iter()
                        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                        .collect(),
                });
            } else {
                dropped += 1;
                if queue.dropped.len() < MOST_LINES {
                    let labels = Bytes::copy_from_slice(labels.as_bytes());
                    queue.dropped.push(Dropped { labels, timestamp_ns: entry.timestamp_ns });
                }
            }
        }
        drop(queue);
        if dropped > 0 {
            metrics::counter!("forebay_tail_dropped_lines_total").increment(dropped);
        }
        self.more.notify_one();
    }
}

/// A listener that is told of lines as long as this lives.
struct Listening {
    listeners: Arc<Listeners>,
    own: Arc<Listener>,
}

impl Listening {
    fn begin(listeners: &Arc<Listeners>, tenant: String, logs: Logs) -> Self {
        let own = Arc::new(Listener { tenant, logs, queue: Mutex::default(), more: Notify::new() });
        let mut all = listeners.all.write();
        all.push(Arc::clone(&own));
        listeners.count.store(all.len(), Ordering::Release);
        drop(all);
        Self { listeners: Arc::clone(listeners), own }
    }

    /// What came since this was last called, as soon as there is any.
    async fn next(&self) -> Option<Tailed> {
        loop {
            let queue = std::mem::take(&mut *self.own.queue.lock());
            if !queue.lines.is_empty() || !queue.dropped.is_empty() {
                return Some(queue.tailed(&self.own.tenant));
            }
            if self.listeners.ended.load(Ordering::Acquire) {
                return None;
            }
            self.own.more.notified().await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut all = self.listeners.all.write();
        all.retain(|other| !Arc::ptr_eq(other, &self.own));
        self.listeners.count.store(all.len(), Ordering::Release);
    }
}

impl Queue {
    fn tailed(self, tenant: &str) -> Tailed {
        let mut streams: BTreeMap<&Labels, Vec<&Line>> = BTreeMap::new();
        for line in &self.lines {
            streams.entry(&line.labels).or_default().push(line);
        }
        let mut writer = Writer::new(tenant, self.bytes);
        for (labels, lines) in streams {
            writer.begin(&labels.pairs());
            for Line { timestamp_ns, line, metadata, .. } in lines {
                let metadata: Vec<(&str, &str)> =
                    metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                writer.entry(*timestamp_ns, [line, b""], &metadata);
            }
            writer.end();
        }
        let record = if self.lines.is_empty() { Bytes::new() } else { writer.finish().all() };
        Tailed { record, dropped: self.dropped }
    }
}
