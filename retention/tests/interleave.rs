//! Two tasks on one state, switched at every pair of points: one runs for a while, then the other, then both in
//! turn. Finds what random schedules rarely hit: a hold that is placed, or a second sweeper that starts,
//! between any two calls of a sweeper.

#![expect(clippy::unwrap_used, reason = "outside of test functions it is an assertion too")]

#[path = "support/world.rs"]
mod world;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use forebay_retention::store::{MemoryChunks, MemoryState, StateStore};
use forebay_retention::{PolicySet, Sweeper, hold as holds};
use parking_lot::Mutex;
use world::{Chunks, Fault, State, Wire, at, chunk, compiled, hold, interleave, keep, options, run};

const FIRST_SWITCH: usize = 70;
const SECOND_SWITCH: [usize; 6] = [0, 1, 2, 4, 8, 1000];

/// Three expired chunks, due at 500 s.
struct World {
    chunks: MemoryChunks,
    state: MemoryState,
    placed: Arc<Mutex<bool>>,
    violations: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> Self {
        let chunks = MemoryChunks::new();
        ["1", "2", "3"].iter().for_each(|id| chunks.insert(chunk("t", id, "a", 0, 10)));
        Self { chunks, state: MemoryState::new(), placed: Arc::default(), violations: Arc::default() }
    }

    /// Marked long ago, and a deletion has died before its call number `call` had an effect.
    fn interrupted(call: u64) -> Self {
        let world = Self::new();
        let marking = world.wire(None, false);
        run(world.sweeper(&marking, 60).sweep("t", || at(400))).unwrap().unwrap();
        let dying = world.wire(Some((call, Fault::CrashBefore)), false);
        let _died = run(world.sweeper(&dying, 60).sweep("t", || at(500)));
        world
    }

    fn wire(&self, fault: Option<(u64, Fault)>, yields: bool) -> Wire {
        let (placed, violations, state) = (self.placed.clone(), self.violations.clone(), self.state.clone());
        Wire::new(fault, yields, move |call, chunks| {
            let open = run(state.open_intents(None, None, usize::MAX)).unwrap().unwrap();
            let deletes = call == "delete" || call == "drop_refs";
            for chunk in chunks.iter().filter(|_| deletes) {
                if *placed.lock() {
                    violations.lock().push(format!("{call} of chunk {}, which is held", chunk.id));
                }
                if !open.iter().any(|intent| intent.chunk == *chunk) {
                    violations.lock().push(format!("{call} of chunk {}, which has no open intent", chunk.id));
                }
            }
        })
    }

    fn sweeper(
        &self,
        wire: &Wire,
        delay_s: u64,
    ) -> Sweeper<Chunks, State, impl Fn() -> Arc<PolicySet> + use<>> {
        let chunks = Chunks { inner: self.chunks.clone(), wire: wire.clone() };
        let state = State { inner: self.state.clone(), wire: wire.clone() };
        let policies = compiled(&[keep("p", "{}", 100)]);
        Sweeper::new(chunks, state, move || policies.clone(), options(delay_s))
    }

    /// Polls the first task `a` times, the second `b` times, and then both in turn until they are done.
    fn switch(
        &self,
        wire: &Wire,
        tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>,
        (a, b): (usize, usize),
    ) {
        let mut tasks = tasks;
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        for (n, times) in [(0, a), (1, b)] {
            for _ in 0..times {
                if tasks[n].as_mut().poll(&mut cx).is_ready() {
                    tasks[n] = Box::pin(async {});
                }
            }
        }
        interleave(tasks, wire, |_| 0);
        assert_eq!(*self.violations.lock(), [""; 0], "switched after {a} and {b} polls");
    }

    /// Faultless passes, after which every intent has its outcome.
    fn finish(&self) {
        let wire = self.wire(None, false);
        let sweeper = self.sweeper(&wire, 0);
        for _ in 0..2 {
            run(sweeper.sweep("t", || at(600))).unwrap().unwrap();
        }
        assert_eq!(*self.violations.lock(), [""; 0]);
        let journal = run(self.state.journal(0, usize::MAX)).unwrap().unwrap();
        assert!(journal.iter().all(|intent| intent.closed.is_some()));
        assert_eq!(self.chunks.refs(), self.chunks.objects());
    }
}

/// Places a hold beside a sweeper, switching at every pair of points; answers how many objects survived at most
/// and at least.
fn hold_beside_a_sweep(make: impl Fn() -> World) -> (usize, usize) {
    let mut survivors = Vec::new();
    for a in 0..FIRST_SWITCH {
        for b in SECOND_SWITCH {
            let world = make();
            let wire = world.wire(None, true);
            let sweeper = world.sweeper(&wire, 0);
            let state = State { inner: world.state.clone(), wire: wire.clone() };
            let kept = Mutex::new(None);
            let sweep = async {
                // An error is a race that was lost; the next pass goes on.
                let _ = sweeper.sweep("t", || at(500)).await;
            };
            let place = async {
                let placed = holds::place(&state, hold("h", "{}")).await.unwrap();
                *world.placed.lock() = true;
                let objects = world.chunks.objects();
                let named = placed.in_flight.iter().chain(&placed.deleted_chunks);
                let gone_and_named = named.filter(|c| !objects.iter().any(|(_, id)| *id == c.id)).count();
                assert_eq!(objects.len() + gone_and_named, 3, "the answer names what is gone");
                *kept.lock() = Some(objects);
            };
            world.switch(&wire, vec![Box::pin(sweep), Box::pin(place)], (a, b));
            world.finish();
            let objects = world.chunks.objects();
            assert_eq!(
                Some(&objects),
                kept.lock().as_ref(),
                "what was there when the hold was placed is there"
            );
            survivors.push(objects.len());
        }
    }
    (survivors.iter().copied().max().unwrap(), survivors.iter().copied().min().unwrap())
}

#[test]
fn a_hold_placed_at_any_point_of_a_sweep_keeps_what_is_left() {
    assert_eq!(hold_beside_a_sweep(World::new), (3, 0), "the hold comes before all deletions, and after all");
}

#[test]
fn a_hold_placed_at_any_point_of_a_recovery_keeps_what_is_left() {
    let at_delete = (0..).find(|&call| {
        let world = World::interrupted(call);
        world.chunks.refs().len() == 1 && world.chunks.objects().len() == 3
    });
    assert_eq!(hold_beside_a_sweep(|| World::interrupted(at_delete.unwrap())), (3, 0));
}

#[test]
fn two_sweepers_switched_at_any_point_do_not_end_each_others_deletions() {
    for a in 0..FIRST_SWITCH {
        for b in (0..FIRST_SWITCH).step_by(7) {
            let world = World::new();
            let wire = world.wire(None, true);
            let (first, second) = (world.sweeper(&wire, 0), world.sweeper(&wire, 0));
            let sweep = async |sweeper: &Sweeper<_, _, _>| {
                let _ = sweeper.sweep("t", || at(500)).await;
            };
            world.switch(&wire, vec![Box::pin(sweep(&first)), Box::pin(sweep(&second))], (a, b));
            world.finish();
            assert!(world.chunks.objects().is_empty());
        }
    }
}
