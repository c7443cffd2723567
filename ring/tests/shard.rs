//! Shards: stable, balanced over zones, monotone, and with a lookback never short of one that was in them (S1 to S4).
//! Both algorithms keep all of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_ring::shard::{Lookback, Query, Rendezvous, Shard, Sharder, TokenWalk};
use forebay_ring::{
    Instance, Membership, Operation, Options, ReadOnly, Ring, State, TokenSet, Version, random_tokens,
};

const ZONES: [&str; 3] = ["a", "b", "c"];
const SECOND_NS: i64 = 1_000_000_000;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % bound as u64).unwrap()
    }
}

fn instance(number: usize, zone: &str, tokens: usize) -> Instance {
    let id = format!("i{number:04}");
    let tokens = random_tokens(&id, zone, 0, tokens, &TokenSet::default()).unwrap();
    let version = Version { incarnation: 1, sequence: 0 };
    Instance { state: State::Active, zone: zone.into(), tokens, version, ..Instance::new(id, "") }
}

fn build<'a>(instances: impl IntoIterator<Item = &'a Instance>, zone_awareness: bool) -> Ring {
    let mut members = Membership::default();
    for instance in instances {
        members.observe(instance.clone(), 0);
    }
    Ring::build(&Options { zone_awareness, ..Options::default() }, &members, 0).unwrap()
}

fn ids(shard: &Shard<'_>) -> BTreeSet<String> {
    shard.iter().map(|instance| instance.id.to_string()).collect()
}

/// One shard by either algorithm.
type By = fn(&Ring, &Query<'_>) -> BTreeSet<String>;

fn by<S: Sharder + Default>(ring: &Ring, query: &Query<'_>) -> BTreeSet<String> {
    ids(&ring.shard_by(&S::default(), query))
}

const BOTH: [By; 2] = [by::<TokenWalk>, by::<Rendezvous>];

fn of(tenant: &str, size: usize) -> Query<'_> {
    Query { tenant, size, lookback: None }
}

#[test]
fn one_change_of_the_ring_puts_at_most_one_in_and_takes_at_most_one_out() {
    for seed in 0..1_500 {
        let mut chance = Chance(seed);
        let zones = 1 + chance.below(3);
        let count = zones * 2 + chance.below(20);
        let mut before: Vec<Instance> =
            (0..count).map(|n| instance(n, ZONES[n % zones], 1 + chance.below(12))).collect();
        for instance in &mut before {
            instance.read_only.enabled = chance.below(6) == 0;
        }
        let mut after = before.clone();
        let at = chance.below(count);
        match chance.below(3) {
            0 => after.push(instance(1_000, ZONES[chance.below(zones)], 8)),
            // A zone keeps its last one.
            1 if count >= 3 * zones => drop(after.remove(at)),
            _ => after[at].read_only.enabled ^= true,
        }
        let (old, new) = (build(&before, true), build(&after, true));
        for shard in BOTH {
            for size in 1..12 {
                let (was, is) = (shard(&old, &of("tenant", size)), shard(&new, &of("tenant", size)));
                let change = (is.difference(&was).count(), was.difference(&is).count());
                assert!(change.0 <= 1 && change.1 <= 1, "seed {seed}, size {size}: {was:?}, then {is:?}");
            }
        }
    }
}

