//! How a ring is made of a membership.

use std::sync::Arc;
use std::time::Duration;

use crate::membership::{Member, Membership};

/// How replica sets are chosen and who counts as alive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Options {
    /// Copies of each key. Default 3; 2 tolerates no failure under [`Require::Quorum`](crate::Require::Quorum), 0 is refused.
    pub replication_factor: u8,
    /// Whether no two copies may lie in the same zone. Default off. With fewer zones than copies the
    /// set is as small as there are zones while the quorum stays that of the replication factor. An
    /// instance without a zone is never passed over for one that has none either.
    pub zone_awareness: bool,
    /// How long after its last heartbeat an instance counts as alive. Default 1 minute. Too short drops
    /// instances at each hiccup, too long sends requests to dead ones. [`Duration::MAX`] never doubts.
    pub heartbeat_timeout: Duration,
    /// Zones whose instances are left out: they get no keys and no requests. Default none. For a zone that is to be
    /// emptied, or is known to be out of reach; with fewer zones left than copies, sets are smaller. Reads of all keys
    /// count these instances as missing until they have left, for what only they hold.
    pub excluded_zones: Vec<Arc<str>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replication_factor: 3,
            zone_awareness: false,
            heartbeat_timeout: Duration::from_secs(60),
            excluded_zones: Vec::new(),
        }
    }
}

impl Options {
    pub(super) fn members_of(&self, membership: &Membership) -> Arc<[Member]> {
        let is_in = |member: &&Member| !self.excluded_zones.contains(&member.instance.zone);
        membership.present().filter(is_in).cloned().collect()
    }

    /// How many zones, or instances if zones do not count, are left out, of which each may hold something.
    pub(super) fn left_out(&self, membership: &Membership) -> usize {
        let instances = || membership.present().map(|member| &member.instance);
        let holding = |zone: &Arc<str>| instances().filter(|instance| instance.zone == *zone).count();
        let mut zones: Vec<&Arc<str>> = self.excluded_zones.iter().collect();
        zones.sort_unstable();
        zones.dedup();
        let apart = |zone: &str| !self.zone_awareness || zone.is_empty();
        zones.into_iter().map(|zone| if apart(zone) { holding(zone) } else { holding(zone).min(1) }).sum()
    }
}
