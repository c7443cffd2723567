//! Random histories.

use proptest::prelude::*;

use super::world::{SECOND, World, options};
use crate::lifecycle::{Event, Phase};
use crate::token_file::Loaded;
use crate::{Instance, State};

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
