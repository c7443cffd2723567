//! Random lives with random ends, against a ledger of what was promised.

use std::io::ErrorKind;

use crate::harness::{Session, Step, options};
use forebay_wal::Options;
use forebay_wal::fs::sim::{Fault, SimFs, Survive, SyncModel};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Event {
    Step(Step),
    /// The power goes at an operation this far ahead, and what was not synced survives as the seed says.
    PowerCut(u64, u64),
    /// As above, but only the process dies.
    Kill(u64),
    /// An operation this far ahead fails.
    Fault(u64, Fault),
    /// The disk has room for this many bytes more.
    Budget(Option<u64>),
}

fn event() -> impl Strategy<Value = Event> {
    let len = prop_oneof![4 => 0..60_usize, 2 => 0..900_usize, 1 => 0..9000_usize];
    let step = prop_oneof![
        8 => len.clone().prop_map(Step::Append),
        3 => prop::collection::vec(len, 0..5).prop_map(Step::Batch),
        2 => (0..=100_u64).prop_map(Step::Truncate),
        1 => Just(Step::Rotate),
        1 => Just(Step::Reserve),
        1 => Just(Step::Close),
        1 => Just(Step::Reopen),
    ];
    let fault = prop_oneof![
        Just(Fault::Error(ErrorKind::Other)),
        Just(Fault::Partial(ErrorKind::Other)),
        Just(Fault::Partial(ErrorKind::StorageFull)),
        Just(Fault::Late(ErrorKind::Other)),
        Just(Fault::Short),
    ];
    prop_oneof![
        12 => step.prop_map(Event::Step),
        2 => (0..20_u64, any::<u64>()).prop_map(|(ahead, seed)| Event::PowerCut(ahead, seed)),
        1 => (0..20_u64).prop_map(Event::Kill),
        2 => (0..20_u64, fault).prop_map(|(ahead, fault)| Event::Fault(ahead, fault)),
        1 => prop::option::of(0..40_000_u64).prop_map(Event::Budget),
    ]
}

/// Appends until the crash that was asked for has happened, or for a while where the log takes nothing.
fn die(session: &mut Session, ahead: u64) {
    session.disk.crash_at(session.disk.op_count() + ahead);
    for len in [3, 600, 50, 2000].into_iter().cycle().take(60) {
        session.step(&Step::Append(len));
        if session.disk.has_crashed() {
            break;
        }
    }
    session.wal = None;
}

fn run(events: Vec<Event>, seed: u64, model: SyncModel, options: Options) {
    let disk = SimFs::new(seed);
    disk.set_sync_model(model);
    let mut session = Session::new(disk, options);
    for event in events {
        match event {
            Event::Step(step) => drop(session.step(&step)),
            Event::PowerCut(ahead, seed) => {
                die(&mut session, ahead);
                session.disk = session.disk.crash(Survive::Seeded(seed));
            }
            Event::Kill(ahead) => {
                die(&mut session, ahead);
                session.disk = session.disk.restart();
            }
            Event::Fault(ahead, fault) => session.disk.fail_at(session.disk.op_count() + ahead, fault),
            Event::Budget(more) => {
                session.disk.set_budget(more.map(|more| session.disk.allocated() + more));
            }
        }
    }
    session.wal = None;
    session.disk = session.disk.crash(Survive::Nothing);
    session.disk.set_budget(None);
    session.open().expect("the last opening meets no fault");
    assert!(session.step(&Step::Truncate(100)) && session.step(&Step::Append(1)), "and the log goes on");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_promises_are_kept(
        events in prop::collection::vec(event(), 1..40),
        seed: u64,
        revert: bool,
        limited: bool,
    ) {
        let model = if revert { SyncModel::RevertCache } else { SyncModel::KeepCache };
        let limit = limited.then_some(6 * 8192);
        run(events, seed, model, Options { max_log_bytes: limit, ..options() });
    }
}
