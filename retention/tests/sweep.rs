//! What one pass does: marks, waits, decides again, deletes in order, refuses when in doubt.

#![expect(clippy::unwrap_used, reason = "outside of test functions it is an assertion too")]

#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_retention::store::{
    Change, ChunkStore, Deletion, Doomed, Mark, MemoryChunks, MemoryState, Outcome, Phase, StateStore,
};
use forebay_retention::{
    Chunk, ClockDoubt, ClockHealth, Error, Hold, Now, Options, Policy, PolicySet, Refusal, Release, Report,
    Step, Sweeper, TimeRange, hold as holds,
};
use parking_lot::Mutex;
use world::{Chunks, Fault, S, Wire, at, chunk, compiled, hold, keep, options, run};

/// A world whose policies can be swapped.
struct World {
    chunks: MemoryChunks,
    state: MemoryState,
    policies: Arc<Mutex<Arc<PolicySet>>>,
}

impl World {
    fn new(chunks: &[Chunk]) -> Self {
        let store = MemoryChunks::new();
        chunks.iter().cloned().for_each(|chunk| store.insert(chunk));
        let policies = Arc::new(Mutex::new(compiled(&[keep("p", "{}", 100)])));
        Self { chunks: store, state: MemoryState::new(), policies }
    }

    fn of(ids: &[&str]) -> Self {
        Self::new(&ids.iter().map(|id| chunk("t", id, "a", 0, 10)).collect::<Vec<_>>())
    }

    fn set(&self, policies: &[Policy]) {
        *self.policies.lock() = compiled(policies);
    }

    fn sweeper(
        &self,
        options: Options,
    ) -> Sweeper<MemoryChunks, MemoryState, impl Fn() -> Arc<PolicySet> + use<>> {
        let policies = Arc::clone(&self.policies);
        Sweeper::new(self.chunks.clone(), self.state.clone(), move || policies.lock().clone(), options)
    }

    fn sweep(&self, options: Options, now: Now) -> Report {
        run(self.sweeper(options).sweep("t", || now)).unwrap().unwrap()
    }

    fn objects(&self) -> Vec<String> {
        self.chunks.objects().into_iter().map(|(_, id)| id).collect()
    }

    fn place(&self, hold: Hold) -> holds::Placed {
        run(holds::place(&self.state, hold)).unwrap().unwrap()
    }

    fn release(&self, id: &str) {
        let release = Release { at_ns: 0, reason: "settled".into() };
        run(holds::release(&self.state, id, release)).unwrap().unwrap();
    }

    fn outcomes(&self) -> Vec<(String, Option<Outcome>)> {
        let journal = run(self.state.journal(0, usize::MAX)).unwrap().unwrap();
        journal
            .into_iter()
            .map(|intent| (intent.chunk.id, intent.closed.map(|closed| closed.outcome)))
            .collect()
    }
}

#[test]
fn an_expired_chunk_is_marked_waits_its_delay_and_goes() {
    let world = World::of(&["1", "2", "3", "4"]);
    world.chunks.insert(chunk("t", "5", "a", 0, 200));
    let report = world.sweep(options(60), at(111));
    assert_eq!((report.marked, report.waiting, report.deleted.chunks), (4, 4, 0));
    let report = world.sweep(options(60), at(170));
    assert_eq!(
        (report.marked, report.waiting, report.deleted.chunks),
        (0, 4, 0),
        "the delay counts from the mark"
    );
    let report = world.sweep(options(60), at(171));
    assert_eq!((report.deleted.chunks, report.deleted.bytes, report.pass), (4, 40, 3));
    assert_eq!(world.objects(), ["5"]);
    assert_eq!(world.chunks.refs(), world.chunks.objects());
    assert!(world.outcomes().iter().all(|(_, outcome)| *outcome == Some(Outcome::Deleted)));
}

#[test]
fn a_chunk_is_expired_strictly_after_its_period() {
    let world = World::of(&["1"]);
    assert_eq!(world.sweep(options(0), at(110)).census.expired.chunks, 0);
    let one_later = Now::trusted(110 * S + 1, 0);
    assert_eq!(world.sweep(options(0), one_later).deleted.chunks, 1);
}

