//! Which tokens it takes, keeps, draws anew or gives up.

use std::num::{NonZeroU8, NonZeroU16, NonZeroUsize};

use super::served;
use super::world::{COUNT, SECOND, World, options};
use crate::lifecycle::{Action, Event, LifecyclerOptions, Notice, Tokens};
use crate::spread::{Holder, in_zone, join, spread_tokens};
use crate::token_file::{Loaded, TokenFile};
use crate::{Instance, ReadOnly, State, TokenSet};

#[test]
fn tokens_that_another_claims_are_drawn_anew_before_it_serves() {
    let mut world = World::new(options());
    world.on(Event::Start);
    while world.state().is_none() {
        world.carry_out(true, true);
    }
    world.pass(SECOND);
    let derived = options().derive(0).unwrap();
    let claims = |id: &str, state, tokens: &[u32]| Instance {
        state,
        tokens: tokens.iter().copied().collect(),
        ..Instance::new(id, "")
    };
    world.others.observe(claims("z", State::Active, &derived[..3]), 0);
    world.others.observe(claims("a", State::Joining, &derived[3..4]), 0);
    // It may come back, and is then ACTIVE with these at once.
    world.others.observe(claims("b", State::Leaving, &derived[4..6]), 0);
    // These give way themselves.
    world.others.observe(claims("y", State::Joining, &derived[6..8]), 0);
    world.run();
    assert!(world.is_served());
    let tokens = world.tokens.clone().unwrap();
    assert_eq!((tokens.epoch, tokens.tokens.len()), (1, COUNT));
    assert!(derived[..6].iter().all(|&token| !tokens.tokens.contains(token)));
    assert!(derived[6..].iter().all(|&token| tokens.tokens.contains(token)));
    assert_eq!(world.notices, [Notice::Redrawn { lost: 6 }]);
    // Who looks back at shards is told of it: it joined with these tokens, and not as a new instance.
    let record = world.record.clone().unwrap().instance;
    assert!(record.registered_at_ns > 1_000 && record.version.incarnation == 2, "{record:?}");
}

#[test]
fn a_fleet_s_member_waits_its_turn_but_not_for_ever() {
    let count = NonZeroU16::new(u16::try_from(COUNT).unwrap()).unwrap();
    let tokens = Tokens::Spread { ordinal: 1, zone: 0, count };
    let options = LifecyclerOptions { tokens, ..LifecyclerOptions::new("m-1", "addr") };
    let mut waiting = World::new(options.clone());
    waiting.on(Event::Start);
    waiting.run();
    assert_eq!(waiting.state(), Some(State::Pending));
    let first = Instance { tokens: vec![1].into(), ..Instance::new("m-0", "") };
    waiting.others.observe(first, 0);
    waiting.run();
    assert!(waiting.is_served());
    assert_eq!(waiting.notices, []);

    let mut alone = World::new(options);
    alone.on(Event::Start);
    for _ in 0..3 {
        alone.run();
    }
    assert!(alone.is_served());
    assert_eq!(alone.notices, [Notice::OutOfTurn]);
}

#[test]
fn one_that_moved_to_another_zone_takes_the_positions_of_that_zone() {
    let count = NonZeroU16::new(u16::try_from(COUNT).unwrap()).unwrap();
    let in_zone = |name: &str, zone| {
        let tokens = Tokens::Spread { ordinal: 0, zone, count };
        LifecyclerOptions { tokens, zone: name.into(), ..LifecyclerOptions::new("m-0", "addr") }
    };
    let mut world = served(in_zone("a", 0));
    let before = world.tokens.clone().unwrap();
    assert_eq!(before.tokens, spread_tokens(0, 0, count).unwrap());
    world.options = in_zone("b", 1);
    world.crash();
    world.run();
    assert!(world.is_served());
    let after = world.tokens.clone().unwrap();
    assert_eq!((after.epoch, after.tokens), (before.epoch + 1, spread_tokens(0, 1, count).unwrap()));
}

