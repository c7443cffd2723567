//! Shares and moves, counted on a ring of its own: a map from each token to its owner.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{Instance, State, Token, random_tokens};
use carve::{Range, nearest_free};
use std::cmp::Reverse;

const ONE: NonZeroU8 = NonZeroU8::MIN;

fn weight(weight: u8) -> NonZeroU8 {
    NonZeroU8::new(weight).unwrap()
}

/// Who owns what.
#[derive(Default, Clone)]
struct Owners {
    tokens: BTreeMap<u32, usize>,
    keys: BTreeMap<usize, u64>,
}

impl Owners {
    fn of(holders: &[Holder]) -> Self {
        let mut owners = Self::default();
        for (number, holder) in holders.iter().enumerate() {
            owners.add(number, &holder.tokens);
        }
        owners
    }

    /// The token at or after a position and the one before it, wrapping.
    fn around(&self, token: u32) -> Option<(u32, u32)> {
        let next = self.tokens.range(token..).next().or(self.tokens.iter().next())?;
        let before = self.tokens.range(..token).next_back().or(self.tokens.iter().next_back())?;
        Some((*before.0, *next.0))
    }

    fn add(&mut self, owner: usize, tokens: &TokenSet) {
        self.keys.entry(owner).or_default();
        for &token in &**tokens {
            let range = match self.around(token) {
                None => 1 << 32,
                Some((before, next)) => {
                    assert_ne!(next, token, "a token twice");
                    let range = u64::from(Token(before).distance_to(Token(token))) + 1;
                    *self.keys.get_mut(&self.tokens[&next]).unwrap() -= range;
                    range
                }
            };
            self.tokens.insert(token, owner);
            *self.keys.get_mut(&owner).unwrap() += range;
        }
    }

    /// `1 - least / most` of what owners have for their weight.
    fn spread(&self, weights: impl Fn(usize) -> u8) -> f64 {
        let per_weight = self.keys.iter().map(|(&owner, &keys)| keys as f64 / f64::from(weights(owner)));
        let (least, most) = per_weight.fold((f64::MAX, 0.0_f64), |(l, m), keys| (l.min(keys), m.max(keys)));
        1.0 - least / most
    }

    fn owner(&self, key: u32) -> usize {
        let next = key.checked_add(1).and_then(|key| self.tokens.range(key..).next());
        *next.or(self.tokens.iter().next()).unwrap().1
    }
}

/// Keys that have another owner, as (from, to) with their number; owners are told apart by id.
fn moves(before: &[Holder], after: &[Holder]) -> BTreeMap<(String, String), u64> {
    let (old, new) = (Owners::of(before), Owners::of(after));
    let ends: BTreeSet<u32> = old.tokens.keys().chain(new.tokens.keys()).copied().collect();
    let mut moved = BTreeMap::new();
    let mut start = *ends.last().unwrap();
    for &end in &ends {
        let keys = u64::from(Token(start).distance_to(Token(end))) + 1;
        let (from, to) = (&before[old.owner(start)].id, &after[new.owner(start)].id);
        if from != to {
            *moved.entry((from.to_string(), to.to_string())).or_default() += keys;
        }
        start = end;
    }
    moved
}

/// A fleet in zone 0.
fn fleet(weights: &[u8], tokens: u16) -> Vec<Holder> {
    let mut fleet = Spread::new(NonZeroU16::new(tokens).unwrap());
    let holder = |(number, &of): (usize, &u8)| Holder {
        id: format!("ingester-{number}").into(),
        weight: weight(of),
        tokens: fleet.join(weight(of)).unwrap(),
    };
    weights.iter().enumerate().map(holder).collect()
}

fn spread_of(holders: &[Holder]) -> f64 {
    Owners::of(holders).spread(|owner| holders[owner].weight.get())
}

/// The holders without one, whose keys go where its gaps merge.
fn without(holders: &[Holder], leaver: &str) -> Vec<Holder> {
    holders.iter().filter(|holder| *holder.id != *leaver).cloned().collect()
}

/// The holders after one left and the others took what they should.
fn after_leave(holders: &[Holder], leaver: &str) -> Vec<Holder> {
    let mut left = without(holders, leaver);
    for changed in leave(holders, leaver, &TokenSet::default()).unwrap() {
        let place = left.iter_mut().find(|holder| holder.id == changed.id).unwrap();
        *place = changed;
    }
    left
}

