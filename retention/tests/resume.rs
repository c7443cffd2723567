//! A pass that is cut at any call to a store, by a crash or an error, and then run again ends like one that was
//! never cut: the same objects, references and marks, and the same outcomes, except that what the cut pass had
//! deleted itself may be found "already gone".

#![expect(clippy::unwrap_used, reason = "outside of test functions it is an assertion too")]

#[path = "support/world.rs"]
mod world;

use forebay_retention::store::{ChunkStore, MemoryChunks, MemoryState, Outcome, StateStore};
use forebay_retention::{Sweeper, hold as holds};
use world::{Chunks, Fault, Remains, State, Wire, at, chunk, compiled, hold, keep, options, remains, run};

/// Chunks in every stage: interrupted, marked, marked and held since, marked and no longer listed, new, kept.
fn world() -> (MemoryChunks, MemoryState) {
    let (chunks, state) = (MemoryChunks::new(), MemoryState::new());
    for (id, app, max_s) in
        [("1", "a", 10), ("2", "held", 10), ("4", "a", 10), ("5", "a", 10), ("7", "a", 480), ("8", "a", 10)]
    {
        chunks.insert(chunk("t", id, app, 0, max_s));
    }
    let policies = || compiled(&[keep("p", "{}", 100)]);
    let sweeper = Sweeper::new(chunks.clone(), state.clone(), policies, options(60));
    run(sweeper.sweep("t", || at(400))).unwrap().unwrap();
    run(holds::place(&state, hold("h", r#"{app="held"}"#))).unwrap().unwrap();
    chunks.insert(chunk("t", "3", "a", 0, 10));
    chunks.insert(chunk("t", "6", "a", 0, 10));
    // A deletion dies right after its intents are durable.
    let faulty = |at| Wire::new(Some((at, Fault::CrashBefore)), false, |_, _| {});
    for call in 0.. {
        let dying = Chunks { inner: chunks.clone(), wire: faulty(call) };
        let sweeper = Sweeper::new(dying, state.clone(), policies, options(60));
        if run(sweeper.sweep("t", || at(470))).is_none()
            && !run(state.journal(0, 9)).unwrap().unwrap().is_empty()
        {
            break;
        }
    }
    assert_eq!(run(state.open_intents(None, None, 9)).unwrap().unwrap().len(), 2);
    run(chunks.drop_refs(&[chunk("t", "8", "a", 0, 10)])).unwrap().unwrap();
    (chunks, state)
}

fn finish(chunks: &MemoryChunks, state: &MemoryState) -> Remains {
    let sweeper =
        Sweeper::new(chunks.clone(), state.clone(), || compiled(&[keep("p", "{}", 100)]), options(60));
    run(sweeper.sweep("t", || at(500))).unwrap().unwrap();
    // The cut pass may have left its last part to this one, or this one may have been whole; one more pass
    // makes both end behind a whole one.
    run(sweeper.sweep("t", || at(500))).unwrap().unwrap();
    remains(chunks, state, &["t"])
}

fn outcomes(remains: &Remains) -> Vec<(String, bool)> {
    let gone = |outcome: &Outcome| matches!(outcome, Outcome::Deleted | Outcome::AlreadyGone);
    let closed = remains.3.iter().map(|intent| {
        let closed = intent.closed.as_ref().expect("every intent has an outcome");
        (intent.chunk.id.clone(), gone(&closed.outcome))
    });
    let mut closed: Vec<_> = closed.collect();
    closed.sort();
    closed
}

fn cut_everywhere(fault: Fault) {
    let (chunks, state) = world();
    let expected = finish(&chunks, &state);
    assert_eq!(expected.1.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["2", "3", "6", "7"]);
    assert_eq!(expected.2.iter().map(|mark| mark.chunk.id.as_str()).collect::<Vec<_>>(), ["3", "6"]);

    for call in 0.. {
        let (chunks, state) = world();
        let wire = Wire::new(Some((call, fault)), false, |_, _| {});
        let dying = Chunks { inner: chunks.clone(), wire: wire.clone() };
        // Each process has its own fence, so the dying one's dies with it.
        let remembering = State { inner: state.clone(), wire: wire.clone() };
        let sweeper = Sweeper::new(dying, remembering, || compiled(&[keep("p", "{}", 100)]), options(60));
        // The first pass is the rest of the interrupted one.
        let _cut = run(async {
            let _ = sweeper.sweep("t", || at(500)).await;
            sweeper.sweep("t", || at(500)).await
        });
        drop(sweeper);
        if wire.calls() <= call {
            assert!(call > 20, "only {call} calls were cut");
            return;
        }
        let found = finish(&chunks, &state);
        assert_eq!(found.0, expected.0, "references after a cut at call {call}");
        assert_eq!(found.1, expected.1, "objects after a cut at call {call}");
        assert_eq!(found.2, expected.2, "marks after a cut at call {call}");
        assert_eq!(outcomes(&found), outcomes(&expected), "outcomes after a cut at call {call}");
    }
}

#[test]
fn a_crash_before_any_call_changes_nothing_in_the_end() {
    cut_everywhere(Fault::CrashBefore);
}

#[test]
fn a_crash_after_any_call_changes_nothing_in_the_end() {
    cut_everywhere(Fault::CrashAfter);
}

#[test]
fn an_error_without_effect_changes_nothing_in_the_end() {
    cut_everywhere(Fault::ErrorBefore);
}

#[test]
fn an_error_with_effect_changes_nothing_in_the_end() {
    cut_everywhere(Fault::ErrorAfter);
}

#[test]
fn a_partial_failure_changes_nothing_in_the_end() {
    cut_everywhere(Fault::Partial);
}
