//! How a life begins, and what it needs before it serves.

use super::served;
use super::world::{SECOND, World, options};
use crate::State;
use crate::lifecycle::{Event, Phase};

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
    assert!(world.life.is_returning());
    world.on(Event::Recovered);
    world.carry_out(true, true);
    let after = world.record.clone().unwrap();
    assert_eq!(after.instance.state, State::Active);
    assert_eq!(after.tokens, before.tokens);
    assert_eq!(after.instance.registered_at_ns, before.instance.registered_at_ns);
    assert_eq!(after.instance.read_only, before.instance.read_only);
    assert_eq!(after.instance.version.incarnation, 2);
}

/// So one that joins may hold what it took when it was ACTIVE.
#[test]
fn one_that_ends_twice_before_its_log_is_replayed_joins_again() {
    let mut world = served(options());
    for _ in 0..2 {
        world.crash();
        for _ in 0..10 {
            world.carry_out(true, true);
            world.pass(SECOND);
        }
        assert_eq!(world.state(), Some(State::Pending));
    }
    assert!(!world.life.is_returning());
    world.on(Event::Recovered);
    world.carry_out(true, true);
    assert_eq!(world.state(), Some(State::Joining));
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
