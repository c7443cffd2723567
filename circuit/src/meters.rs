//! What one closed period of a breaker measures: its windows, and its calls in flight.
//!
//! A period has meters of its own from its first call on, so that a result which comes too late, however long its
//! thread was held up, finds those of its own period or none (W2, S3).

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::in_flight::{InFlight, Place};
use crate::observer::Cause;
use crate::policy::{Gauge, Policy, Rule};
use crate::snapshot::Reading;
use crate::trip::Window;
use crate::window::Counts;

/// Windows and calls in flight of one generation.
#[derive(Debug)]
pub(crate) struct Meters {
    generation: u64,
    policy: Arc<Policy>,
    /// One for each of [`Policy::gauges`].
    windows: Box<[Counts]>,
    /// Shared with the meters before them, if only the options changed.
    in_flight: Option<Arc<InFlight>>,
    /// Rings made so far, so that places tell them apart.
    rings: NonZeroU16,
    timed: bool,
}

impl Meters {
    /// Those of the generation that begins, after those of an earlier one.
    pub(crate) fn begin(policy: &Arc<Policy>, generation: u64, before: Option<&Self>) -> Self {
        let rings = before.map_or(NonZeroU16::MIN, |before| before.rings);
        let windows: Box<[_]> = policy.gauges.iter().map(|gauge| Counts::new(gauge.rate.over)).collect();
        let timed = windows.iter().any(Counts::is_timed);
        let meters = Self { generation, policy: Arc::clone(policy), windows, in_flight: None, rings, timed };
        if policy.rule.has_slow_in_flight() { meters.with_ring() } else { meters }
    }

    /// Those of the same generation under another policy. A window takes over what the same one for the same condition
    /// holds, or else one of its kind; calls in flight are kept if they become slow at the same age.
    pub(crate) fn reconfigured(&self, policy: &Arc<Policy>, now_ns: u64) -> Self {
        let mut next = Self::begin(policy, self.generation, Some(self));
        let alike: [fn(Window, Window) -> bool; 2] =
            [|old, new| old == new, |old, new| std::mem::discriminant(&old) == std::mem::discriminant(&new)];
        let mut old: Vec<_> = self.policy.gauges.iter().zip(&self.windows).collect();
        let mut new: Vec<_> = policy.gauges.iter().zip(&next.windows).collect();
        for alike in alike {
            new.retain(|(gauge, window)| {
                let fits =
                    |(old, _): &(&Gauge, _)| old.slow == gauge.slow && alike(old.rate.over, gauge.rate.over);
                let Some(place) = old.iter().position(fits) else { return true };
                window.inherit(old.remove(place).1, now_ns);
                false
            });
        }
        if policy.slow_call_ns == self.policy.slow_call_ns
            && next.in_flight.is_some()
            && self.in_flight.is_some()
        {
            next.in_flight.clone_from(&self.in_flight);
        }
        next
    }

    fn with_ring(mut self) -> Self {
        self.rings = self.rings.checked_add(1).unwrap_or(NonZeroU16::MIN);
        self.in_flight = Some(Arc::new(InFlight::new(self.rings, self.policy.slow_call_ns)));
        self
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether additions need to know the time.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.timed
    }

    /// Whether a call that took so long is slow, and that matters.
    pub(crate) fn is_slow(&self, elapsed_ns: u64) -> bool {
        elapsed_ns >= self.policy.slow_call_ns && self.policy.minds_slow()
    }

    /// A call of this generation ended.
    #[inline]
    pub(crate) fn add(&self, failed: bool, slow: bool, now_ns: u64) {
        for (gauge, window) in self.policy.gauges.iter().zip(&self.windows) {
            window.add(if gauge.slow { slow } else { failed }, now_ns);
        }
    }

    /// A call of this generation ended, and neither failed nor was slow.
    #[inline]
    pub(crate) fn add_good(&self, now_ns: u64) {
        self.windows.iter().for_each(|window| window.add(false, now_ns));
    }

