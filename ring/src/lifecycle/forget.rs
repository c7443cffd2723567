//! Who has been silent for so long that it will not come back. Invariant: what looks like many deaths at once is
//! taken for one's own deafness, and nobody is forgotten.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::instance::{State, Version};
use crate::membership::{Member, Membership};

/// When to forget the silent. Their records become LEFT, so that the ring gives their keys to others.
///
/// ```
/// use forebay_ring::lifecycle::{Forget, OwnView};
/// use forebay_ring::{Instance, Membership};
///
/// let minutes = |minutes: u64| minutes * 60_000_000_000;
/// let mut members = Membership::default();
/// for (id, heard) in [("a", 9), ("b", 9), ("c", 0)] {
///     members.observe(Instance::new(id, ""), minutes(heard));
/// }
/// let own = OwnView { id: "a".into(), heartbeat_ns: minutes(9), watching_since_ns: 0, store_failed_ns: None };
/// let silent = Forget::default().due(&members, &own, minutes(11));
/// assert_eq!(silent.iter().map(|(id, _)| &**id).collect::<Vec<_>>(), ["c"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// How long one has to be silent. Default 10 minutes. Too short forgets those whose restart takes long, and
    /// their data is read from elsewhere; too long leaves replica sets short of a member.
    pub after: Duration,
    /// If more than one of so many is silent, it is not they who are dead. Default 3.
    pub at_most_one_of: NonZeroUsize,
}

impl Default for Forget {
    fn default() -> Self {
        Self { after: Duration::from_secs(600), at_most_one_of: NonZeroUsize::new(3).expect("3 is not 0") }
    }
}

/// What the one who forgets knows of its own ears: monotonic nanoseconds of its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnView {
    /// Its id; empty if it is no member.
    pub id: Arc<str>,
    /// When the store last took its heartbeat.
    pub heartbeat_ns: u64,
    /// Since when it has watched the store without a gap.
    pub watching_since_ns: u64,
    /// When the store last failed it.
    pub store_failed_ns: Option<u64>,
}

