//! Buckets of keys that had to go, as they were: what comes back for such a key finds its bucket, and the key
//! comes back to it under whatever quota.
//!
//! The latest are kept whole. Of those before them a sketch keeps when they will be full.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use parking_lot::{Mutex, MutexGuard};

use super::debts::Debts;
use crate::bucket::{Position, Segment};
use crate::decision::Snapshot;
use crate::quota::{Inherit, Quota};

/// Keys that are remembered whole, at some two hundred bytes each.
const WHOLE: usize = 1_024;

pub(super) struct Away {
    latest: Mutex<Latest>,
    /// Buckets in `latest`, changed under its lock.
    whole: AtomicUsize,
    before: Debts,
}

struct Latest {
    /// By the hash of the key. Two keys with one hash of 64 bits count as one: the later takes the place.
    buckets: HashMap<u64, (u64, Bucket), FixedState>,
    /// Hashes and departures, the longest ago first; some of the keys may have come back since.
    departures: VecDeque<(u64, u64)>,
    next: u64,
}

/// A bucket on its own: its segment and the place in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) segment: Segment,
    pub(super) position: Position,
}

impl Bucket {
    /// One that is full at `full_at_ns`, and lacks until then what is minted in between.
    fn full_at(quota: Quota, now_ns: u64, full_at_ns: u64) -> Self {
        let (segment, _) = Segment::start(quota, now_ns);
        Self { segment, position: segment.full_position(now_ns, full_at_ns) }
    }

    /// The bucket under `quota`, ready to decide at `now_ns`.
    pub(super) fn under(self, quota: Quota, now_ns: u64) -> Self {
        if self.segment.quota() == quota && !self.segment.is_due(now_ns) {
            return self;
        }
        let (segment, _) = Segment::start(quota, now_ns);
        Self { segment, position: self.segment.carry_to(&segment, self.position, now_ns) }
    }
}

impl Bucket {
    /// The bucket under `quota`, with what `inherit` makes of its tokens and its debt.
    pub(super) fn inherit(self, quota: Quota, now_ns: u64, inherit: Inherit) -> Self {
        let old = self.segment.quota();
        if inherit == Inherit::AsIs || (old == quota && inherit != Inherit::Reset) {
            return self.under(quota, now_ns);
        }
        let Snapshot { available, debt, .. } = self.segment.peek_at(self.position, now_ns);
        let tokens = available.cast_signed().saturating_sub_unsigned(debt);
        let tokens = inherit.tokens(tokens, old.burst, quota.burst);
        let (segment, _) = Segment::start(quota, now_ns);
        Self { segment, position: segment.position_of(now_ns, tokens) }
    }
}

impl Away {
    pub(super) fn new() -> Self {
        let latest = Latest {
            buckets: HashMap::with_capacity_and_hasher(WHOLE, FixedState::default()),
            departures: VecDeque::with_capacity(WHOLE),
            next: 0,
        };
        Self { latest: Mutex::new(latest), whole: AtomicUsize::new(0), before: Debts::new() }
    }

    /// The latest, unless there are none. A key left under the lock of the very shard that it is asked for under,
    /// so its bucket is counted here, or else seen in the sketch by whoever sees it counted no more.
    fn latest(&self) -> Option<MutexGuard<'_, Latest>> {
        (self.whole.load(Ordering::Acquire) > 0).then(|| self.latest.lock())
    }

    /// The key with this hash has to go, and this is its bucket.
    pub(super) fn leave(&self, hash: u64, bucket: Bucket) {
        let mut latest = self.latest.lock();
        if latest.departures.len() >= WHOLE
            && let Some((hash, departure)) = latest.departures.pop_front()
            && let Some(&(held, Bucket { segment, position })) = latest.buckets.get(&hash)
            && held == departure
        {
            latest.buckets.remove(&hash);
            // One without an end, by a rate of zero meanwhile, would bind strangers to its cells for ever.
            if let Some(full_at_ns) = segment.full_position_at_ns(position) {
                self.before.remember(hash, full_at_ns);
            }
        }
        let departure = latest.next;
        latest.next += 1;
        latest.departures.push_back((hash, departure));
        latest.buckets.insert(hash, (departure, bucket));
        self.whole.store(latest.buckets.len(), Ordering::Release);
    }

    /// The bucket that the key with this hash would come back to under `quota`; none if that is a full one.
    pub(super) fn look(&self, hash: u64, quota: Quota, now_ns: u64) -> Option<Bucket> {
        let whole = self.latest().and_then(|latest| latest.buckets.get(&hash).copied());
        whole.map(|(_, bucket)| bucket.under(quota, now_ns)).or_else(|| self.sketched(hash, quota, now_ns))
    }

    /// [`look`](Self::look), and `quota` is in force for the key from here on.
    pub(super) fn recall(&self, hash: u64, quota: Quota, now_ns: u64) -> Option<Bucket> {
        if let Some(mut latest) = self.latest()
            && let Some((_, bucket)) = latest.buckets.get_mut(&hash)
        {
            *bucket = bucket.under(quota, now_ns);
            return Some(*bucket);
        }
        self.sketched(hash, quota, now_ns)
    }

    fn sketched(&self, hash: u64, quota: Quota, now_ns: u64) -> Option<Bucket> {
        let full_at_ns = self.before.recall(hash);
        (full_at_ns > now_ns).then(|| Bucket::full_at(quota, now_ns, full_at_ns))
    }

    pub(super) fn inherit(&self, hash: u64, quota: Quota, now_ns: u64, inherit: Inherit) {
        if let Some(mut latest) = self.latest()
            && let Some((_, bucket)) = latest.buckets.get_mut(&hash)
        {
            *bucket = bucket.inherit(quota, now_ns, inherit);
        }
    }

    /// The key with this hash is held again, or to be forgotten.
    pub(super) fn forget(&self, hash: u64) {
        if let Some(mut latest) = self.latest() {
            latest.buckets.remove(&hash);
            self.whole.store(latest.buckets.len(), Ordering::Release);
        }
    }

    /// Tokens come back for a key that is not held. Of one that went too long ago nothing is known that they
    /// could be added to.
    pub(super) fn give_back(&self, hash: u64, now_ns: u64, tokens: u64) {
        if let Some(mut latest) = self.latest()
            && let Some((_, Bucket { segment, position })) = latest.buckets.get_mut(&hash)
        {
            *position = segment.give_back_at(*position, now_ns, tokens);
        }
    }
}
