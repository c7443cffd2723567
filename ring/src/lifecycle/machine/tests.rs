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
    // These give way themselves.
    world.others.observe(claims("y", State::Joining, &derived[4..6]), 0);
    world.others.observe(claims("b", State::Leaving, &derived[6..8]), 0);
    world.on(Event::Start);
    world.run();
    assert!(world.is_served());
    let tokens = world.tokens.clone().unwrap();
    assert_eq!((tokens.epoch, tokens.tokens.len()), (1, COUNT));
    assert!(derived[..4].iter().all(|&token| !tokens.tokens.contains(token)));
    assert!(derived[4..].iter().all(|&token| tokens.tokens.contains(token)));
    assert_eq!(world.notices, [Notice::Redrawn { lost: 4 }]);
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
fn a_stop_drains_under_heartbeats_and_then_unregisters() {
    let options = LifecyclerOptions { final_wait: Duration::from_secs(30), ..options() };
    let mut world = World::new(options);
    world.on(Event::Start);
    world.run();
    world.on(Event::Shutdown { unregister: None });
    assert!(!world.ready && world.draining);
    let mut beats = 0;
    for _ in 0..60 {
        beats += u32::from(world.out.is_some());
        world.carry_out(true, true);
        world.pass(SECOND);
    }
    assert!(beats >= 12, "{beats} writes in a minute of draining");
    assert_eq!(world.state(), Some(State::Leaving));
    world.on(Event::Drained);
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
    world.draining = false;
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
        for _ in 0..4 {
            world.carry_out(true, true);
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
                        if std::mem::take(&mut world.draining) {
                            world.on(Event::Drained);
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
    Drained,
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
        1 => Just(Step::Drained),
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
                Step::LoseTokens => world.tokens = None,
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
                Step::Drained => world.on(Event::Drained),
                Step::ReadOnly(enabled) => world.on(Event::ReadOnly(enabled)),
                Step::LoseFile | Step::LoseRecord => {}
            }
        }
        world.crash();
        world.run_until(World::is_served);
        prop_assert!(world.is_served(), "{:?} {:?}", world.record, world.life);
    }
}