impl Forget {
    /// Who is to be forgotten now, the longest silent first, with the version to forget it at.
    ///
    /// Nobody if the own heartbeat lapsed, if the watch is younger than [`after`](Self::after) or the store failed
    /// within it, or if more are silent than may be. Nobody of a zone of several in which nobody is heard: the zone
    /// is away and will be back. Nobody that is LEFT. By default one of two is never forgotten. O(members).
    pub fn due(&self, members: &Membership, own: &OwnView, now_ns: u64) -> Vec<(Arc<str>, Version)> {
        let silent = |since_ns: u64| u128::from(now_ns.saturating_sub(since_ns)) > self.after.as_nanos();
        let deaf = silent(own.heartbeat_ns)
            || !silent(own.watching_since_ns)
            || own.store_failed_ns.is_some_and(|failed_ns| !silent(failed_ns));
        if deaf {
            return Vec::new();
        }
        let present = || members.iter().filter(|member| member.instance.state != State::Left);
        let is_silent = |member: &&Member| member.instance.id != own.id && silent(member.heard_ns);
        // Of each zone how many there are and how many are silent.
        let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for member in present() {
            let (all, silent) = zones.entry(&*member.instance.zone).or_default();
            *all += 1;
            *silent += usize::from(is_silent(&member));
        }
        let is_away = |zone: &str| zones.get(zone).is_some_and(|(all, silent)| *all > 1 && all == silent);
        let all: Vec<&Member> = present().filter(is_silent).collect();
        if all.len() > present().count() / self.at_most_one_of {
            return Vec::new();
        }
        let mut due: Vec<&Member> =
            all.into_iter().filter(|member| !is_away(&member.instance.zone)).collect();
        due.sort_by_key(|member| member.heard_ns);
        due.into_iter().map(|member| (Arc::clone(&member.instance.id), member.instance.version)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Instance;

    const MINUTE: u64 = 60_000_000_000;
    const NOW: u64 = 100 * MINUTE;

    fn members(heard: &[(&str, &str, u64)]) -> Membership {
        let mut members = Membership::default();
        for &(id, zone, at) in heard {
            members.observe(Instance { zone: zone.into(), ..Instance::new(id, "") }, at);
        }
        members
    }

    fn own() -> OwnView {
        OwnView { id: "a".into(), heartbeat_ns: NOW, watching_since_ns: 0, store_failed_ns: None }
    }

    fn due(members: &Membership, own: &OwnView) -> Vec<String> {
        let due = Forget::default().due(members, own, NOW);
        due.into_iter().map(|(id, _)| id.to_string()).collect()
    }

    const OLD: u64 = 80 * MINUTE;

    #[test]
    fn the_longest_silent_comes_first_and_a_stale_record_of_its_own_is_nobody() {
        let all = [
            ("a", "", OLD),
            ("b", "", NOW),
            ("c", "", OLD),
            ("d", "", NOW),
            ("e", "", OLD - 1),
            ("f", "", NOW),
        ];
        assert_eq!(due(&members(&all), &own()), ["e", "c"]);
    }

    #[test]
    fn nobody_is_forgotten_by_one_who_may_be_deaf() {
        let members = members(&[("a", "", NOW), ("b", "", OLD), ("c", "", NOW)]);
        assert_eq!(due(&members, &own()), ["b"]);
        for deaf in [
            OwnView { heartbeat_ns: NOW - 11 * MINUTE, ..own() },
            OwnView { watching_since_ns: NOW - 9 * MINUTE, ..own() },
            OwnView { store_failed_ns: Some(NOW - 9 * MINUTE), ..own() },
        ] {
            assert_eq!(due(&members, &deaf), Vec::<String>::new(), "{deaf:?}");
        }
        assert_eq!(due(&members, &OwnView { store_failed_ns: Some(NOW - 11 * MINUTE), ..own() }), ["b"]);
    }

    #[test]
    fn the_end_of_an_outage_forgets_nobody() {
        // All but oneself are silent, as after a store came back; or just more than a third.
        let ids: Vec<String> = (0..30).map(|n| format!("{n:02}")).collect();
        for silent in [11, 29] {
            let heard: Vec<(&str, &str, u64)> = ids
                .iter()
                .enumerate()
                .map(|(n, id)| (&**id, "", if n < silent { OLD } else { NOW }))
                .collect();
            assert_eq!(due(&members(&heard), &own()), Vec::<String>::new());
        }
        let heard: Vec<(&str, &str, u64)> =
            ids.iter().enumerate().map(|(n, id)| (&**id, "", if n < 10 { OLD } else { NOW })).collect();
        assert_eq!(due(&members(&heard), &own()).len(), 10);
        assert_eq!(due(&members(&[("a", "", NOW), ("b", "", OLD)]), &own()), Vec::<String>::new());
    }

    #[test]
    fn a_zone_that_is_away_is_kept_and_those_who_left_do_not_count() {
        let rest = [("a", "1", NOW), ("c", "3", NOW), ("d", "1", NOW), ("e", "3", NOW)];
        let with = |second: &[(&'static str, &'static str, u64)]| members(&[&rest, second].concat());
        let away = with(&[("b", "2", OLD), ("b2", "2", OLD)]);
        assert_eq!(due(&away, &own()), Vec::<String>::new());
        let one_of_two = with(&[("b", "2", OLD), ("b2", "2", NOW)]);
        assert_eq!(due(&one_of_two, &own()), ["b"]);
        let alone = with(&[("b", "2", OLD)]);
        assert_eq!(due(&alone, &own()), ["b"]);
        let mut left = members(&[("a", "", NOW), ("b", "", OLD)]);
        for id in ["x", "y", "z"] {
            left.observe(Instance { state: State::Left, ..Instance::new(id, "") }, OLD);
        }
        assert_eq!(due(&left, &own()), Vec::<String>::new());
    }
}
