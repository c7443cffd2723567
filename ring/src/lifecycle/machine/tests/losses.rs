//! Disks, records and answers that are lost or fail, one at a time and at every step.

use super::served;
use super::world::{SECOND, World, options};
use crate::State;
use crate::codec::DecodeError;
use crate::lifecycle::{Action, Event, Notice};
use crate::token_file::Loaded;

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

/// Every save fails from here on; what the store holds second by second, without repetitions.
fn live_without_a_disk(world: &mut World, seconds: u32) -> Vec<(State, u64)> {
    let mut seen = Vec::new();
    for _ in 0..seconds {
        for _ in 0..4 {
            let works = !matches!(world.out, Some(Action::SaveFile(_)));
            world.carry_out(works, true);
            seen.extend(world.record.as_ref().map(|r| (r.instance.state, r.instance.version.sequence)));
        }
        world.pass(SECOND);
    }
    seen.dedup();
    seen
}

#[test]
fn a_disk_that_fails_does_not_keep_an_instance_from_leaving() {
    for unregister in [true, false] {
        let mut world = served(options());
        world.on(Event::ReadOnly(true));
        live_without_a_disk(&mut world, 20);
        assert!(world.record.as_ref().unwrap().instance.read_only.enabled, "others hear of it all the same");
        world.on(Event::Shutdown { unregister: Some(unregister) });
        let draining = live_without_a_disk(&mut world, 60);
        assert!(draining.len() > 10 && draining.is_sorted_by_key(|(_, sequence)| *sequence), "{draining:?}");
        assert_eq!(world.state(), Some(State::Leaving));
        world.on(Event::Drained(1));
        live_without_a_disk(&mut world, 60);
        let end = if unregister { State::Left } else { State::Leaving };
        assert_eq!((world.state(), world.stopped), (Some(end), true));
    }
}

#[test]
fn a_disk_that_fails_does_not_keep_a_recovered_instance_from_serving() {
    let mut world = served(options());
    world.crash();
    while world.state() != Some(State::Pending) {
        world.carry_out(true, true);
        world.pass(SECOND);
    }
    world.on(Event::ReadOnly(true));
    live_without_a_disk(&mut world, 20);
    world.on(Event::Recovered);
    live_without_a_disk(&mut world, 20);
    assert_eq!(world.state(), Some(State::Active));
    // And once it works again, the file has what it lacked.
    world.run();
    let Loaded::Mine(file) = &world.file else { panic!("no file") };
    assert!(file.read_only.enabled);
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