#[test]
fn an_even_share_is_chosen_from_the_ring_that_is_seen_and_kept() {
    let count = NonZeroU16::new(u16::try_from(COUNT).unwrap()).unwrap();
    let tokens = Tokens::Even { count };
    let mut world = World::new(LifecyclerOptions { tokens, zone: "near".into(), ..options() });
    let mut holders = Vec::new();
    for number in 0..3 {
        let tokens = spread_tokens(number, 0, count).unwrap();
        let id = format!("other-{number}");
        let other = |zone: &str, tokens| Instance {
            zone: zone.into(),
            state: State::Active,
            tokens,
            ..Instance::new(format!("{id}-{zone}"), "")
        };
        world.others.observe(other("near", tokens.clone()), 0);
        world.others.observe(other("far", in_zone(&tokens, 1).unwrap()), 0);
        holders.push(Holder { id: id.into(), weight: NonZeroU8::MIN, tokens });
    }
    world.on(Event::Start);
    world.on(Event::Recovered);
    while world.out.is_some() {
        world.carry_out(true, true);
    }
    assert_eq!(world.record.as_ref().unwrap().tokens.count, 0, "without a view there is no share");
    world.pass(SECOND);
    world.run();
    let registered_at_ns = world.record.as_ref().unwrap().instance.registered_at_ns;
    assert!(registered_at_ns > 1_000, "before that it was in no shard: {registered_at_ns}");
    assert!(world.is_served());
    let chosen = world.tokens.clone().unwrap().tokens;
    assert_eq!(chosen, join(&holders, NonZeroU8::MIN, count, &TokenSet::default()).unwrap());
    // More have joined since: what it has, it keeps.
    let late = Instance { zone: "near".into(), tokens: vec![5].into(), ..Instance::new("late", "") };
    world.others.observe(late, 0);
    world.crash();
    world.run();
    assert!(world.is_served());
    assert_eq!(world.tokens.clone().unwrap().tokens, chosen);
}

#[test]
fn the_first_of_each_zone_choose_different_tokens() {
    let count = NonZeroU16::new(u16::try_from(COUNT).unwrap()).unwrap();
    let tokens = Tokens::Even { count };
    let mut firsts: Vec<World> = ["zone-a", "zone-b", "zone-c"]
        .map(|zone| {
            let id = format!("first-{zone}");
            World::new(LifecyclerOptions { tokens, zone: zone.into(), ..LifecyclerOptions::new(id, "") })
        })
        .into();
    for world in &mut firsts {
        world.on(Event::Start);
    }
    // All at once: none has seen another when it chooses.
    for _ in 0..60 {
        for world in &mut firsts {
            while world.out.is_some() {
                world.carry_out(true, true);
            }
        }
        let shown: Vec<Instance> = firsts.iter().filter_map(World::shown).collect();
        for world in &mut firsts {
            for other in &shown {
                world.others.observe(other.clone(), 0);
            }
            world.on(Event::Recovered);
            world.view();
            world.pass(SECOND);
        }
    }
    assert!(firsts.iter().all(World::is_served));
    assert!(firsts.iter().all(|world| world.notices.is_empty()), "{:?}", firsts[0].notices);
    let all: TokenSet =
        firsts.iter().flat_map(|world| world.tokens.clone().unwrap().tokens.to_vec()).collect();
    assert_eq!(all.len(), 3 * COUNT);
}

#[test]
fn another_number_of_tokens_is_another_epoch_and_moves_as_little_as_it_can() {
    let mut world = World::new(LifecyclerOptions {
        tokens: Tokens::Random { count: NonZeroUsize::new(24).unwrap() },
        ..options()
    });
    world.file = Loaded::Mine(TokenFile {
        id: "m".into(),
        zone: "".into(),
        epoch: 4,
        tokens: (0..20).map(|n| n << 27).collect(),
        incarnation: 1,
        read_only: ReadOnly::default(),
    });
    let load = |world: &mut World| {
        world.crash();
        world.carry_out(true, true);
        let Some(Action::SaveFile(file)) = world.out.clone() else { panic!() };
        file
    };
    let more = load(&mut world);
    assert_eq!((more.epoch, more.tokens.len()), (5, 24));
    assert!((0..20).all(|n| more.tokens.contains(n << 27)));
    world.options.tokens = Tokens::Random { count: NonZeroUsize::new(10).unwrap() };
    let fewer = load(&mut world);
    assert_eq!((fewer.epoch, fewer.tokens.len()), (5, 10));
    assert!(fewer.tokens.iter().all(|token| token % (1 << 27) == 0 && (token >> 27) % 2 == 1), "evenly");
}

#[test]
fn one_that_comes_back_with_other_tokens_or_in_another_zone_joined_when_it_did() {
    let joined = |world: &World| world.record.as_ref().unwrap().instance.registered_at_ns;
    let mut world = served(options());
    let first = joined(&world);
    world.crash();
    world.run();
    assert_eq!(joined(&world), first, "as it was");

    world.options.tokens = Tokens::Random { count: NonZeroUsize::new(COUNT - 2).unwrap() };
    let restarted_ns = world.now.unix_ns;
    world.crash();
    world.carry_out(true, true);
    let Some(Action::SaveFile(file)) = world.out.clone() else { panic!() };
    assert_eq!(file.tokens.len(), COUNT - 2);
    for _ in 0..3 {
        world.carry_out(true, true);
    }
    assert!(joined(&world) >= restarted_ns, "other tokens");

    let mut world = served(options());
    world.options.zone = "elsewhere".into();
    let restarted_ns = world.now.unix_ns;
    world.crash();
    world.run();
    assert!(joined(&world) >= restarted_ns, "another zone");
}
