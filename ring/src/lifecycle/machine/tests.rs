//! Lives against a store and a disk that fail at will: random histories, and a crash after every single action.

use std::num::{NonZeroU8, NonZeroU16, NonZeroUsize};
use std::time::Duration;

use proptest::prelude::*;

use self::world::{COUNT, SECOND, World, options};
use crate::codec::DecodeError;
use crate::lifecycle::{Action, Event, LifecyclerOptions, Notice, Phase, Tokens};
use crate::spread::{Holder, in_zone, join, spread_tokens};
use crate::token_file::{Loaded, TokenFile};
use crate::{Instance, ReadOnly, State, TokenSet};

mod world;

#[test]
fn a_first_start_registers_joins_and_becomes_ready() {
    let mut world = World::new(options());
    world.on(Event::Start);
    world.run();
    assert!(world.is_served());
    let record = world.record.clone().unwrap();
    assert_eq!(record.instance.version.incarnation, 1);
    assert_eq!(record.instance.registered_at_ns, 1_000);
    assert_eq!(world.tokens.unwrap().tokens, options().derive(0).unwrap());
    assert_eq!(world.notices, []);
    // Some 24 heartbeats and the steps of joining.
    assert!((24..32).contains(&record.instance.version.sequence), "{}", record.instance.version);
}

#[test]
fn a_restart_is_active_at_once_with_its_tokens_and_stamps_once_its_log_is_replayed() {
    let mut world = World::new(options());
    world.on(Event::Start);
    world.run();
    world.on(Event::ReadOnly(true));
    world.run();
    let before = world.record.clone().unwrap();
    assert!(before.instance.read_only.enabled);
    world.crash();
    for _ in 0..10 {
        world.carry_out(true, true);
        world.pass(SECOND);
    }
    assert_eq!(world.state(), Some(State::Pending), "not before it can serve");
    world.on(Event::Recovered);
    world.carry_out(true, true);
    let after = world.record.clone().unwrap();
    assert_eq!(after.instance.state, State::Active);
    assert_eq!(after.tokens, before.tokens);
    assert_eq!(after.instance.registered_at_ns, before.instance.registered_at_ns);
    assert_eq!(after.instance.read_only, before.instance.read_only);
    assert_eq!(after.instance.version.incarnation, 2);
}

#[test]
fn a_lost_ring_is_joined_anew_and_keeps_tokens_and_the_read_only_stamp() {
    let mut world = World::new(options());
    world.on(Event::Start);
    world.run();
    world.on(Event::ReadOnly(true));
    world.on(Event::ReadOnly(false));
    world.run();
    let before = world.record.clone().unwrap();
    assert!(!before.instance.read_only.enabled && before.instance.read_only.changed_at_ns > 0);
    for crashes in [true, false] {
        (world.record, world.tokens) = (None, None);
        if crashes {
            world.crash();
        }
        world.run();
        let after = world.record.clone().unwrap();
        assert!(world.is_served());
        assert_eq!(after.tokens, before.tokens);
        assert_eq!(after.instance.read_only, before.instance.read_only, "the stamp outlives the ring");
        assert!(after.instance.registered_at_ns > before.instance.registered_at_ns);
        assert!(after.instance.version > before.instance.version);
    }
    assert_eq!(world.notices, [Notice::RingLost], "by the life that had been in it");
}

#[test]
fn what_is_not_its_own_file_is_reported_and_the_store_s_tokens_stand() {
    let mut world = World::new(options());
    world.on(Event::Start);
    world.run();
    let tokens = world.tokens.clone();
    let foreign = Notice::ForeignFile { owner: "other".into() };
    let broken = DecodeError::Short { found: 3 };
    for (file, notice) in [
        (Loaded::Foreign { owner: "other".into() }, foreign),
        (Loaded::Broken(broken), Notice::BrokenFile(broken)),
    ] {
        world.file = file;
        world.crash();
        world.run();
        assert_eq!(world.notices.pop(), Some(notice));
        assert!(world.is_served());
        assert_eq!(world.tokens, tokens);
    }
}