#[test]
fn a_fleet_that_joins_in_order_is_even_at_every_size() {
    let mut spread = Spread::new(DEFAULT_SPREAD_TOKENS);
    let mut owners = Owners::default();
    for number in 0..520_usize {
        let before = owners.keys.clone();
        let tokens = spread.join(ONE).unwrap();
        assert_eq!(tokens.len(), 512);
        owners.add(number, &tokens);
        let found = owners.spread(|_| 1);
        // With at least as many tokens as donors each gives what it has too much, otherwise not each can.
        let bound = if number < 512 { 1e-3 } else { 0.002 };
        assert!(found < bound, "{} instances: spread {found}", number + 1);
        let share = owners.keys[&number] as f64 / (1_u64 << 32) as f64 * (number + 1) as f64;
        assert!((share - 1.0).abs() < 0.002, "the newcomer took {share} of its share");
        assert!(before.iter().all(|(owner, keys)| owners.keys[owner] <= *keys), "only the newcomer gains");
    }
}

/// The whole of the promise; minutes without optimisation.
#[test]
#[ignore = "10,000 instances in 3 zones: run it with --release"]
fn ten_thousand_instances_in_three_zones_never_share_a_token() {
    let mut spread = Spread::new(DEFAULT_SPREAD_TOKENS);
    let mut all: Vec<u32> = Vec::new();
    let mut owners = Owners::default();
    for number in 0..10_000_usize {
        let tokens = spread.join(ONE).unwrap();
        if number < 1_000 {
            owners.add(number, &tokens);
            assert!(owners.spread(|_| 1) < 0.002, "{number}");
        }
        for zone in 0..3 {
            all.extend_from_slice(&in_zone(&tokens, zone).unwrap());
        }
    }
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!((all.len(), count), (15_360_000, 15_360_000));
}

#[test]
fn tokens_of_other_zones_are_those_of_zone_0_shifted() {
    let first = spread_tokens(5, 0, DEFAULT_SPREAD_TOKENS).unwrap();
    for zone in 0..MAX_ZONES {
        let tokens = spread_tokens(5, zone, DEFAULT_SPREAD_TOKENS).unwrap();
        assert!(first.iter().zip(&*tokens).all(|(first, token)| first + u32::from(zone) == *token));
    }
    assert_eq!(spread_tokens(5, 8, DEFAULT_SPREAD_TOKENS), Err(SpreadError::Zone { zone: 8 }));
    let absurd = spread_tokens(u32::MAX, 0, DEFAULT_SPREAD_TOKENS);
    assert_eq!(absurd, Err(SpreadError::Ordinal { ordinal: u32::MAX }));
}

#[test]
fn the_tokens_of_an_ordinal_never_change() {
    // Stored data lies where these say.
    let four = NonZeroU16::new(4).unwrap();
    assert_eq!(*spread_tokens(0, 0, four).unwrap(), [0, 1 << 30, 2 << 30, 3 << 30]);
    assert_eq!(*spread_tokens(1, 1, four).unwrap(), [1 << 29 | 1, 3 << 29 | 1, 5 << 29 | 1, 7 << 29 | 1]);
    assert_eq!(*spread_tokens(2, 0, four).unwrap(), [357913936, 894784848, 1431655768, 1968526680]);
}

#[test]
fn shares_follow_weights() {
    let holders = fleet(&[1, 2, 1, 4, 2, 1], 512);
    for count in 1..=holders.len() {
        assert!(spread_of(&holders[..count]) < 1e-4);
    }
    assert_eq!(holders[3].tokens.len(), 4 * 512);
    let refused = Spread::new(DEFAULT_SPREAD_TOKENS).join(weight(129));
    assert_eq!(refused, Err(SpreadError::TooMany { wanted: 129 * 512, max: 65_536 }));
}

#[test]
fn a_removal_from_the_middle_is_uneven_by_itself_and_even_when_ranges_are_given_to_those_with_least() {
    for (size, uneven) in [(10, 0.1..0.4), (33, 0.05..0.25)] {
        let holders = fleet(&vec![1; size], 512);
        let plain = spread_of(&without(&holders, "ingester-4"));
        assert!(uneven.contains(&plain), "{size} instances: {plain} by itself");
        let adapted = after_leave(&holders, "ingester-4");
        assert!(spread_of(&adapted) < 1e-4, "{size} instances: {}", spread_of(&adapted));
    }
}

