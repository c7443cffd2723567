//! Who has been silent for so long that it will not come back. Invariant: what looks like many deaths at once is
//! taken for one's own deafness, and nobody is forgotten.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::instance::{Instance, State, Version};
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
/// let own = OwnView { id: "a".into(), heartbeat_ns: Some(minutes(9)), watching_since_ns: 0, store_failed_ns: None };
/// let silent = Forget::default().due(&members, &own, minutes(11));
/// assert_eq!(silent.iter().map(|(id, _)| &**id).collect::<Vec<_>>(), ["c"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// How long one has to be silent. Default 10 minutes. Too short forgets those whose restart takes long, and
    /// their data is read from elsewhere; too long leaves replica sets short of a member.
    pub after: Duration,
    /// If more than one of so many is quiet, it is not they who are dead. Default 3.
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
    /// When the store last took its heartbeat; `None` if it is no member and sends none.
    pub heartbeat_ns: Option<u64>,
    /// Since when it has watched the store without a gap.
    pub watching_since_ns: u64,
    /// When the store last failed it.
    pub store_failed_ns: Option<u64>,
}

impl Forget {
    /// Who is to be forgotten now, the longest silent first, with the version to forget it at.
    ///
    /// Nobody if the own heartbeat lapsed, if the watch is younger than [`after`](Self::after) or the store failed
    /// within it, or if more are quiet than may be. Nobody of a zone of several in which all are quiet: the zone
    /// is away and will be back. Nobody that is LEFT. By default one of two is never forgotten. O(members).
    ///
    /// Quiet is who was silent for half of that time, for those that fall silent together cross any bound one after
    /// another; and who became LEFT within it, forgotten or not, so that the bound is one for the whole time.
    pub fn due(&self, members: &Membership, own: &OwnView, now_ns: u64) -> Vec<(Arc<str>, Version)> {
        let silent_for =
            |since_ns: u64, time: Duration| u128::from(now_ns.saturating_sub(since_ns)) > time.as_nanos();
        let silent = |since_ns: u64| silent_for(since_ns, self.after);
        let deaf = own.heartbeat_ns.is_some_and(silent)
            || !silent(own.watching_since_ns)
            || own.store_failed_ns.is_some_and(|failed_ns| !silent(failed_ns));
        if deaf {
            return Vec::new();
        }
        let has_left = |member: &Member| member.instance.state == State::Left;
        let is_quiet = |member: &Member| {
            let quiet = silent_for(member.heard_ns, self.after / 2);
            has_left(member) || (quiet && member.instance.id != own.id)
        };
        // Of each zone how many there are and how many are quiet.
        let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for member in members.iter().filter(|member| !has_left(member) || !silent(member.heard_ns)) {
            let (all, quiet) = zones.entry(&*member.instance.zone).or_default();
            *all += 1;
            *quiet += usize::from(is_quiet(member));
        }
        let (all, quiet) = zones.values().fold((0, 0), |sum, zone| (sum.0 + zone.0, sum.1 + zone.1));
        if quiet > all / self.at_most_one_of {
            return Vec::new();
        }
        let is_away = |zone: &str| zones.get(zone).is_some_and(|(all, quiet)| *all > 1 && all == quiet);
        let is_due = |member: &&Member| {
            let Instance { id, zone, .. } = &*member.instance;
            !has_left(member) && *id != own.id && silent(member.heard_ns) && !is_away(zone)
        };
        let mut due: Vec<&Member> = members.iter().filter(is_due).collect();
        due.sort_by_key(|member| member.heard_ns);
        due.into_iter().map(|member| (Arc::clone(&member.instance.id), member.instance.version)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        OwnView { id: "a".into(), heartbeat_ns: Some(NOW), watching_since_ns: 0, store_failed_ns: None }
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
        // One that only watches has no heartbeat that could lapse.
        assert_eq!(
            due(&members, &OwnView { id: "".into(), heartbeat_ns: None, ..own() }),
            ["a", "b"][1..].to_vec()
        );
        for deaf in [
            OwnView { heartbeat_ns: Some(NOW - 11 * MINUTE), ..own() },
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

    /// Asks every 100 ms from when the first of `silent` members may be due, forgets who is, and returns how many.
    /// All fell silent together, and heartbeats were spread over 5 s.
    fn forgotten(zone_of: impl Fn(usize) -> &'static str, silent: &[usize]) -> usize {
        let mut members = Membership::default();
        let began_ns = 10 * MINUTE;
        for number in 0..30 {
            let place = silent.iter().position(|&silent| silent == number);
            let heard_ns = place.map_or(NOW, |place| began_ns + place as u64 * 5_000_000_000 / 30);
            let instance =
                Instance { zone: zone_of(number).into(), ..Instance::new(format!("{number}"), "") };
            members.observe(instance, heard_ns);
        }
        let mut forgotten = 0;
        for tick in 0..200 {
            let now_ns = began_ns + 10 * MINUTE + tick * 100_000_000;
            let own = OwnView { id: "29".into(), heartbeat_ns: Some(now_ns), ..own() };
            for (id, version) in Forget::default().due(&members, &own, now_ns) {
                let record = Instance::clone(&members.member(&id).unwrap().instance);
                members.observe(Instance { state: State::Left, version: version.next(), ..record }, now_ns);
                forgotten += 1;
            }
        }
        forgotten
    }

    /// Members that fall silent together become due one after another, and each call once saw too few of them.
    #[test]
    fn a_zone_or_a_cluster_that_falls_silent_bit_by_bit_is_not_forgotten_bit_by_bit() {
        let zone_of = |number: usize| ["a", "b", "c"][number % 3];
        let zone: Vec<usize> = (0..30).filter(|number| zone_of(*number) == "b").collect();
        assert_eq!(forgotten(zone_of, &zone), 0);
        let all_but_one: Vec<usize> = (0..29).collect();
        assert_eq!(forgotten(|_| "", &all_but_one), 0);
        assert_eq!(forgotten(|_| "", &[3, 4, 5]), 3);
    }

    #[test]
    fn who_was_forgotten_or_left_within_the_period_counts_among_the_silent() {
        let mut all =
            members(&[("a", "", NOW), ("b", "", OLD), ("c", "", NOW), ("d", "", NOW), ("e", "", NOW)]);
        assert_eq!(due(&all, &own()), ["b"]);
        let left = |id: &str| Instance { state: State::Left, ..Instance::new(id, "") };
        all.observe(left("x"), OLD);
        assert_eq!(due(&all, &own()), ["b"], "long ago");
        all.observe(left("y"), NOW - MINUTE);
        assert_eq!(due(&all, &own()), ["b"], "two of six");
        all.observe(left("z"), NOW - MINUTE);
        assert_eq!(due(&all, &own()), Vec::<String>::new(), "three of seven");
    }
}
