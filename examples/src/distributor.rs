//! Takes pushes in: who sends, what of it is valid, whether it is too much, and to which ingesters it goes.
//!
//! The order of the checks is Loki's, since it decides which reason is counted: labels, then each entry, then the
//! rate of what is left, which refuses the whole push; the stream limit is the ingesters'.

mod admission;
mod known;
mod replicate;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_circuit::Registry;
use forebay_ratelimit::{Bound, Denied, Keyed, KeyedOptions, Name, Oversize, Quota, Rate};
use forebay_ring::Require;
use forebay_ring::quorum::{BatchOptions, Targets};
use forebay_tenant::{Limits, Overrides, Reason};

use crate::members::Members;
use crate::metrics::{Received, Replicas};
use crate::offload::in_place;
use crate::push::{Body, Intake, PushError, Room, Stream};
use crate::record::Push;

use replicate::ReplicaFailure;

pub use admission::{Admission, Admitted};
pub use known::Known;
pub use report::{Discards, Report};

/// How much longer a batch waits for a call than the call takes at most, so that the call ends by itself and its
/// breaker hears of it.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);

/// Takes streams, one after the other.
pub type Take<'t> = &'t mut dyn FnMut(&Stream<'_>);

/// How a distributor behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Copies that must be synced before a push is acknowledged.
    pub requirements: Requirements,
    /// How long an ingester may take for one push.
    pub push_timeout: Duration,
    /// What may be under way to ingesters.
    pub targets: forebay_ring::quorum::Limits,
    /// Bytes of bodies and of what is decoded of them, of all pushes that are being taken in.
    pub intake_bytes: u64,
    /// A push of more is sent as several records, one after the other, each of so many bytes at most or of a single
    /// line. Ingesters take them as they take small pushes, whatever a client sends.
    pub record_bytes: usize,
    /// When an ingester is left alone.
    pub circuit: forebay_circuit::Options,
    /// Lines and metadata that no chunk can hold are refused whatever the tenant's limits say.
    pub chunk_limits: forebay_chunk::Limits,
}

/// How many copies make a push acknowledged, by tenant.
#[derive(Debug, Clone, Default)]
pub struct Requirements {
    /// For tenants that are not named.
    pub default: Require,
    /// For those that are.
    pub tenants: BTreeMap<String, Require>,
}

impl Requirements {
    /// The requirement for pushes of `tenant`.
    pub fn of(&self, tenant: &str) -> Require {
        self.tenants.get(tenant).copied().unwrap_or(self.default)
    }
}

/// What became of a push.
#[derive(Debug)]
pub enum Outcome {
    /// Everything is stored.
    Stored,
    /// What was valid is stored, the rest is not.
    Invalid(Report),
    /// Nothing is stored: the tenant sends too fast.
    RateLimited {
        /// What was asked and what there is.
        message: String,
        /// When to try again, if ever.
        retry_after: Option<Duration>,
    },
    /// The streams within the limit are stored, the others are not.
    StreamLimited(Report),
    /// Some streams are more than ingesters keep in a record; to send them again does not help.
    TooLarge {
        /// What was stored, and why the rest was not.
        message: String,
    },
    /// Some streams did not reach a quorum; the report counts what did.
    Unavailable {
        /// What was acknowledged, and why the rest was not.
        message: String,
    },
}

/// A distributor. Cheap to clone.
#[derive(Clone)]
pub struct Distributor {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    overrides: Arc<Overrides>,
    members: Members,
    clock: Clock,
    rates: Keyed<Name>,
    breakers: Registry<Arc<str>>,
    batch: BatchOptions<ReplicaFailure>,
    intake: Intake,
    known: Known,
    received: Received,
    replicas: Arc<Replicas>,
}

