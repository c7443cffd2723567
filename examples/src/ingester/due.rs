//! Which chunks are closed, and why. The policy decides; here is what it looks at: time, the log, memory, and the ring.
//! A chunk that is full, or has reached the bound at which replicas cut, is closed by the entry that is to come into it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use forebay_agent::clock::monotonic_ns;
use forebay_chunk::{FlushDemand, FlushPolicy, FlushReason, LogState};
use forebay_ring::{Operation, Require, Ring, token_for};
use forebay_wal::fs::Fs;

use super::Shared;
use super::stream::Stream;

/// How long a stream is quiet before it is asked whose it is: until then those who send to it may not have heard of a
/// change of the ring.
const SETTLED: Duration = Duration::from_secs(60);
/// How often that is asked.
const OWNERS: Duration = Duration::from_secs(10);

/// Looks after time, memory, the log and the ring.
pub(super) async fn watch<F: Fs>(shared: Weak<Shared<F>>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        strong.look().await;
        let (check, wake) = (strong.options.flush_check, Arc::downgrade(&strong));
        // A wake-up must not keep the ingester alive.
        let notified = async move {
            let Some(strong) = wake.upgrade() else { return };
            strong.wake.notified().await;
        };
        drop(strong);
        let _ = tokio::time::timeout(check, notified).await;
    }
}

impl<F: Fs> Shared<F> {
    /// Closes every chunk, however small.
    pub(super) fn close_all(&self) {
        for stream in self.tenants.all() {
            if let Some(closed) = stream.close(FlushReason::Forced) {
                self.enqueue(&stream, closed);
            }
        }
    }

    async fn look(&self) {
        let now_ns = monotonic_ns();
        let policy = &self.options.flush;
        let free_before = self.free_before();
        let ring = self.ring_to_ask(now_ns);
        for stream in self.tenants.all() {
            let not_owned = ring.as_ref().is_some_and(|ring| self.has_moved(&stream, ring, now_ns));
            let demand = FlushDemand { not_owned, free_before, ..FlushDemand::default() };
            if let Some(closed) = stream.close_due(policy, demand, now_ns) {
                self.enqueue(&stream, closed);
            }
        }
        self.relieve(policy);
        let idle_ns = u64::try_from(policy.max_idle.as_nanos()).unwrap_or(u64::MAX);
        if let Some(idle_before_ns) = now_ns.checked_sub(idle_ns) {
            self.tenants.forget_idle(idle_before_ns);
        }
        // Not waited for longer: while the disk of the log stalls, time and memory pass on, and somebody wants to see it.
        // The log truncates once it can.
        let _ = tokio::time::timeout(self.options.flush_check, self.truncate()).await;
        self.show();
    }

    /// Brings the metrics up to date that nothing else does.
    pub(super) fn show(&self) {
        self.shown_streams.show(&self.tenants.counts());
        let log = self.log.wal();
        self.shown_log.show(&log.stats(), &log.usage(), &log.watermarks());
    }

    /// Closes the largest chunks where those that are open take more than `policy` allows of the memory that those on
    /// their way to the store leave.
    pub(super) fn relieve(&self, policy: &FlushPolicy) {
        let (used, limit) = (self.memory.bytes(), self.options.memory_limit);
        if used <= limit / 100 * usize::from(policy.memory_percent) {
            return;
        }
        let streams = self.tenants.all();
        let open = streams.iter().filter_map(|stream| Some((stream.open_bytes()? as u64, stream)));
        let (sizes, streams): (Vec<u64>, Vec<&Arc<Stream>>) = open.unzip();
        let leaving = (used as u64).saturating_sub(sizes.iter().sum());
        for number in policy.relieve(&sizes, (limit as u64).saturating_sub(leaving)) {
            if let Some(closed) = streams[number].close(FlushReason::Pressure) {
                self.enqueue(streams[number], closed);
            }
        }
    }

    /// The record before which no chunk ought to need the log any more.
    fn free_before(&self) -> Option<u64> {
        let log = self.log.wal();
        let usage = log.usage();
        self.options.flush.unpin(&LogState {
            first: log.watermarks().low.0,
            next: log.next_lsn().0,
            size_bytes: usage.log_bytes,
            limit_bytes: usage.limit?,
        })
    }

    /// The ring, if it is time to ask it and it gives this ingester writes: one that is cut off, or leaves, cannot tell
    /// what is not its own any more.
    fn ring_to_ask(&self, now_ns: u64) -> Option<Arc<Ring>> {
        let (asked, every) = (&self.owners_asked_ns, OWNERS.as_nanos());
        if u128::from(now_ns.saturating_sub(asked.load(Ordering::Relaxed))) < every {
            return None;
        }
        asked.store(now_ns, Ordering::Relaxed);
        let ring = self.ring.read().clone()?;
        ring.is_healthy(&self.options.instance, Operation::WRITE).then_some(ring)
    }

    /// Whether the lines of `stream` go to other ingesters now.
    fn has_moved(&self, stream: &Stream, ring: &Ring, now_ns: u64) -> bool {
        let settled_ns = u64::try_from(SETTLED.as_nanos()).unwrap_or(u64::MAX);
        now_ns.checked_sub(settled_ns).is_some_and(|before_ns| stream.is_quiet(before_ns))
            && ring
                .get_with(token_for(&stream.tenant, stream.labels.as_bytes()), Operation::WRITE, Require::One)
                .is_ok_and(|owners| !owners.contains(&self.options.instance))
    }
}

#[cfg(test)]
mod tests;
