//! Others that write the same record: who forgets it, and a second process under its id.

use std::time::Duration;

use super::served;
use super::world::{SECOND, World, options};
use crate::State;
use crate::lifecycle::{Event, LifecyclerOptions, Notice, Phase};

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