impl std::fmt::Debug for Distributor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distributor").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Distributor {
    /// A distributor to the ingesters in `members`.
    ///
    /// # Errors
    /// Options of the circuit breakers that are out of range.
    pub fn new(
        members: Members,
        overrides: Arc<Overrides>,
        clock: Clock,
        options: Options,
    ) -> anyhow::Result<Self> {
        let breakers = Registry::with_clock(options.circuit.clone(), 1 << 16, monotonic_ns as fn() -> u64)?
            .with_observer(|id: &Arc<str>, t| crate::metrics::breaker(&format!("ingester/{id}"), t));
        let mut batch = BatchOptions::new(Targets::new(options.targets), ReplicaFailure::family);
        batch.deadline = options.push_timeout.saturating_add(DEADLINE_MARGIN);
        let rates = Keyed::with_clock(KeyedOptions::default(), monotonic_ns as fn() -> u64);
        let intake = Intake::new(options.intake_bytes);
        let (known, received, replicas) = Default::default();
        let shared = Shared {
            options,
            overrides,
            members,
            clock,
            rates,
            breakers,
            batch,
            intake,
            known,
            received,
            replicas,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Room for pushes that are being read.
    pub fn intake(&self) -> &Intake {
        &self.shared.intake
    }

    /// Sets the gauges of the breakers, also of ingesters that no push has gone to yet.
    pub fn show_breakers(&self) {
        for instance in self.shared.members.ring().instances() {
            if let Ok(breaker) = self.shared.breakers.get(&instance.id) {
                crate::metrics::breaker_state(&format!("ingester/{}", instance.id), breaker.state().phase());
            }
        }
    }

    /// Stores what is valid of the streams that `read` gives, if the tenant's rate allows. They are read from about as
    /// many `bytes` as their record takes; what `read` owns is gone when it has read them, and `room` holds no more than the
    /// record from then on.
    ///
    /// # Errors
    /// What `read` fails with, and [`PushError::Busy`] where there is no room for the record; nothing is stored then.
    pub async fn push(
        &self,
        tenant: &str,
        bytes: usize,
        room: &mut Room,
        read: impl FnOnce(&mut Room, Take<'_>) -> Result<(), PushError>,
    ) -> Result<Outcome, PushError> {
        let limits = self.limits(tenant);
        let (push, report) = in_place(bytes, || {
            let admission = self.admission(&limits);
            room.grow(bytes as u64)?;
            let mut admitted = admission.begin(tenant, bytes).knowing(&self.shared.known, &limits);
            read(room, &mut |stream| admitted.take(stream))?;
            Ok(admitted.finish())
        })?;
        room.shrink_to(push.all().len() as u64);
        Ok(self.store(tenant, &limits, push, report).await)
    }

    /// As [`push`](Self::push), for the streams in `body`.
    ///
    /// # Errors
    /// What the body cannot be read for, and as there.
    pub async fn push_body(&self, tenant: &str, body: Body, room: &mut Room) -> Result<Outcome, PushError> {
        self.push(tenant, body.size(), room, move |room, take| body.each_stream(room, take)).await
    }

    fn limits(&self, tenant: &str) -> Arc<Limits> {
        Arc::clone(self.shared.overrides.load().limits(tenant))
    }

    fn admission<'a>(&'a self, limits: &'a Limits) -> Admission<'a> {
        let Options { chunk_limits, record_bytes, .. } = &self.shared.options;
        Admission { limits, now_ns: self.shared.clock.wall_ns(), chunk_limits, record_bytes: *record_bytes }
    }

    async fn store(&self, tenant: &str, limits: &Limits, push: Push, mut report: Report) -> Outcome {
        let bytes: u64 = push.sections().iter().map(|s| s.bytes as u64).sum();
        let lines: u64 = push.sections().iter().map(|s| u64::from(s.entries)).sum();
        if let Err(outcome) = self.charge(tenant, limits, bytes, lines) {
            // What is invalid is refused whatever the rate is.
            report.count(tenant);
            tracing::debug!(tenant, lines, bytes, "push refused, the tenant sends too fast");
            return outcome;
        }
        if lines > 0
            && let Err(outcome) = self.shared.replicate(tenant, push, &mut report).await
        {
            return outcome;
        }
        self.shared.received.add(tenant, lines, bytes);
        tracing::debug!(tenant, lines, bytes, discarded = report.discarded(), "push taken");
        report.finish(tenant)
    }

    fn charge(&self, tenant: &str, limits: &Limits, bytes: u64, lines: u64) -> Result<(), Outcome> {
        let rate = Rate::from_f64_per_second(limits.ingestion_rate_bytes()).unwrap_or(Rate::ZERO);
        // A push larger than the burst passes once the bucket is full, and is paid off afterwards: agents batch as
        // they like, and to refuse such a push for ever would lose it.
        let quota =
            Quota { oversize: Oversize::WhenFull, ..Quota::new(rate, limits.ingestion_burst_bytes()) };
        let Err(denied) = self.shared.rates.try_acquire(tenant, bytes, quota).map(|permit| permit.keep())
        else {
            return Ok(());
        };
        report::count(tenant, Reason::RateLimited, lines, bytes);
        metrics::counter!("forebay_limiter_denied_total", "tenant" => crate::metrics::tenant(tenant), "bound" => denied.bound.as_str())
            .increment(1);
        let Denied { available, burst, retry_after, .. } = denied;
        let why = match denied.bound {
            // To the clients a token is a byte.
            Bound::Rate | Bound::Burst => {
                let rate = limits.ingestion_rate_bytes();
                format!("{available} of {burst} bytes are left at {rate} bytes/s, {retry_after}")
            }
            _ => denied.to_string(),
        };
        let message =
            format!("ingestion rate limit exceeded for {tenant}: {lines} lines with {bytes} bytes, {why}");
        Err(Outcome::RateLimited { message, retry_after: retry_after.duration() })
    }
}

#[cfg(test)]
mod tests;