#[test]
fn the_state_aware_join_continues_a_fleet_as_evenly_as_its_next_ordinal() {
    let holders = fleet(&[1; 9], 512);
    let tokens = join(&holders, ONE, DEFAULT_SPREAD_TOKENS, &TokenSet::default()).unwrap();
    assert_eq!(tokens, spread_tokens(9, 0, DEFAULT_SPREAD_TOKENS).unwrap());
}

#[test]
fn a_join_to_a_ring_of_random_tokens_cuts_the_largest_shares() {
    let mut holders: Vec<Holder> = (0..10)
        .map(|number| {
            let id = format!("ingester-{number}");
            let tokens = random_tokens(&id, "", 0, 128, &TokenSet::default()).unwrap();
            Holder { id: id.into(), weight: ONE, tokens }
        })
        .collect();
    let before = spread_of(&holders);
    for number in 10..14 {
        let tokens = join(&holders, ONE, NonZeroU16::new(128).unwrap(), &TokenSet::default()).unwrap();
        holders.push(Holder { id: format!("ingester-{number}").into(), weight: ONE, tokens });
    }
    let after = spread_of(&holders);
    assert!(before > 0.15 && after < 0.02, "{before} before, {after} after");
}

#[test]
fn taken_tokens_are_not_used_by_those_who_join_or_gain() {
    let holders = fleet(&[1; 4], 64);
    let tokens = |taken: &TokenSet| join(&holders, ONE, NonZeroU16::new(64).unwrap(), taken).unwrap();
    let taken = tokens(&TokenSet::default());
    assert!(tokens(&taken).iter().all(|&token| !taken.contains(token)));

    let held: TokenSet = holders.iter().flat_map(|holder| holder.tokens.iter().copied()).collect();
    let gained = |taken: &TokenSet| -> TokenSet {
        let changed = leave(&holders, "ingester-1", taken).unwrap();
        changed.iter().flat_map(|holder| &*holder.tokens).copied().filter(|&t| !held.contains(t)).collect()
    };
    let taken = gained(&TokenSet::default());
    assert!(!taken.is_empty());
    assert!(gained(&taken).iter().all(|&token| !taken.contains(token)));
}

#[test]
fn there_is_nobody_to_change_when_the_last_or_an_unknown_one_leaves() {
    let holders = fleet(&[1, 1], 8);
    assert_eq!(leave(&holders[..1], "ingester-0", &TokenSet::default()), Ok(vec![]));
    assert_eq!(leave(&holders, "ingester-7", &TokenSet::default()), Ok(vec![]));
    assert_eq!(leave(&[], "", &TokenSet::default()), Ok(vec![]));
    let dry = Holder { tokens: TokenSet::default(), ..holders[1].clone() };
    assert_eq!(leave(&[holders[0].clone(), dry], "ingester-0", &TokenSet::default()), Ok(vec![]));
}

#[test]
fn a_circle_that_cannot_be_divided_further_is_refused() {
    let full = Holder { id: "a".into(), weight: ONE, tokens: (0..65_536).map(|n| n << 16).collect() };
    let neighbours = Holder { tokens: (0..1 << 16).collect(), ..full.clone() };
    assert!(join(&[full], ONE, DEFAULT_SPREAD_TOKENS, &TokenSet::default()).is_ok());
    // One range can be divided, of which one token takes the half.
    let crowded = join(&[neighbours], weight(128), DEFAULT_SPREAD_TOKENS, &TokenSet::default());
    assert!(crowded.is_ok());
    let refused = join(&[], weight(129), DEFAULT_SPREAD_TOKENS, &TokenSet::default());
    assert_eq!(refused, Err(SpreadError::TooMany { wanted: 66_048, max: 65_536 }));
}

#[test]
fn a_fleet_with_more_tokens_than_positions_is_refused_before_it_is_made() {
    let tokens = NonZeroU16::MAX;
    let crowded = Err(SpreadError::Crowded { wanted: tokens.get().into() });
    assert_eq!(spread_tokens(9_999, 0, tokens), crowded);
    assert!(spread_tokens(1, 0, tokens).is_ok());
}