#[test]
fn a_longer_policy_takes_the_mark_away() {
    let world = World::of(&["1"]);
    world.sweep(options(60), at(111));
    world.set(&[keep("p", "{}", 1000)]);
    let report = world.sweep(options(60), at(500));
    assert_eq!((report.unmarked, report.deleted.chunks), (1, 0));
    world.set(&[keep("p", "{}", 100)]);
    assert_eq!(
        world.sweep(options(60), at(501)).waiting,
        1,
        "a policy shortened again starts its delay anew"
    );
}

#[test]
fn a_policy_that_is_gone_falls_back_and_no_policy_keeps() {
    let world = World::of(&["1"]);
    world.sweep(options(0), at(50));
    world.set(&[]);
    let report = world.sweep(options(0), at(9999));
    assert_eq!((report.census.kept.chunks, report.deleted.chunks), (1, 0));
}

#[test]
fn the_decision_is_made_again_between_mark_and_deletion() {
    let world = World::of(&["1", "2", "3"]);
    world.sweep(options(10), at(111));
    let sweeper = world.sweeper(options(10));
    run(async {
        let mut pass = sweeper.begin("t").await.unwrap();
        // Recovery, the page, the end of the listing: everything expired is marked and due.
        for _ in 0..3 {
            assert_eq!(pass.step(at(200)).await.unwrap(), Step::More);
        }
        assert_eq!(pass.step(at(200)).await.unwrap(), Step::More);
        assert_eq!(world.objects(), ["3"], "the first batch of two is gone");
        world.place(hold("h", "{}"));
        while pass.step(at(200)).await.unwrap() == Step::More {}
        assert_eq!((pass.report().unmarked, pass.report().deleted.chunks), (1, 2));
    })
    .unwrap();
    assert_eq!(world.objects(), ["3"]);
}