#[test]
fn tokens_that_another_claims_are_drawn_anew_before_it_serves() {
    let mut world = World::new(options());
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
    world.on(Event::Start);
    world.run();
    assert!(world.is_served());
    let tokens = world.tokens.clone().unwrap();
    assert_eq!((tokens.epoch, tokens.tokens.len()), (1, COUNT));
    assert!(derived[..6].iter().all(|&token| !tokens.tokens.contains(token)));
    assert!(derived[6..].iter().all(|&token| tokens.tokens.contains(token)));
    assert_eq!(world.notices, [Notice::Redrawn { lost: 6 }]);
}

#[test]
fn without_a_view_of_its_own_claim_it_does_not_serve() {
    let mut world = World::new(options());
    world.on(Event::Start);
    world.on(Event::Recovered);
    for _ in 0..60 {
        world.carry_out(true, true);
        world.pass(SECOND);
    }
    assert_eq!((world.state(), world.life.phase()), (Some(State::Joining), Phase::Joining));
    world.run();
    assert!(world.is_served());
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
    world.run();
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
fn a_stop_drains_under_heartbeats_and_then_unregisters() {
    let options = LifecyclerOptions { final_wait: Duration::from_secs(30), ..options() };
    let mut world = World::new(options);
    world.on(Event::Start);
    world.run();
    world.on(Event::Shutdown { unregister: None });
    assert!(!world.ready && world.draining == Some(1));
    let mut beats = 0;
    for _ in 0..60 {
        beats += u32::from(world.out.is_some());
        world.carry_out(true, true);
        world.pass(SECOND);
    }
    assert!(beats >= 12, "{beats} writes in a minute of draining");
    assert_eq!(world.state(), Some(State::Leaving));
    world.on(Event::Drained(1));
    world.pass(29 * SECOND);
    while world.out.is_some() {
        world.carry_out(true, true);
    }
    assert_eq!(world.state(), Some(State::Leaving), "readers may still ask");
    world.run();
    assert_eq!((world.state(), world.stopped), (Some(State::Left), true));
}

#[test]
fn a_stop_without_unregistering_keeps_the_place_in_the_ring() {
    let mut world = World::new(LifecyclerOptions { unregister: false, ..options() });
    world.on(Event::Start);
    world.run();
    world.on(Event::Shutdown { unregister: None });
    world.run();
    assert_eq!((world.state(), world.stopped), (Some(State::Leaving), true));
    let tokens = world.tokens.clone();
    world.crash();
    world.run();
    assert!(world.is_served());
    assert_eq!(world.tokens, tokens);
}

#[test]
fn a_stop_can_be_called_off_until_it_drained() {
    let mut world = World::new(LifecyclerOptions { final_wait: Duration::from_secs(600), ..options() });
    world.on(Event::Start);
    world.run();
    world.on(Event::Shutdown { unregister: Some(true) });
    world.carry_out(true, true);
    assert_eq!(world.state(), Some(State::Leaving));
    world.draining = None;
    world.on(Event::CancelShutdown);
    world.run();
    assert!(world.is_served());
    world.on(Event::Shutdown { unregister: None });
    world.run();
    world.on(Event::CancelShutdown);
    world.run();
    assert_eq!(world.state(), Some(State::Leaving), "too late");
}

#[test]
fn one_that_was_forgotten_comes_back_and_one_that_another_imitates_says_so() {
    let mut world = World::new(options());
    world.on(Event::Start);
    world.run();
    let incarnation = |world: &World| world.record.as_ref().unwrap().instance.version.incarnation;
    world.write(State::Left, "addr");
    world.view();
    world.run();
    assert!(world.is_served());
    assert_eq!(incarnation(&world), 2);
    assert!(matches!(world.notices[..], [Notice::Overtaken { state: State::Left, .. }]));
    world.notices.clear();
    for _ in 0..3 {
        world.write(State::Active, "elsewhere");
        world.view();
        for _ in 0..8 {
            world.carry_out(true, true);
            world.pass(SECOND);
        }
    }
    assert_eq!(world.notices.last(), Some(&Notice::DuplicateId { addr: "elsewhere".into() }));
    assert_eq!(world.notices.len(), 4);
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
fn a_crash_after_any_action_of_any_life_ends_in_service_with_the_same_tokens() {
    /// What is done to a life; afterwards all of it is done again after a crash at each step.
    type Script = fn(&mut World);
    let scripts: [Script; 6] = [
        |_| {},
        |world| world.on(Event::Shutdown { unregister: Some(true) }),
        |world| world.on(Event::Shutdown { unregister: Some(false) }),
        |world| world.on(Event::ReadOnly(true)),
        |world| world.record = None,
        |world| world.write(State::Left, "addr"),
    ];
    /// What the crash takes with it.
    const LOSSES: [Script; 4] = [
        |_| {},
        World::lose_file,
        |world| (world.record, world.tokens) = (None, None),
        |world| {
            (world.record, world.tokens) = (None, None);
            world.lose_file();
        },
    ];
    let derived = options().derive(0).unwrap();
    for script in scripts {
        for lose in LOSSES {
            for crash_at in 1_u64.. {
                let mut world = World::new(options());
                world.on(Event::Start);
                // Each step carries one thing out, with the crash in front of it or after it.
                let mut scripted = false;
                for _ in 0..400 {
                    if world.steps >= crash_at {
                        break;
                    }
                    if world.out.is_some() {
                        world.carry_out(true, true);
                    } else {
                        world.on(Event::Recovered);
                        world.view();
                        if world.ready && !scripted {
                            scripted = true;
                            script(&mut world);
                        }
                        if let Some(number) = world.draining.take() {
                            world.on(Event::Drained(number));
                        }
                        world.pass(SECOND);
                    }
                }
                let is_over = world.steps < crash_at;
                lose(&mut world);
                world.crash();
                world.run_until(World::is_served);
                assert!(world.is_served(), "crash at {crash_at}: {:?}, {:?}", world.record, world.life);
                assert_eq!(world.tokens.unwrap().tokens, derived);
                if is_over || crash_at > 120 {
                    break;
                }
            }
        }
    }
}

/// It serves, and has for a while.
fn served(options: LifecyclerOptions) -> World {
    let mut world = World::new(options);
    world.on(Event::Start);
    world.run();
    assert!(world.is_served());
    world
}

/// Each of these once left it ACTIVE without its tokens in the store, where observers that come later look for them.
#[test]
fn tokens_that_the_store_lost_are_put_there_again_whenever_they_were_lost() {
    let before = served(options());
    let registered_at_ns = before.record.as_ref().unwrap().instance.registered_at_ns;

    let mut world = served(options());
    world.crash();
    world.carry_out(true, true);
    // It has read that all is there.
    (world.record, world.tokens) = (None, None);
    world.run();
    assert!(world.is_served(), "lost while it started");

    let mut world = served(options());
    (world.record, world.tokens) = (None, None);
    while world.out.is_none() {
        world.pass(SECOND);
    }
    world.carry_out(true, false);
    world.run();
    assert!(world.is_served(), "lost, and the answer to the record with it");
    let now = world.record.as_ref().unwrap().instance.registered_at_ns;
    assert!(now > registered_at_ns, "it joined anew at {now}");

    let mut world = served(options());
    world.write(State::Left, "addr");
    world.crash();
    world.carry_out(true, true);
    world.tokens = None;
    world.run();
    assert!(world.is_served(), "collected with what was LEFT");

    let mut world = served(options());
    world.tokens = None;
    world.run();
    assert!(world.is_served(), "lost alone");
}

#[test]
fn heartbeats_go_on_while_the_file_cannot_be_saved() {
    let mut world = served(options());
    let before = world.record.clone().unwrap().instance.version;
    world.on(Event::ReadOnly(true));
    for _ in 0..60 {
        let works = !matches!(world.out, Some(Action::SaveFile(_)));
        world.carry_out(works, true);
        world.pass(SECOND);
    }
    let after = world.record.clone().unwrap().instance;
    assert_eq!(after.state, State::Active);
    assert!(after.version.sequence >= before.sequence + 10, "{before} to {}", after.version);
}

#[test]
fn the_end_of_a_drain_that_was_called_off_does_not_end_a_later_one() {
    let mut world = served(options());
    world.on(Event::Shutdown { unregister: None });
    world.on(Event::CancelShutdown);
    world.on(Event::Shutdown { unregister: None });
    assert_eq!(world.draining, Some(2));
    world.on(Event::Drained(1));
    assert_eq!(world.life.phase(), Phase::Leaving);
    world.on(Event::Drained(2));
    assert_eq!(world.life.phase(), Phase::Lingering);
}

/// Two processes under one id take turns with the record in the store.
fn share(one: &mut World, other: &mut World, seconds: u64) {
    let hand_over = |from: &World, to: &mut World| {
        (to.record, to.tokens) = (from.record.clone(), from.tokens.clone());
        to.claim = None;
    };
    for _ in 0..seconds {
        for _ in 0..20 {
            for step in [|world: &mut World| world.carry_out(true, true), World::view] {
                step(one);
                hand_over(one, other);
                step(other);
                hand_over(other, one);
            }
        }
        one.pass(SECOND);
        other.pass(SECOND);
    }
}

#[test]
fn two_processes_with_one_id_do_not_outdo_each_other_without_pause() {
    let mut one = served(options());
    let mut other = World::new(LifecyclerOptions { addr: "elsewhere".into(), ..options() });
    (other.record, other.tokens, other.now) = (one.record.clone(), one.tokens.clone(), one.now);
    (one.writes, other.writes) = (0, 0);
    other.on(Event::Start);
    other.on(Event::Recovered);
    share(&mut one, &mut other, 60);
    assert!(one.writes + other.writes <= 60, "{} and {} writes in a minute", one.writes, other.writes);
    let duplicate = |notice: &Notice| matches!(notice, Notice::DuplicateId { .. });
    assert!(one.notices.iter().chain(&other.notices).any(duplicate));
}

#[test]
fn one_that_stops_does_not_take_the_place_of_its_successor() {
    for unregister in [false, true] {
        let patient = LifecyclerOptions { final_wait: Duration::from_secs(20), ..options() };
        let mut old = served(patient);
        old.on(Event::Shutdown { unregister: Some(unregister) });
        old.carry_out(true, true);
        let mut new = World::new(LifecyclerOptions { addr: "elsewhere".into(), ..options() });
        (new.record, new.tokens, new.now) = (old.record.clone(), old.tokens.clone(), old.now);
        new.on(Event::Start);
        new.on(Event::Recovered);
        share(&mut old, &mut new, 10);
        assert_eq!((new.state(), old.life.phase()), (Some(State::Active), Phase::Leaving));
        old.on(Event::Drained(1));
        share(&mut old, &mut new, 40);
        assert!(old.stopped && !new.stopped);
        let record = new.record.clone().unwrap().instance;
        assert_eq!((record.state, &*record.addr), (State::Active, "elsewhere"));
    }
}

#[test]
fn read_only_as_it_was_told_last_outlives_a_start_and_a_clock_that_is_behind() {
    let set = |world: &mut World| {
        world.on(Event::ReadOnly(true));
        world.run();
        world.record.clone().unwrap().instance.read_only
    };
    let mut world = served(options());
    let flag = set(&mut world);
    // While it loads, when it does not know yet what the flag was.
    (world.life, world.out) = (crate::lifecycle::Lifecycler::new(options()).unwrap(), None);
    world.on(Event::Start);
    world.now.unix_ns = 7;
    world.on(Event::ReadOnly(false));
    world.run();
    let cleared = world.record.clone().unwrap().instance.read_only;
    assert!(!cleared.enabled && cleared.changed_at_ns > flag.changed_at_ns, "{flag:?}, then {cleared:?}");
    // With the file ahead of the record, by a clock that is behind.
    let mut world = served(options());
    let flag = set(&mut world);
    while world.out.is_some() {
        world.carry_out(true, true);
    }
    world.now.unix_ns = 7;
    world.on(Event::ReadOnly(false));
    world.carry_out(true, true);
    world.crash();
    world.run();
    let cleared = world.record.clone().unwrap().instance.read_only;
    assert!(!cleared.enabled && cleared.changed_at_ns > flag.changed_at_ns, "{flag:?}, then {cleared:?}");
}

#[test]
fn one_that_was_forgotten_while_it_started_observes_before_it_serves() {
    let mut world = served(options());
    world.crash();
    for _ in 0..10 {
        world.carry_out(true, true);
        world.pass(SECOND);
    }
    assert_eq!(world.state(), Some(State::Pending));
    // Its tokens are free for others meanwhile.
    world.write(State::Left, "addr");
    world.view();
    world.on(Event::Recovered);
    let mut states = Vec::new();
    while world.state() != Some(State::Active) {
        world.carry_out(true, true);
        world.view();
        world.pass(SECOND);
        states.extend(world.state());
    }
    assert!(states.contains(&State::Joining), "{states:?}");
}

#[test]
fn who_stops_before_its_log_is_replayed_keeps_its_place() {
    let mut world = served(options());
    world.crash();
    for _ in 0..10 {
        world.carry_out(true, true);
        world.pass(SECOND);
    }
    world.on(Event::Shutdown { unregister: Some(true) });
    // What it drained is not all that it has.
    world.on(Event::Drained(1));
    world.run();
    assert_eq!((world.state(), world.stopped), (Some(State::Pending), true));
}

#[test]
fn one_that_drains_before_the_store_answers_is_leaving_before_it_stops() {
    for unregister in [false, true] {
        let patient = LifecyclerOptions { final_wait: Duration::from_secs(30), ..options() };
        let mut world = World::new(patient);
        world.on(Event::Start);
        world.on(Event::Recovered);
        world.run_until(|world| world.life.phase() == Phase::Active);
        // ACTIVE is on its way.
        world.on(Event::Shutdown { unregister: Some(unregister) });
        world.on(Event::Drained(1));
        let mut states = Vec::new();
        while !world.stopped {
            world.carry_out(true, true);
            states.extend(world.state());
            world.pass(SECOND);
        }
        states.dedup();
        assert!(states.contains(&State::Leaving), "{states:?}");
        assert_eq!(
            states.last(),
            Some(if unregister { &State::Left } else { &State::Leaving }),
            "{states:?}"
        );
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    CarryOut { happens: bool, told: bool },
    Pass(u64),
    View,
    Recovered,
    Crash,
    LoseFile,
    LoseRecord,
    LoseTokens,
    Overwrite(State),
    Claim(u8),
    Shutdown(Option<bool>),
    Cancel,
    Drained(u64),
    ReadOnly(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<(bool, bool)>().prop_map(|(happens, told)| Step::CarryOut { happens, told }),
        12 => Just(Step::CarryOut { happens: true, told: true }),
        8 => (1..6 * SECOND).prop_map(Step::Pass),
        6 => Just(Step::View),
        2 => Just(Step::Recovered),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseFile),
        1 => Just(Step::LoseRecord),
        1 => Just(Step::LoseTokens),
        1 => proptest::sample::select(&State::ALL[..]).prop_map(Step::Overwrite),
        1 => any::<u8>().prop_map(Step::Claim),
        1 => any::<Option<bool>>().prop_map(Step::Shutdown),
        1 => Just(Step::Cancel),
        1 => (0..4_u64).prop_map(Step::Drained),
        1 => any::<bool>().prop_map(Step::ReadOnly),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_history_keeps_the_invariants_and_ends_in_service(
        steps in proptest::collection::vec(any_step(), 0..120),
    ) {
        let mut world = World::new(options());
        world.on(Event::Start);
        for step in steps {
            match step {
                Step::CarryOut { happens, told } => world.carry_out(happens, told),
                Step::Pass(ns) => world.pass(ns),
                Step::View => world.view(),
                Step::Recovered => world.on(Event::Recovered),
                Step::Crash => world.crash(),
                // Not both: then the past is lost, and with it what could be checked.
                Step::LoseFile if world.record.is_some() => {
                    world.lose_file();
                    world.crash();
                }
                Step::LoseRecord if matches!(world.file, Loaded::Mine(_)) => world.record = None,
                Step::LoseTokens => (world.tokens, world.lost_tokens) = (None, true),
                Step::Overwrite(state) => world.write(state, "elsewhere"),
                Step::Claim(token) => {
                    let derived = options().derive(0).unwrap();
                    let tokens = derived.iter().copied().take(usize::from(token % 4)).collect();
                    let state = State::ALL[usize::from(token >> 4) % 5];
                    let id = format!("{token}");
                    world.others.observe(Instance { tokens, state, ..Instance::new(id, "") }, 0);
                }
                Step::Shutdown(unregister) => world.on(Event::Shutdown { unregister }),
                Step::Cancel => world.on(Event::CancelShutdown),
                Step::Drained(number) => world.on(Event::Drained(number)),
                Step::ReadOnly(enabled) => world.on(Event::ReadOnly(enabled)),
                Step::LoseFile | Step::LoseRecord => {}
            }
        }
        // Whatever was lost meanwhile, a life that goes on makes up for it by itself.
        for crashes in [matches!(world.life.phase(), Phase::Leaving | Phase::Lingering | Phase::Stopped), true] {
            if crashes {
                world.crash();
            }
            world.run_until(World::is_served);
            prop_assert!(world.is_served(), "{:?} {:?}", world.record, world.life);
        }
    }
}
