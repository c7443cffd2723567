//! How a life ends.

use std::time::Duration;

use super::served;
use super::world::{SECOND, World, options};
use crate::State;
use crate::lifecycle::{Event, LifecyclerOptions, Phase};

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