#[test]
fn a_fleet_that_could_not_grow_once_grows_no_more() {
    let mut fleet = Spread::new(NonZeroU16::new(2).unwrap());
    fleet.shares.push(Share::new(1, [Range { len: 8, start: Reverse(0) }]));
    assert_eq!(fleet.join(weight(8)), Err(SpreadError::Crowded { wanted: 16 }));
    // There would be room, in a share that was cut for nobody.
    assert_eq!(fleet.join(ONE), Err(SpreadError::Crowded { wanted: 2 }));
}

#[test]
fn the_free_position_that_is_taken_is_the_nearest_on_either_side() {
    let free = |taken: &'static [u64]| move |at| !taken.contains(&at);
    assert_eq!(nearest_free(0, 5, 10, 100, free(&[])), Some(5));
    assert_eq!(nearest_free(0, 5, 10, 100, free(&[5, 4])), Some(6));
    assert_eq!(nearest_free(0, 5, 10, 100, free(&[5])), Some(4));
    assert_eq!(nearest_free(0, 5, 10, 100, free(&[5, 4, 6, 3, 2, 1])), Some(7));
    assert_eq!(nearest_free(98, 1, 3, 100, free(&[99])), Some(2));
    assert_eq!(nearest_free(0, 1, 2, 100, free(&[1])), None);
}

#[test]
fn an_instance_waits_for_the_one_before_it_in_its_zone() {
    let mut members = Membership::default();
    let mut add = |id: &str, zone: &str, tokens: Vec<u32>| {
        members.observe(Instance { zone: zone.into(), tokens: tokens.into(), ..Instance::new(id, "") }, 0);
    };
    add("ingester-9", "a", vec![1]);
    add("ingester-1", "b", vec![2]);
    add("ingester-4", "a", vec![]);
    add("store-009", "a", vec![3]);
    for ready in ["ingester-0", "ingester-10", "other", "store-010", "a-b"] {
        assert_eq!(can_join(ready, "a", &members), Ok(()), "{ready}");
    }
    // Scaled down and up again: a tombstone is not in the ring.
    let left = Instance { state: State::Left, tokens: vec![4].into(), ..Instance::new("gone-0", "") };
    members.observe(Instance { zone: "a".into(), ..left }, 0);
    assert_eq!(can_join("gone-1", "a", &members), Err(NotYet { missing: "gone-0".to_owned() }));
    for (early, before) in
        [("ingester-2", "ingester-1"), ("ingester-5", "ingester-4"), ("store-10", "store-9")]
    {
        assert_eq!(can_join(early, "a", &members), Err(NotYet { missing: before.to_owned() }));
    }
    for (id, ordinal) in
        [("a-007", Some(7)), ("-1", Some(1)), ("a-", None), ("a-+1", None), ("a-4294967296", None)]
    {
        assert_eq!(ordinal_of(id), ordinal, "{id}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_of_joins_and_leaves_stays_even_and_moves_no_more_than_it_must(
        weights in proptest::collection::vec(1..3_u8, 2..8),
        steps in proptest::collection::vec((any::<bool>(), any::<u8>()), 1..12),
    ) {
        let mut holders = fleet(&weights, 128);
        for (number, (joins, choice)) in steps.into_iter().enumerate() {
            let before = holders.clone();
            if joins || holders.len() == 2 {
                let of = weight(choice % 2 + 1);
                let tokens = join(&holders, of, NonZeroU16::new(128).unwrap(), &TokenSet::default()).unwrap();
                prop_assert_eq!(tokens.len(), 128 * usize::from(of.get()));
                let id: std::sync::Arc<str> = format!("late-{number}").into();
                holders.push(Holder { id: id.clone(), weight: of, tokens });
                prop_assert!(moves(&before, &holders).keys().all(|(_, to)| **to == *id));
            } else {
                let leaver = holders[usize::from(choice) % holders.len()].id.clone();
                holders = after_leave(&holders, &leaver);
                prop_assert!(moves(&before, &holders).keys().all(|(from, _)| **from == *leaver));
            }
            prop_assert!(spread_of(&holders) < 0.01, "spread {}", spread_of(&holders));
        }
    }
}