#[test]
fn a_larger_shard_contains_the_smaller_and_zones_have_equally_many() {
    let instances: Vec<Instance> = (0..60).map(|n| instance(n, ZONES[n % 3], 32)).collect();
    let (zoned, whole) = (build(&instances, true), build(&instances, false));
    for shard in BOTH {
        for tenant in ["a", "b", "c", "d"] {
            for size in 1..62 {
                let (small, large) = (shard(&zoned, &of(tenant, size)), shard(&zoned, &of(tenant, size + 3)));
                assert!(small.is_subset(&large));
                assert_eq!(small.len(), size.div_ceil(3).min(20) * 3);
                let mut zones: BTreeMap<usize, usize> = BTreeMap::new();
                small
                    .iter()
                    .for_each(|id| *zones.entry(id[1..].parse::<usize>().unwrap() % 3).or_default() += 1);
                assert!(zones.len() == 3 && zones.values().all(|&count| count == size.div_ceil(3).min(20)));
                let (small, large) = (shard(&whole, &of(tenant, size)), shard(&whole, &of(tenant, size + 1)));
                assert!(small.is_subset(&large));
                assert_eq!(small.len(), size.min(60), "of one zone where zones do not count");
            }
        }
    }
}

#[test]
fn a_zone_more_and_shards_that_grow_in_step_keep_whoever_was_in_them() {
    let two: Vec<Instance> = (0..40).map(|n| instance(n, ZONES[n % 2], 32)).collect();
    let three: Vec<Instance> = two.iter().cloned().chain((40..60).map(|n| instance(n, "c", 32))).collect();
    let (two, three) = (build(&two, true), build(&three, true));
    for shard in BOTH {
        for each in 1..20 {
            assert!(shard(&two, &of("t", 2 * each)).is_subset(&shard(&three, &of("t", 3 * each))));
        }
    }
}

#[test]
fn read_only_instances_are_passed_over_and_a_shard_of_size_0_is_all_others() {
    let mut instances: Vec<Instance> = (0..12).map(|n| instance(n, ZONES[n % 3], 16)).collect();
    for at in [1, 4, 5] {
        instances[at].read_only.enabled = true;
    }
    let ring = build(&instances, true);
    for shard in BOTH {
        for size in [0, 3, 12, 100] {
            let chosen = shard(&ring, &of("t", size));
            assert!(["i0001", "i0004", "i0005"].iter().all(|id| !chosen.contains(*id)));
            assert!(size == 3 || chosen.len() == 9, "{size}: {chosen:?}");
        }
        instances.iter_mut().for_each(|instance| instance.read_only.enabled = true);
        for size in [0, 3] {
            assert!(shard(&build(&instances, true), &of("t", size)).is_empty());
            assert!(shard(&build([], true), &of("t", size)).is_empty());
        }
        for at in [0, 2, 3, 6, 7, 8, 9, 10, 11] {
            instances[at].read_only.enabled = false;
        }
    }
    assert!(ring.shuffle_shard("t", 0).is_whole() && !ring.shuffle_shard("t", 100).is_whole());
    // A change of the flag alone shares the topology, and is seen.
    let mut members = Membership::default();
    for instance in &instances {
        members.observe(instance.clone(), 0);
    }
    let writable = Instance { version: instances[1].version.next(), ..instances[1].clone() };
    members.observe(Instance { read_only: ReadOnly::default(), ..writable }, 0);
    let updated = ring.updated(&members, 0).unwrap();
    assert!(updated.shares_topology(&ring));
    assert_eq!(updated.shuffle_shard("t", 0).len(), 10);
}

/// Of 90 instances and shards of 3, two tenants have none in common in 90.22 % of all cases, one in 9.55 %.
#[test]
fn shards_of_two_tenants_overlap_as_often_as_chance_has_it() {
    let instances: Vec<Instance> = (0..90).map(|n| instance(n, "", 256)).collect();
    let ring = build(&instances, false);
    for shard in BOTH {
        let tenants: Vec<BTreeSet<String>> =
            (0..600).map(|n| shard(&ring, &of(&format!("tenant-{n}"), 3))).collect();
        let mut common = [0_u32; 4];
        for (at, one) in tenants.iter().enumerate() {
            for other in &tenants[..at] {
                common[one.intersection(other).count()] += 1;
            }
        }
        let all = f64::from(common.iter().sum::<u32>());
        let share = common.map(|count| f64::from(count) / all);
        assert!((share[0] - 0.9022).abs() < 0.0096, "{share:?}");
        assert!((share[1] - 0.0955).abs() < 0.00955, "{share:?}");
        assert!((share[2] - 0.00222).abs() < 0.0006, "{share:?}");
    }
}

