//! The ring as operators see it: its members, one by one, and its metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::monotonic_ns;
use forebay_ring::{Member, Membership, Operation, Ring, State};
use futures_util::future::join_all;
use serde::Serialize;

use super::Cluster;
use crate::members::Members;
use crate::wire::Health;

/// How long an ingester may take to say how it is.
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);
/// How often the metrics are looked after while nothing changes.
const SHOW: Duration = Duration::from_secs(1);

/// One ingester.
#[derive(Debug, Serialize)]
pub struct MemberView {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub addr: String,
    /// Its failure domain.
    pub zone: String,
    /// Its state.
    pub state: String,
    /// Whether it gets writes now.
    pub healthy: bool,
    /// Whether it has not left, was silent for too long and does not answer either, so that it may be forgotten.
    pub silent: bool,
    /// Seconds since it was last heard of.
    pub heartbeat_age_seconds: f64,
    /// How often it was started.
    pub incarnation: u64,
    /// How often it has spoken since.
    pub sequence: u64,
    /// When it joined.
    pub registered: String,
    /// How many tokens it has.
    pub tokens: usize,
    /// Which part of the keys is its own.
    pub ownership: f64,
    /// Streams in its memory.
    pub streams: u64,
    /// Bytes of lines in its memory.
    pub memory_bytes: u64,
    /// Bytes of its log.
    pub wal_bytes: u64,
    /// Why it does not answer, or why its log takes nothing, if that is so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failure: String,
}

impl Cluster {
    /// Every ingester, by name, those that left included; each is asked how it is.
    pub async fn view(&self) -> Vec<MemberView> {
        let ring = self.members().ring();
        let members = Arc::clone(&self.shared.watcher.members().borrow());
        let owned: BTreeMap<&str, f64> = ring.ownership().map(|(i, share)| (&*i.id, share)).collect();
        let answers = join_all(members.iter().map(|member| answer(self.members(), member))).await;
        let timeout_ns = u64::try_from(self.shared.heartbeat_timeout.as_nanos()).unwrap_or(u64::MAX);
        let now_ns = monotonic_ns();
        let views = members.iter().zip(answers).map(|(Member { instance, heard_ns }, answer)| {
            let age_ns = now_ns.saturating_sub(*heard_ns);
            let silent = age_ns > timeout_ns && instance.state != State::Left && answer.is_err();
            let health = answer.unwrap_or_else(|failure| Health { failure, ..Health::default() });
            MemberView {
                id: instance.id.to_string(),
                addr: instance.addr.to_string(),
                zone: instance.zone.to_string(),
                state: instance.state.to_string(),
                healthy: ring.is_healthy(&instance.id, Operation::WRITE),
                silent,
                heartbeat_age_seconds: age_ns as f64 / 1e9,
                incarnation: instance.version.incarnation,
                sequence: instance.version.sequence,
                registered: time(instance.registered_at_ns),
                tokens: instance.tokens.len(),
                ownership: owned.get(&*instance.id).copied().unwrap_or_default(),
                streams: health.streams,
                memory_bytes: health.memory_bytes,
                wal_bytes: health.wal_bytes,
                failure: health.failure,
            }
        });
        views.collect()
    }
}

/// How it is, if it says so; nobody asks one that has left.
pub(super) async fn answer(members: &Members, member: &Member) -> Result<Health, String> {
    if member.instance.state == State::Left {
        return Ok(Health::default());
    }
    let client = members.client(&member.instance).map_err(|error| error.to_string())?;
    match tokio::time::timeout(HEALTH_PATIENCE, client.health()).await {
        Ok(health) => health.map_err(|error| error.0),
        Err(_) => Err(format!("no answer within {HEALTH_PATIENCE:?}")),
    }
}

fn time(unix_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(unix_ns.into()).map(|time| time.to_string()).unwrap_or_default()
}

/// Keeps the metrics of the ring, if this process is to show them, and tells `told` of the ring as it is, until
/// the process ends.
pub async fn show_forever(cluster: Cluster, shows: bool, told: impl Fn(&Arc<Ring>)) {
    let mut members = cluster.shared.watcher.members();
    let mut shown = Shown::default();
    let mut lives = Lives::default();
    loop {
        if let Some(gossip) = &cluster.shared.gossip
            && let Some(many) = lives.grown_to(gossip.lives().await)
        {
            tracing::warn!(
                lives = many,
                "nodes of the ring tell each other of many that have ended, and hear nobody at some 3000"
            );
        }
        let ring = cluster.members().ring();
        let known = Arc::clone(&members.borrow_and_update());
        if shows {
            shown.show(&known, &ring);
        }
        told(&ring);
        // An error means that the watcher is gone, and with it this.
        if let Ok(Err(_)) = tokio::time::timeout(SHOW, members.changed()).await {
            return;
        }
    }
}

/// How many lives of nodes were told of.
#[derive(Debug, Default)]
struct Lives(usize);

impl Lives {
    /// The store speaks of so many as the time to act.
    const MANY: usize = 2_000;

    /// So many, if they are a tenth more than were told of last.
    fn grown_to(&mut self, lives: usize) -> Option<usize> {
        let is_news = lives >= Self::MANY && lives >= self.0 + self.0 / 10;
        is_news.then(|| {
            self.0 = lives + 1;
            lives
        })
    }
}

/// What the metrics show.
#[derive(Debug, Default)]
struct Shown {
    ring: Option<Arc<Ring>>,
    owners: BTreeSet<String>,
}

impl Shown {
    fn show(&mut self, members: &Membership, ring: &Arc<Ring>) {
        for state in State::ALL {
            let count = members.iter().filter(|member| member.instance.state == state).count();
            metrics::gauge!("forebay_ring_members", "state" => state.to_string()).set(count as f64);
        }
        if self.ring.as_ref().is_some_and(|shown| shown.shares_topology(ring)) {
            return;
        }
        let owners: BTreeSet<String> = ring.instances().map(|instance| instance.id.to_string()).collect();
        for gone in self.owners.difference(&owners) {
            metrics::gauge!("forebay_ring_ownership_ratio", "instance" => gone.clone()).set(0.0);
        }
        for (instance, share) in ring.ownership() {
            metrics::gauge!("forebay_ring_ownership_ratio", "instance" => instance.id.to_string()).set(share);
        }
        (self.owners, self.ring) = (owners, Some(Arc::clone(ring)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lives_are_told_once_and_again_when_they_are_a_tenth_more() {
        let mut lives = Lives::default();
        let told =
            [3, 1_999, 2_000, 2_000, 2_199, 2_300, 2_400, 2_600].map(|count| lives.grown_to(count).is_some());
        assert_eq!(told, [false, false, true, false, false, true, false, true]);
    }
}