#[test]
fn a_held_chunk_stays_until_all_its_holds_are_released_and_its_age_counts_on() {
    let world = World::of(&["1"]);
    world.place(hold("h1", "{}"));
    world.place(hold("h2", r#"{app="a"}"#).within(TimeRange::covering(5 * S, 6 * S)));
    assert_eq!(world.sweep(options(0), at(500)).census.held.chunks, 1);
    world.release("h1");
    assert_eq!(world.sweep(options(0), at(501)).census.held.chunks, 1);
    world.release("h2");
    assert_eq!(world.sweep(options(0), at(502)).deleted.chunks, 1, "it had been old enough all the time");
}

#[test]
fn a_hold_answers_what_was_deleted_before_it() {
    let world = World::new(&[chunk("t", "1", "a", 0, 10), chunk("t", "2", "b", 0, 10)]);
    world.sweep(options(0), at(500));
    world.chunks.insert(chunk("t", "3", "a", 0, 10));
    let placed = world.place(hold("h", r#"{app="a"}"#));
    assert_eq!(placed.deleted.chunks, 1);
    assert_eq!(placed.deleted_chunks, [chunk("t", "1", "a", 0, 10)]);
    assert!(placed.in_flight.is_empty());
    assert_eq!(world.place(hold("h", r#"{app="a"}"#)), placed, "asking again answers the same");
    let other = run(holds::place(&world.state, hold("h", "{}"))).unwrap();
    assert!(matches!(other, Err(Error::HoldExists { .. })));
    world.release("h");
    let again = run(holds::place(&world.state, hold("h", r#"{app="a"}"#))).unwrap();
    assert!(matches!(again, Err(Error::HoldExists { .. })), "a released hold does not come back to life");
}

#[test]
fn a_release_needs_a_reason_and_happens_once() {
    let world = World::of(&[]);
    world.place(hold("h", "{}"));
    let release = |id: &str, reason: &str| {
        run(holds::release(&world.state, id, Release { at_ns: 7, reason: reason.into() })).unwrap()
    };
    assert!(matches!(release("h", ""), Err(Error::Invalid { what: "release reason", .. })));
    assert!(matches!(release("x", "settled"), Err(Error::HoldUnknown { .. })));
    assert!(release("h", "settled").is_ok());
    assert!(matches!(release("h", "settled"), Err(Error::HoldReleased { at_ns: 7, .. })));
}

/// An intent is durable, its references are gone, and then the process dies before the object is deleted.
fn interrupted(world: &World) {
    let wire = Wire::new(Some((0, Fault::CrashBefore)), false, |_, _| {});
    let policies = Arc::clone(&world.policies);
    let chunks = DiesDeleting { inner: world.chunks.clone(), wire };
    let sweeper = Sweeper::new(chunks, world.state.clone(), move || policies.lock().clone(), options(0));
    assert!(run(sweeper.sweep("t", || at(500))).is_none(), "it dies");
    assert!(world.chunks.refs().is_empty());
    assert_eq!(world.outcomes(), [("1".to_owned(), None)]);
}

struct DiesDeleting {
    inner: MemoryChunks,
    wire: Wire,
}

#[async_trait]
impl ChunkStore for DiesDeleting {
    async fn list(&self, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<Chunk>, Error> {
        self.inner.list(tenant, after, limit).await
    }

    async fn drop_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        self.inner.drop_refs(chunks).await
    }

    async fn restore_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        self.inner.restore_refs(chunks).await
    }

    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>> {
        Chunks { inner: self.inner.clone(), wire: self.wire.clone() }.delete(chunks).await
    }

    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>> {
        self.inner.head(chunks).await
    }
}

#[test]
fn an_interrupted_deletion_is_finished() {
    let world = World::of(&["1"]);
    interrupted(&world);
    assert_eq!(world.sweep(options(0), at(501)).deleted.chunks, 1);
    assert!(world.objects().is_empty());
    assert_eq!(world.outcomes(), [("1".to_owned(), Some(Outcome::Deleted))]);
}

#[test]
fn a_hold_placed_after_an_interruption_keeps_the_object_and_brings_its_references_back() {
    let world = World::of(&["1"]);
    interrupted(&world);
    let placed = world.place(hold("h", "{}"));
    assert_eq!(placed.in_flight, [chunk("t", "1", "a", 0, 10)]);
    assert_eq!(placed.deleted.chunks, 0);
    assert_eq!(world.sweep(options(0), at(501)).withheld, 1);
    assert_eq!(world.sweep(options(0), at(501)).census.held.chunks, 1);
    assert_eq!(world.chunks.refs(), world.chunks.objects());
    assert_eq!(world.objects(), ["1"]);
    assert_eq!(world.outcomes(), [("1".to_owned(), Some(Outcome::Withheld { hold: Some("h".into()) }))]);
    world.release("h");
    assert_eq!(world.sweep(options(0), at(502)).deleted.chunks, 1, "a chunk given back can go later");
}

#[test]
fn a_longer_policy_after_an_interruption_keeps_the_object_too() {
    let world = World::of(&["1"]);
    interrupted(&world);
    world.set(&[keep("p", "{}", 1000)]);
    assert_eq!(world.sweep(options(0), at(501)).withheld, 1);
    assert_eq!(world.chunks.refs(), world.chunks.objects());
    assert_eq!(world.outcomes(), [("1".to_owned(), Some(Outcome::Withheld { hold: None }))]);
}

#[test]
fn an_empty_listing_is_refused_and_leaves_the_marks() {
    let world = World::of(&["1"]);
    world.sweep(options(60), at(500));
    run(world.chunks.drop_refs(&[chunk("t", "1", "a", 0, 10)])).unwrap().unwrap();
    let report = world.sweep(options(60), at(600));
    assert_eq!((report.refusal, report.unmarked), (Some(Refusal::EmptyListing), 0));
    assert_eq!(world.objects(), ["1"]);
    run(world.chunks.restore_refs(&[chunk("t", "1", "a", 0, 10)])).unwrap().unwrap();
    assert_eq!(world.sweep(options(60), at(601)).deleted.chunks, 1);
}

#[test]
fn a_mark_whose_chunk_is_no_longer_listed_goes_and_the_object_stays() {
    let world = World::of(&["1", "2", "3", "4", "5"]);
    world.sweep(options(60), at(500));
    let gone = ["1", "3", "5"].map(|id| chunk("t", id, "a", 0, 10));
    run(world.chunks.drop_refs(&gone)).unwrap().unwrap();
    let report = world.sweep(options(60), at(600));
    assert_eq!((report.unmarked, report.deleted.chunks), (3, 2));
    assert_eq!(world.objects(), ["1", "3", "5"]);
}

#[test]
fn too_much_at_once_is_refused_until_it_is_allowed() {
    let ids: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    let world = World::of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    (10..20).for_each(|n| world.chunks.insert(chunk("t", &n.to_string(), "a", 0, 1000)));
    let guarded = |max_delete_fraction, guard_from_chunks| Options {
        max_delete_fraction,
        guard_from_chunks,
        ..options(0)
    };
    let report = world.sweep(guarded(0.4, 10), at(500));
    let refusal = Refusal::BlastRadius { expired_chunks: 10, listed_chunks: 20, max_fraction: 0.4 };
    assert_eq!((report.refusal, report.deleted.chunks), (Some(refusal), 0));
    assert_eq!(report.marked, 10, "the delay runs while someone looks into it");
    assert!(world.sweep(guarded(f64::NAN, 10), at(500)).refusal.is_some());
    assert_eq!(world.sweep(guarded(0.5, 10), at(500)).deleted.chunks, 10);
}

#[test]
fn the_guard_counts_bytes_too_and_lets_small_numbers_pass() {
    let world = World::of(&["1", "2", "3"]);
    world.chunks.insert(Chunk { size_bytes: 1000, ..chunk("t", "4", "a", 0, 10) });
    (5..9).for_each(|n| world.chunks.insert(chunk("t", &n.to_string(), "a", 0, 1000)));
    let guarded = |guard_from_chunks| Options { max_delete_fraction: 0.6, guard_from_chunks, ..options(0) };
    assert!(matches!(world.sweep(guarded(4), at(500)).refusal, Some(Refusal::BlastRadius { .. })));
    assert_eq!(world.sweep(guarded(5), at(500)).deleted.chunks, 4);
}

/// The guard of a real deployment, on a small scale: a fifth, from three chunks.
fn guarded(delay_s: u64) -> Options {
    Options { max_delete_fraction: 0.2, guard_from_chunks: 3, ..options(delay_s) }
}

#[test]
fn chunks_that_wait_out_their_delay_are_not_counted_against_every_pass() {
    let world = World::of(&[]);
    // One chunk every 10 s, kept for 100 s and marked for 50 s: a third of all is waiting at any time.
    for turn in 0..60 {
        world.chunks.insert(chunk("t", &format!("{turn:03}"), "a", turn * 10, turn * 10));
        let report = world.sweep(guarded(50), at(turn * 10));
        assert_eq!(report.refusal, None, "turn {turn}");
    }
    assert_eq!(world.objects().len(), 16, "the newest 10 and 1 on the edge are kept, 5 wait");
}

#[test]
fn a_burst_let_through_once_waits_out_its_delay_and_goes() {
    let world = World::new(&(0..10).map(|n| chunk("t", &n.to_string(), "a", 0, 1000)).collect::<Vec<_>>());
    ["a", "b", "c", "d"].iter().for_each(|id| world.chunks.insert(chunk("t", id, "a", 0, 10)));
    let refused = |s| world.sweep(guarded(60), at(s)).refusal;
    let expected = Some(Refusal::BlastRadius { expired_chunks: 4, listed_chunks: 14, max_fraction: 0.2 });
    assert_eq!((refused(500), refused(510)), (expected, expected));
    let raised = Options { max_delete_fraction: 0.3, ..guarded(60) };
    let report = world.sweep(raised, at(520));
    assert_eq!((report.refusal, report.waiting), (None, 4));
    // What else expires is counted alone.
    world.chunks.insert(chunk("t", "e", "a", 0, 410));
    assert_eq!(world.sweep(guarded(60), at(530)).refusal, None);
    assert_eq!(world.sweep(guarded(60), at(560)).deleted.chunks, 4, "the delay ran while it was refused");
    assert_eq!(world.sweep(guarded(60), at(590)).deleted.chunks, 1);
    assert_eq!(world.objects().len(), 10);
}

#[test]
fn a_mistaken_policy_is_refused_in_every_pass_and_nothing_of_it_goes() {
    let world =
        World::new(&(0..20).map(|n| chunk("t", &format!("{n:02}"), "a", 0, 1000)).collect::<Vec<_>>());
    (20..25).for_each(|n| world.chunks.insert(chunk("t", &n.to_string(), "b", 0, 10)));
    assert_eq!(world.sweep(guarded(60), at(1050)).refusal, None);
    world.set(&[keep("p", "{}", 10)]);
    for pass in 0..9 {
        let report = world.sweep(guarded(60), at(1060 + pass * 30));
        let expected = Refusal::BlastRadius { expired_chunks: 20, listed_chunks: 25, max_fraction: 0.2 };
        assert_eq!((report.refusal, report.deleted.chunks), (Some(expected), 0), "pass {pass}");
    }
    world.set(&[keep("p", "{}", 1000)]);
    let report = world.sweep(guarded(60), at(1400));
    assert_eq!(
        (report.refusal, report.unmarked, report.deleted.chunks),
        (None, 20, 5),
        "once it is put right"
    );
}

#[test]
fn a_chunk_that_another_sweeper_marks_behind_the_guard_is_left_to_the_next_pass() {
    let world = World::of(&["1", "2"]);
    (10..20).for_each(|n| world.chunks.insert(chunk("t", &n.to_string(), "b", 0, 490)));
    let sweeper = world.sweeper(guarded(0));
    run(async {
        let mut pass = sweeper.begin("t").await.unwrap();
        while !matches!(
            world.state.progress("t").await.unwrap().map(|p| p.phase),
            Some(Phase::Deleting { .. })
        ) {
            assert_eq!(pass.step(at(500)).await.unwrap(), Step::More);
        }
        world.set(&[keep("p", "{}", 5)]);
        let marks = (10..20).map(|n| {
            let (chunk, policy) = (chunk("t", &n.to_string(), "b", 0, 490), "p".to_owned());
            Change::PutMark(Mark { chunk, at_ns: 0, policy, cleared: false })
        });
        world.state.commit(&marks.collect::<Vec<_>>()).await.unwrap();
        while pass.step(at(500)).await.unwrap() == Step::More {}
        assert_eq!((pass.report().deleted.chunks, pass.report().waiting), (2, 10));
    })
    .unwrap();
    assert!(matches!(world.sweep(guarded(0), at(500)).refusal, Some(Refusal::BlastRadius { .. })));
    assert_eq!(world.objects().len(), 10);
}

#[test]
fn a_doubtful_clock_stops_everything_until_it_is_accepted() {
    let world = World::of(&["1"]);
    let sweeper = world.sweeper(options(0));
    let sweep = |now| run(sweeper.sweep("t", || now)).unwrap().unwrap();
    sweep(at(50));
    let reported = Now { health: ClockHealth::Doubtful, ..at(500) };
    assert_eq!(sweep(reported).refusal, Some(Refusal::ClockDoubt(ClockDoubt::Reported)));
    let jumped = Now::trusted(500 * S, u64::try_from(60 * S).unwrap());
    let by = Duration::from_secs(440);
    assert_eq!(sweep(jumped).refusal, Some(Refusal::ClockDoubt(ClockDoubt::JumpedForward { by })));
    assert_eq!(world.objects(), ["1"]);
    assert!(run(world.state.marks("t", None, None, 9)).unwrap().unwrap().is_empty());
    run(sweeper.accept_clock(jumped)).unwrap().unwrap();
    assert_eq!(sweep(jumped).deleted.chunks, 1);
}

#[test]
fn a_clock_behind_an_earlier_sweep_is_doubted_even_by_another_process() {
    let world = World::of(&["1"]);
    world.sweep(options(0), at(105));
    let back = Now::trusted(0, 0);
    let by = Duration::from_secs(105);
    assert_eq!(world.sweep(options(0), back).refusal, Some(Refusal::ClockDoubt(ClockDoubt::WentBack { by })));
    let sweeper = world.sweeper(options(0));
    run(sweeper.accept_clock(back)).unwrap().unwrap();
    assert_eq!(run(sweeper.sweep("t", || back)).unwrap().unwrap().refusal, None);
}

#[test]
fn a_mark_from_a_clock_that_was_ahead_starts_its_delay_anew() {
    let world = World::of(&["1"]);
    world.sweep(options(60), at(9000));
    let sweeper = world.sweeper(options(60));
    run(sweeper.accept_clock(at(500))).unwrap().unwrap();
    let sweep = |s| run(sweeper.sweep("t", || at(s))).unwrap().unwrap();
    assert_eq!((sweep(500).marked, sweep(559).waiting), (1, 1));
    assert_eq!(sweep(560).deleted.chunks, 1);
}

/// A store whose listing is whatever the test says.
struct Listing(MemoryChunks, Vec<Chunk>);

#[async_trait]
impl ChunkStore for Listing {
    async fn list(&self, _: &str, after: Option<&str>, _: usize) -> Result<Vec<Chunk>, Error> {
        Ok(if after.is_some() { Vec::new() } else { self.1.clone() })
    }

    async fn drop_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        self.0.drop_refs(chunks).await
    }

    async fn restore_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        self.0.restore_refs(chunks).await
    }

    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>> {
        self.0.delete(chunks).await
    }

    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>> {
        self.0.head(chunks).await
    }
}

fn sweep_listing(world: &World, listing: &[Chunk]) -> Result<Report, Error> {
    let chunks = Listing(world.chunks.clone(), listing.to_vec());
    let policies = world.policies.lock().clone();
    let sweeper = Sweeper::new(chunks, world.state.clone(), move || policies.clone(), options(0));
    run(sweeper.sweep("t", || at(500))).unwrap()
}

#[test]
fn a_chunk_listed_twice_is_deleted_once_and_kept_if_either_listing_says_so() {
    let world = World::of(&["1", "2"]);
    let once = chunk("t", "1", "a", 0, 10);
    let (old, new) = (chunk("t", "2", "a", 0, 10), chunk("t", "2", "a", 0, 480));
    let report = sweep_listing(&world, &[once.clone(), once, old.clone(), new]).unwrap();
    assert_eq!((report.census.listed.chunks, report.deleted.chunks), (2, 1));
    assert_eq!(world.objects(), ["2"]);
    assert_eq!(world.outcomes().len(), 1);
}

#[test]
fn a_listing_out_of_order_or_of_another_tenant_deletes_nothing() {
    let world = World::of(&["1", "2"]);
    let of = |tenant: &str, id: &str| chunk(tenant, id, "a", 0, 10);
    for listing in [[of("t", "2"), of("t", "1")], [of("t", "1"), of("u", "2")]] {
        assert!(matches!(sweep_listing(&world, &listing), Err(Error::Contract { .. })));
    }
    assert_eq!(world.objects(), ["1", "2"]);
}

#[test]
fn a_chunk_whose_labels_cannot_be_read_is_kept() {
    let world = World::of(&["1"]);
    let mut bad = chunk("t", "1", "a", 0, 10);
    bad.labels.push(("a".into(), "x".into()));
    let report = sweep_listing(&world, &[bad]).unwrap();
    assert_eq!((report.census.unreadable.chunks, report.deleted.chunks), (1, 0));
}

/// A store in which some objects can't be deleted, or nothing can be done at all.
struct Poisoned {
    inner: MemoryChunks,
    objects: &'static [&'static str],
    down: Arc<Mutex<bool>>,
}

impl Poisoned {
    fn refuses<T>(&self, chunk: &Chunk) -> Result<T, Error> {
        Err(Error::unavailable("deleting an object", format!("{} is locked", chunk.id)))
    }
}

#[async_trait]
impl ChunkStore for Poisoned {
    async fn list(&self, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<Chunk>, Error> {
        self.inner.list(tenant, after, limit).await
    }

    async fn drop_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        self.inner.drop_refs(chunks).await
    }

    async fn restore_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        self.inner.restore_refs(chunks).await
    }

    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>> {
        let mut answers = Vec::new();
        for chunk in chunks {
            let refused = *self.down.lock() || self.objects.contains(&chunk.id.as_str());
            if refused {
                answers.push(self.refuses(chunk));
            } else {
                answers.extend(self.inner.delete(std::slice::from_ref(chunk)).await);
            }
        }
        answers
    }

    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>> {
        let poisoned = |chunk: &Chunk| self.objects.contains(&chunk.id.as_str());
        let present = self.inner.head(chunks).await.into_iter().zip(chunks);
        present.map(|(answer, chunk)| if poisoned(chunk) { self.refuses(chunk) } else { answer }).collect()
    }
}

impl World {
    fn poisoned(
        &self,
        objects: &'static [&'static str],
        down: &Arc<Mutex<bool>>,
        options: Options,
    ) -> Sweeper<Poisoned, MemoryState, impl Fn() -> Arc<PolicySet> + use<>> {
        let chunks = Poisoned { inner: self.chunks.clone(), objects, down: Arc::clone(down) };
        let policies = Arc::clone(&self.policies);
        let options = Options { max_open_intents: 4, ..options };
        Sweeper::new(chunks, self.state.clone(), move || policies.lock().clone(), options)
    }

    fn intend(&self, id: &str) {
        let doomed = Doomed {
            chunk: chunk("t", id, "a", 0, 10),
            at_ns: 0,
            policy: "p".into(),
            keep_until_ns: 110 * S,
        };
        run(self.state.commit(&[Change::Intend(doomed)])).unwrap().unwrap();
    }
}

#[test]
fn an_object_that_cannot_be_deleted_does_not_hold_up_the_others_and_is_tried_again() {
    let world = World::of(&["1", "2", "3", "4"]);
    let sweeper = world.poisoned(&["1"], &Arc::default(), options(0));
    let sweep = || run(sweeper.sweep("t", || at(500))).unwrap().unwrap();
    let report = sweep();
    assert_eq!((report.deleted.chunks, report.failed), (3, 1));
    assert_eq!(report.last_failure.as_deref(), Some("deleting an object failed"));
    assert_eq!(world.outcomes()[0], ("1".to_owned(), None), "its intent stays open");
    world.chunks.insert(chunk("t", "5", "a", 0, 10));
    let report = sweep();
    assert_eq!((report.deleted.chunks, report.failed), (1, 1));
    assert_eq!(world.objects(), ["1"]);
    assert_eq!(world.sweep(options(0), at(501)).deleted.chunks, 1, "once it can be deleted it is");
    assert_eq!(world.outcomes()[0], ("1".to_owned(), Some(Outcome::Deleted)));
}

#[test]
fn a_store_that_is_down_is_reported_and_leaves_no_more_intents_open_than_allowed() {
    let ids: Vec<_> = (10..30).map(|n| n.to_string()).collect();
    let world = World::of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let down = Arc::new(Mutex::new(true));
    let sweeper = world.poisoned(&[], &down, options(0));
    for _ in 0..9 {
        let report = run(sweeper.sweep("t", || at(500))).unwrap().unwrap();
        assert_eq!((report.failed, report.deleted.chunks, report.waiting), (4, 0, 16));
        assert_eq!(report.last_failure.as_deref(), Some("deleting an object failed"));
    }
    assert_eq!(world.outcomes().len(), 4);
    *down.lock() = false;
    run(sweeper.sweep("t", || at(500))).unwrap().unwrap();
    assert!(world.objects().is_empty());
}

#[test]
fn objects_that_cannot_be_deleted_do_not_stop_a_tenant_even_as_a_whole_batch() {
    for batch in 1..=3 {
        let world = World::of(&["1", "2", "3", "4"]);
        let sweeper = world.poisoned(&["1", "2"], &Arc::default(), Options { batch, ..options(0) });
        let sweep = || run(sweeper.sweep("t", || at(500))).unwrap().unwrap();
        let report = sweep();
        assert_eq!((report.deleted.chunks, report.failed), (2, 2), "batches of {batch}");
        for id in ["5", "6"] {
            world.chunks.insert(chunk("t", id, "a", 0, 10));
            let report = sweep();
            assert_eq!(
                (report.marked, report.deleted.chunks, report.failed),
                (1, 1, 2),
                "batches of {batch}"
            );
        }
        assert_eq!(world.sweep(options(0), at(501)).deleted.chunks, 2, "once they can be deleted they are");
        assert!(world.objects().is_empty());
    }
}

#[test]
fn a_chunk_with_an_open_intent_is_not_intended_again() {
    let world = World::of(&["1", "2"]);
    // Still listed: the deletion died before its references were dropped, and nobody can tell of its object.
    world.intend("1");
    let sweeper = world.poisoned(&["1"], &Arc::default(), options(0));
    let report = run(sweeper.sweep("t", || at(500))).unwrap().unwrap();
    assert_eq!((report.marked, report.deleted.chunks, report.failed), (2, 1, 1));
    assert_eq!(world.outcomes(), [("1".to_owned(), None), ("2".to_owned(), Some(Outcome::Deleted))]);
    world.sweep(options(0), at(501));
    assert_eq!(world.outcomes()[0], ("1".to_owned(), Some(Outcome::Deleted)));
}

#[test]
fn a_step_that_failed_can_be_repeated_and_ends_what_it_began() {
    let world = World::of(&["1", "2", "3"]);
    // The calls to this store: the page, its end, and then the references of the first batch.
    let wire = Wire::new(Some((2, Fault::ErrorBefore)), false, |_, _| {});
    let chunks = Chunks { inner: world.chunks.clone(), wire };
    let policies = Arc::clone(&world.policies);
    let sweeper = Sweeper::new(chunks, world.state.clone(), move || policies.lock().clone(), options(0));
    run(async {
        let mut pass = sweeper.begin("t").await.unwrap();
        let mut failures = 0;
        loop {
            match pass.step(at(500)).await {
                Ok(Step::More) => {}
                Ok(Step::Done) => break,
                Err(_) => failures += 1,
            }
        }
        assert_eq!((failures, pass.report().deleted.chunks), (1, 3));
    })
    .unwrap();
    assert!(world.objects().is_empty());
}

#[test]
fn references_to_an_object_that_is_gone_go_too_unless_it_should_have_stayed() {
    for held in [false, true] {
        let world = World::of(&["1", "2"]);
        world.intend("1");
        run(world.chunks.delete(&[chunk("t", "1", "a", 0, 10)])).unwrap()[0].as_ref().unwrap();
        if held {
            world.place(hold("h", "{}"));
        }
        let report = world.sweep(options(999), at(500));
        assert_eq!((report.already_gone, report.withheld), (1, 0));
        assert_eq!(world.outcomes(), [("1".to_owned(), Some(Outcome::AlreadyGone))]);
        assert_eq!(world.chunks.refs().len(), if held { 2 } else { 1 }, "held: {held}");
    }
}

#[test]
fn tenants_are_swept_apart() {
    let world = World::of(&["1"]);
    world.chunks.insert(chunk("u", "1", "a", 0, 10));
    world.sweep(options(0), at(500));
    assert_eq!(world.chunks.objects(), [("u".to_owned(), "1".to_owned())]);
}

#[test]
fn a_pass_that_was_dropped_goes_on_where_it_stopped() {
    let world = World::of(&["1", "2", "3", "4", "5"]);
    let sweeper = world.sweeper(options(0));
    let report = run(async {
        let mut pass = sweeper.begin("t").await.unwrap();
        let _recovered = pass.step(at(500)).await.unwrap();
        let _marked = pass.step(at(500)).await.unwrap();
        assert_eq!(pass.report().marked, 3);
        drop(pass);
        let phase = world.state.progress("t").await.unwrap().unwrap().phase;
        assert_eq!(phase, Phase::Marking { after: Some("3".into()) });
        sweeper.sweep("t", || at(500)).await.unwrap()
    })
    .unwrap();
    assert_eq!(
        (report.pass, report.marked, report.census.listed.chunks, report.deleted.chunks),
        (1, 2, 5, 5)
    );
}