#[test]
fn a_shard_has_a_ring_of_its_own() {
    let instances: Vec<Instance> = (0..30).map(|n| instance(n, ZONES[n % 3], 32)).collect();
    let ring = build(&instances, true);
    let shard = ring.shuffle_shard("t", 6);
    let own = shard.ring();
    assert_eq!(
        own.instances().map(|i| &*i.id).collect::<Vec<_>>(),
        shard.iter().map(|i| &*i.id).collect::<Vec<_>>()
    );
    assert!(std::ptr::eq(own, shard.ring()), "built once");
    let set = own.get(7, Operation::WRITE).unwrap();
    assert!(set.len() == 3 && set.iter().all(|instance| shard.contains(&instance.id)));
    assert!(!shard.contains("nobody"));
    // A shard of the shard.
    assert!(ids(&own.shuffle_shard("u", 3)).is_subset(&ids(&shard)));
}

/// Stored data lies where these say.
#[test]
fn the_shard_of_a_tenant_never_changes() {
    let instances: Vec<Instance> = (0..30).map(|n| instance(n, ZONES[n % 3], 32)).collect();
    let ring = build(&instances, true);
    let shards = BOTH.map(|shard| shard(&ring, &of("tenant", 6)).into_iter().collect::<Vec<_>>().join(" "));
    assert_eq!(shards, ["i0001 i0002 i0012 i0015 i0019 i0023", "i0006 i0008 i0016 i0023 i0027 i0028"]);
}

/// A cluster whose instances come, go, come back with other tokens, and are made read-only and writable, 5 minutes a step.
struct History {
    chance: Chance,
    now: i64,
    instances: Vec<Instance>,
    next: usize,
    zones: usize,
}

impl History {
    fn step(&mut self) {
        self.now += 300 * SECOND_NS;
        let at = self.chance.below(self.instances.len());
        match self.chance.below(10) {
            6 => {
                let zone = ZONES[self.chance.below(self.zones)];
                let joins = Instance { registered_at_ns: self.now, ..instance(self.next, zone, 8) };
                self.instances.push(joins);
                self.next += 1;
            }
            // The last of a zone stays, since zones may not change.
            7 if self.instances.iter().filter(|i| i.zone == self.instances[at].zone).count() > 1 => {
                self.instances.remove(at);
            }
            // Back with other tokens, and sometimes in another zone.
            5 => {
                let alone = self.instances.iter().filter(|i| i.zone == self.instances[at].zone).count() == 1;
                let back = &mut self.instances[at];
                if !alone && self.chance.below(2) == 0 {
                    back.zone = ZONES[self.chance.below(self.zones)].into();
                }
                back.version = back.version.restarted();
                let epoch = back.version.incarnation;
                back.tokens = random_tokens(&back.id, &back.zone, epoch, 8, &TokenSet::default()).unwrap();
                back.registered_at_ns = self.now;
            }
            8 | 9 => {
                let enabled = !self.instances[at].read_only.enabled;
                self.instances[at].read_only = ReadOnly { enabled, changed_at_ns: self.now };
            }
            _ => {}
        }
    }
}