    /// Whether calls in flight may have become slow since they were looked at.
    pub(crate) fn advance(&self, now_ns: u64) -> bool {
        self.in_flight.as_ref().is_some_and(|ring| ring.advance(now_ns))
    }

    /// A call of this generation begins.
    pub(crate) fn enter(&self, now_ns: u64) -> Option<Place> {
        self.in_flight.as_ref()?.enter(now_ns)
    }

    /// A call of any generation has ended.
    pub(crate) fn leave(&self, place: Place) {
        if let Some(ring) = &self.in_flight {
            ring.leave(place);
        }
    }

    /// Whether the trip condition holds after so many failures in a row, and why.
    pub(crate) fn holds(&self, failures: u32, now_ns: u64) -> Option<Cause> {
        // Two threads that add to different slots and then look: at least one sees what the other has added.
        crate::sync::fence(crate::sync::Ordering::SeqCst);
        self.policy.rule.holds(&|condition| match condition {
            Rule::Consecutive(most) => consecutive(failures, *most),
            Rule::Rate(place) => self.rate(*place, now_ns),
            Rule::SlowInFlight(most) => {
                let slow = self.in_flight.as_ref()?.slow(now_ns);
                (slow >= u64::from(*most)).then_some(Cause::SlowInFlight)
            }
            Rule::Any(_) | Rule::All(_) => None,
        })
    }

    fn rate(&self, place: usize, now_ns: u64) -> Option<Cause> {
        let (gauge, window) = (self.policy.gauges.get(place)?, self.windows.get(place)?);
        let totals = window.totals(now_ns);
        let enough = totals.calls >= u64::from(gauge.rate.min_calls);
        let reached = totals.hits * 1_000 >= totals.calls * u64::from(gauge.rate.permille);
        (enough && reached).then_some(if gauge.slow { Cause::SlowRate } else { Cause::FailureRate })
    }

    /// Whether nothing bad is known: no window has a hit, and no call is in flight.
    pub(crate) fn is_clean(&self, now_ns: u64) -> bool {
        self.windows.iter().all(|window| window.totals(now_ns).hits == 0)
            && self.in_flight.as_ref().is_none_or(|ring| ring.all() == 0)
    }

    /// Whether a window of time has a hit, which will leave it without a call.
    pub(crate) fn has_hits_in_time(&self, now_ns: u64) -> bool {
        self.windows.iter().any(|window| window.is_timed() && window.totals(now_ns).hits > 0)
    }

    /// What each condition reads, from left to right.
    pub(crate) fn readings(&self, failures: u32, now_ns: u64) -> Vec<Reading> {
        let mut readings = Vec::new();
        self.policy
            .rule
            .for_each(&mut |condition| readings.extend(self.reading(condition, failures, now_ns)));
        readings
    }

    fn reading(&self, condition: &Rule, failures: u32, now_ns: u64) -> Option<Reading> {
        match condition {
            Rule::Consecutive(_) => Some(Reading::failures(failures)),
            Rule::Rate(place) => {
                let (gauge, window) = (self.policy.gauges.get(*place)?, self.windows.get(*place)?);
                let totals = window.totals(now_ns);
                let condition = if gauge.slow { Cause::SlowRate } else { Cause::FailureRate };
                Some(Reading { condition, hits: totals.hits, calls: Some(totals.calls) })
            }
            Rule::SlowInFlight(_) => {
                let ring = self.in_flight.as_ref()?;
                let calls = Some(ring.all());
                Some(Reading { condition: Cause::SlowInFlight, hits: ring.slow(now_ns), calls })
            }
            Rule::Any(_) | Rule::All(_) => None,
        }
    }
}

/// Whether there have been so many failures in a row.
pub(crate) fn consecutive(failures: u32, most: u32) -> Option<Cause> {
    (failures >= most).then_some(Cause::ConsecutiveFailures)
}
