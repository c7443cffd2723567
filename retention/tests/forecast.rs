//! R7: a forecast has no effect and names exactly what a sweep at the same time deletes, wherever an earlier pass
//! was cut.

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use forebay_retention::store::{MemoryChunks, MemoryState, StateStore};
use forebay_retention::{Holds, Options, Planner, Refusal, Sweeper, hold as holds};
use parking_lot::Mutex;
use proptest::prelude::*;
use world::{Chunks, Fault, State, Wire, at, chunk, compiled, hold, keep, options, remains, run};

#[derive(Debug, Clone)]
struct Scene {
    chunks: Vec<(u8, i64)>,
    late: Vec<(u8, i64)>,
    held: Option<u8>,
    delay_s: u64,
    first_sweep_s: i64,
    cut: Option<(u64, bool)>,
    then_s: i64,
    max_delete_fraction: f64,
}

fn scene() -> impl Strategy<Value = Scene> {
    let chunks = || prop::collection::vec((0..3u8, 0..400i64), 0..10);
    let cut = prop::option::weighted(0.7, (0..60u64, any::<bool>()));
    let fraction = prop_oneof![3 => Just(1.0), 1 => 0.0..1.0];
    (chunks(), chunks(), prop::option::of(0..3u8), 0..100u64, 0..400i64, cut, 0..200i64, fraction).prop_map(
        |(chunks, late, held, delay_s, first_sweep_s, cut, then_s, max_delete_fraction)| Scene {
            chunks,
            late,
            held,
            delay_s,
            first_sweep_s,
            cut,
            then_s,
            max_delete_fraction,
        },
    )
}

const APPS: [&str; 3] = ["a", "b", "c"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_forecast_has_no_effect_and_names_what_a_sweep_deletes(scene in scene()) {
        let (chunks, state) = (MemoryChunks::new(), MemoryState::new());
        let policies = || compiled(&[keep("b", r#"{app="b"}"#, 50), keep("c", r#"{app="c"}"#, 0).with_priority(1), keep("p", "{}", 100).as_fallback()]);
        let insert = |prefix: &str, of: &[(u8, i64)]| for (n, (app, max_s)) in of.iter().enumerate() {
            chunks.insert(chunk("t", &format!("{prefix}{n}"), APPS[usize::from(*app)], 0, *max_s));
        };
        insert("m", &scene.chunks);
        let cut = scene.cut.map(|(call, after)| (call, if after { Fault::CrashAfter } else { Fault::CrashBefore }));
        let wire = Wire::new(cut, false, |_, _| {});
        let before = Sweeper::new(
            Chunks { inner: chunks.clone(), wire: wire.clone() }, State { inner: state.clone(), wire },
            policies, options(scene.delay_s),
        );
        let _cut = run(before.sweep("t", || at(scene.first_sweep_s)));
        drop(before);
        insert("a", &scene.late);
        if let Some(app) = scene.held {
            run(holds::place(&state, hold("h", &format!("{{app=\"{}\"}}", APPS[usize::from(app)])))).unwrap().unwrap();
        }

        let now = at(scene.first_sweep_s + scene.then_s);
        let deleted = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = Arc::clone(&deleted);
        let wire = Wire::new(None, false, move |call, chunks| {
            if call == "delete" {
                noted.lock().extend(chunks.iter().map(|chunk| chunk.id.clone()));
            }
        });
        let options = Options { max_delete_fraction: scene.max_delete_fraction, ..options(scene.delay_s) };
        let sweeper = Sweeper::new(Chunks { inner: chunks.clone(), wire }, state.clone(), policies, options);
        let untouched = (remains(&chunks, &state, &["t"]), run(state.progress("t")).unwrap().unwrap(), run(state.watermark()).unwrap().unwrap());
        let forecast = run(sweeper.forecast("t", now)).unwrap().unwrap();
        let after = (remains(&chunks, &state, &["t"]), run(state.progress("t")).unwrap().unwrap(), run(state.watermark()).unwrap().unwrap());
        prop_assert_eq!(untouched, after, "a forecast has no effect");
        prop_assert!(deleted.lock().is_empty());

        let report = run(sweeper.sweep("t", || now)).unwrap().unwrap();
        let foretold: BTreeSet<_> = forecast.deletes.iter().map(|chunk| chunk.id.clone()).collect();
        prop_assert_eq!(&foretold, &*deleted.lock());
        prop_assert_eq!(foretold.len(), forecast.deletes.len(), "each chunk is named once");
        prop_assert_eq!(forecast.report, report);
    }
}

#[test]
fn a_forecast_foretells_a_refusal() {
    let chunks = MemoryChunks::new();
    chunks.insert(chunk("t", "1", "a", 0, 10));
    let options = Options { max_delete_fraction: 0.5, ..options(0) };
    let sweeper = Sweeper::new(chunks, MemoryState::new(), || compiled(&[keep("p", "{}", 100)]), options);
    let forecast = run(sweeper.forecast("t", at(500))).unwrap().unwrap();
    assert!(matches!(forecast.report.refusal, Some(Refusal::BlastRadius { .. })));
    assert!(forecast.deletes.is_empty());
}

#[test]
fn a_plan_names_what_a_sweep_marks_and_leaves_what_is_remembered_to_the_forecast() {
    let chunks = MemoryChunks::new();
    let all: Vec<_> = (0..9).map(|n| chunk("t", &n.to_string(), APPS[n % 3], 0, 50 * n as i64)).collect();
    all.iter().cloned().for_each(|chunk| chunks.insert(chunk));
    let policies = || compiled(&[keep("p", "{}", 100)]);
    let state = MemoryState::new();
    run(holds::place(&state, hold("h", r#"{app="c"}"#))).unwrap().unwrap();
    let held = Holds::new(run(state.holds()).unwrap().unwrap());

    let set = policies();
    let mut planner = Planner::new(&set, &held, at(350));
    all.iter().for_each(|chunk| chunk.with_meta(|meta| planner.add(meta)).unwrap());
    let plan = planner.finish();
    let options = Options { max_delete_fraction: 0.1, ..options(60) };
    let sweeper = Sweeper::new(chunks, state.clone(), policies, options);
    let forecast = run(sweeper.forecast("t", at(350))).unwrap().unwrap();
    assert_eq!(plan.refusal, None);
    assert!(matches!(forecast.report.refusal, Some(Refusal::BlastRadius { expired_chunks: 4, .. })));

    let report = run(sweeper.sweep("t", || at(350))).unwrap().unwrap();
    let marks = run(state.marks("t", None, None, 99)).unwrap().unwrap();
    let planned: Vec<_> = plan.expired.iter().map(|expired| expired.id.as_str()).collect();
    assert_eq!(planned, marks.iter().map(|mark| mark.chunk.id.as_str()).collect::<Vec<_>>());
    assert_eq!(plan.census, report.census);
}

#[test]
fn a_forecast_does_not_teach_the_sweeper_the_time() {
    let chunks = MemoryChunks::new();
    chunks.insert(chunk("t", "1", "a", 0, 10));
    let sweeper = Sweeper::new(chunks, MemoryState::new(), || compiled(&[keep("p", "{}", 100)]), options(0));
    run(sweeper.forecast("t", at(1_000_000))).unwrap().unwrap();
    assert_eq!(run(sweeper.sweep("t", || at(50))).unwrap().unwrap().refusal, None);
}