#[test]
fn with_a_lookback_nobody_who_was_in_the_shard_within_it_and_is_still_there_is_missing() {
    const PERIOD: Duration = Duration::from_secs(3_600);
    let mut changes = 0;
    for seed in 0..250 {
        let mut chance = Chance(seed);
        let zones = 1 + chance.below(3);
        let instances = (0..zones + chance.below(9)).map(|n| instance(n, ZONES[n % zones], 8)).collect();
        let size = 1 + chance.below(5);
        let mut history = History { chance, now: 1_700_000_000 * SECOND_NS, instances, next: 100, zones };
        let mut past: Vec<(i64, [BTreeSet<String>; 2])> = Vec::new();
        for _ in 0..40 {
            history.step();
            let ring = build(&history.instances, true);
            past.push((history.now, BOTH.map(|shard| shard(&ring, &of("t", size)))));
            let lookback = Some(Lookback { period: PERIOD, now_unix_ns: history.now });
            for (which, shard) in BOTH.into_iter().enumerate() {
                let readers = shard(&ring, &Query { tenant: "t", size, lookback });
                let since = history.now - i64::try_from(PERIOD.as_nanos()).unwrap();
                for (at, shards) in past.iter().filter(|(at, _)| *at >= since) {
                    let there = |id: &&String| history.instances.iter().any(|i| *i.id == ***id);
                    for id in shards[which].iter().filter(there) {
                        assert!(
                            readers.contains(id),
                            "seed {seed}: {id} of {at} is missing at {}",
                            history.now
                        );
                    }
                }
                changes += u32::from(
                    past.len() > 1 && past[past.len() - 2].1[which] != past[past.len() - 1].1[which],
                );
            }
        }
    }
    assert!(changes > 1_000, "{changes} changes of shards");
}

/// It may hold what writers that knew its tokens brought it.
#[test]
fn one_whose_tokens_are_not_known_is_in_all_shards_of_readers_and_in_none_of_writers() {
    let lookback = Some(Lookback { period: Duration::from_secs(60), now_unix_ns: 1_000_000 * SECOND_NS });
    let heard = |number: usize| if number == 3 { 0 } else { 90 * 1_000_000_000 };
    let ring_of = |last: &Instance, zones: usize| {
        let mut members = Membership::default();
        for number in 0..3 {
            members.observe(instance(number, ZONES[number % zones], 16), heard(number));
        }
        members.observe(last.clone(), heard(3));
        let options = Options { zone_awareness: zones > 1, ..Options::default() };
        Ring::build(&options, &members, 90 * 1_000_000_000).unwrap()
    };
    let bare = Instance { tokens: TokenSet::default(), ..instance(3, "d", 1) };
    for zones in [1, 3] {
        let ring = ring_of(&bare, zones);
        for size in [0, 3, 4] {
            for shard in BOTH {
                assert!(!shard(&ring, &of("t", size)).contains("i0003"));
            }
            let readers = ring.shard_by(&TokenWalk, &Query { lookback, ..of("t", size) });
            assert!(readers.contains("i0003"), "{zones} zones, {size}");
            let set = readers.ring().replication_set_for(Operation::READ).unwrap();
            assert_eq!((set.max_unavailable(), set.len()), (0, 3), "{zones} zones, {size}: it is silent");
        }
    }
    // One that joins may have been ACTIVE before; one that has long been read-only holds nothing of it.
    let read_only = ReadOnly { enabled: true, changed_at_ns: 1 };
    let readers = |last: &Instance| {
        let ring = ring_of(last, 1);
        ring.shard_by(&TokenWalk, &Query { lookback, ..of("t", 0) }).len()
    };
    assert_eq!(readers(&Instance { state: State::Joining, ..bare.clone() }), 4);
    assert_eq!(readers(&Instance { read_only, ..bare }), 3);
}

#[test]
fn a_lookback_without_changes_within_it_is_the_shard_itself() {
    let instances: Vec<Instance> = (0..30).map(|n| instance(n, ZONES[n % 3], 32)).collect();
    let ring = build(&instances, true);
    let lookback = Some(Lookback { period: Duration::from_secs(60), now_unix_ns: 1_000_000 * SECOND_NS });
    for shard in BOTH {
        for size in [0, 3, 9, 40] {
            assert_eq!(shard(&ring, &of("t", size)), shard(&ring, &Query { lookback, ..of("t", size) }));
        }
    }
}
