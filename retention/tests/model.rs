//! Random lives of a sweeper: chunks arrive, policies change, holds come and go while sweeps run, stores fail,
//! clocks jump, processes die. Watched at every request:
//!
//! - R1: nothing is deleted that a hold matches which was placed before the request;
//! - R2: what is deleted has expired by the policies and the time of the request;
//! - R3, R4: nothing is deleted without a durable, open intent, nor before its references.
//!
//! And in the end every intent has one outcome, everything that is gone is in the journal, references and
//! objects agree, and all that may go has gone.

#![expect(clippy::unwrap_used, reason = "outside of test functions it is an assertion too")]

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use forebay_retention::store::{MemoryChunks, MemoryState, Outcome, StateStore};
use forebay_retention::{Chunk, Hold, Now, Policy, PolicySet, Refusal, Release, Sweeper, hold as holds};
use parking_lot::Mutex;
use proptest::prelude::*;
use world::{Chunks, Fault, S, State, Wire, chunk, compiled, hold, interleave, keep, options, run};

const APPS: [&str; 3] = ["a", "b", "c"];
const TENANTS: [&str; 2] = ["t", "u"];
const HOLDS: [&str; 5] = ["{}", r#"{app="a"}"#, r#"{app=~"a|b"}"#, r#"{app!="c"}"#, r#"{app="c"}"#];
const DELAY_S: u64 = 5;

#[derive(Debug, Clone)]
enum Op {
    Add {
        tenant: usize,
        app: usize,
        age_s: i64,
    },
    Policies(usize),
    Advance(i64),
    /// The wall clock alone; afterwards it is accepted.
    Jump(i64),
    Release(usize),
    /// Sweeps, placements and releases side by side, in the order of `schedule`, until they are done or one of
    /// the calls to a store goes wrong.
    Run {
        sweeps: Vec<usize>,
        places: Vec<usize>,
        release: Option<usize>,
        schedule: Vec<u8>,
        fault: Option<(u64, Fault)>,
    },
}

fn op() -> impl Strategy<Value = Op> {
    const FAULTS: [Fault; 5] =
        [Fault::CrashBefore, Fault::CrashAfter, Fault::ErrorBefore, Fault::ErrorAfter, Fault::Partial];
    let fault = prop::option::weighted(0.6, (0..40u64, prop::sample::select(&FAULTS[..])));
    let sweeps = prop::collection::vec(prop_oneof![4 => Just(0), 1 => Just(1)], 1..=3);
    let places = prop::collection::vec(0..HOLDS.len(), 0..=1);
    let release = prop::option::weighted(0.3, 0..8usize);
    let schedule = prop::collection::vec(any::<u8>(), 1..64);
    let add = (prop_oneof![3 => Just(0), 1 => Just(1)], 0..APPS.len(), 0..300i64)
        .prop_map(|(tenant, app, age_s)| Op::Add { tenant, app, age_s });
    let concurrent =
        (sweeps, places, release, schedule, fault).prop_map(|(sweeps, places, release, schedule, fault)| {
            Op::Run { sweeps, places, release, schedule, fault }
        });
    prop_oneof![
        4 => add,
        1 => (0..4usize).prop_map(Op::Policies),
        3 => (0..60i64).prop_map(Op::Advance),
        1 => prop_oneof![-500..-61i64, 61..500i64].prop_map(Op::Jump),
        2 => (0..8usize).prop_map(Op::Release),
        6 => concurrent,
    ]
}

fn policies(n: usize) -> Vec<Policy> {
    match n {
        0 => vec![keep("p", "{}", 100)],
        1 => vec![keep("p", "{}", 50), keep("a", r#"{app="a"}"#, 200).with_priority(1)],
        2 => vec![keep("b", r#"{app="b"}"#, 10)],
        _ => vec![keep("p", "{}", 30), keep("c", r#"{app="c"}"#, 0)],
    }
}

/// What the tests know without asking the crate.
struct Model {
    wall_s: i64,
    monotonic_s: i64,
    policies: Vec<Policy>,
    set: Arc<PolicySet>,
    /// Holds whose placement has returned and whose release has not been asked for.
    in_force: Vec<Hold>,
    /// Holds that may be in force: their placement was asked for.
    asked: Vec<Hold>,
    /// The ids whose release was asked for, perhaps before their placement returned.
    let_go: BTreeSet<String>,
    added: Vec<Chunk>,
    violations: Vec<String>,
}

impl Model {
    fn now(&self) -> Now {
        Now::trusted(self.wall_s * S, u64::try_from(self.monotonic_s * S).unwrap())
    }

    fn app(chunk: &Chunk) -> &str {
        &chunk.labels[0].1
    }

    /// The seconds that the winning policy keeps, by hand: the highest priority, then the longest; 0 is forever.
    fn expired(&self, chunk: &Chunk) -> bool {
        let labels = [("app", Self::app(chunk))];
        let matching = self.policies.iter().filter(|policy| policy.selector.matches(&labels));
        let winner = matching.max_by_key(|policy| (policy.priority, policy.retention));
        winner.is_some_and(|policy| match policy.retention {
            forebay_retention::Retention::Forever => false,
            forebay_retention::Retention::For(period) => {
                u128::try_from(self.wall_s * S - chunk.range.max_ns())
                    .is_ok_and(|age| age > period.get().as_nanos())
            }
        })
    }

    fn held<'h>(holds: &'h [Hold], chunk: &Chunk) -> Option<&'h Hold> {
        holds.iter().find(|hold| hold.selector.matches(&[("app", Self::app(chunk))]))
    }
}

struct World {
    model: Arc<Mutex<Model>>,
    chunks: MemoryChunks,
    state: MemoryState,
    next_id: usize,
}

type Tasks<'w> = Vec<Pin<Box<dyn Future<Output = ()> + 'w>>>;

impl World {
    fn new() -> Self {
        let model = Model {
            wall_s: 1000,
            monotonic_s: 0,
            policies: policies(0),
            set: compiled(&policies(0)),
            in_force: Vec::new(),
            asked: Vec::new(),
            let_go: BTreeSet::new(),
            added: Vec::new(),
            violations: Vec::new(),
        };
        Self {
            model: Arc::new(Mutex::new(model)),
            chunks: MemoryChunks::new(),
            state: MemoryState::new(),
            next_id: 0,
        }
    }

    /// The wire of one process, watching every request.
    fn wire(&self, fault: Option<(u64, Fault)>, yields: bool) -> Wire {
        let (model, chunks, state) = (Arc::clone(&self.model), self.chunks.clone(), self.state.clone());
        Wire::new(fault, yields, move |call, requested| {
            if call == "restore_refs" {
                return;
            }
            let open = run(state.open_intents(None, None, usize::MAX)).unwrap().unwrap();
            let refs = chunks.refs();
            let mut model = model.lock();
            for chunk in requested {
                let key = (chunk.tenant.clone(), chunk.id.clone());
                let mut violations = Vec::new();
                if !model.expired(chunk) {
                    violations.push("has not expired".to_owned());
                }
                if let Some(hold) = Model::held(&model.in_force, chunk) {
                    violations.push(format!("is held by {}", hold.id));
                }
                if !open.iter().any(|intent| intent.chunk == *chunk) {
                    violations.push("has no open intent".to_owned());
                }
                if call == "delete" && refs.contains(&key) {
                    violations.push("is still referred to".to_owned());
                }
                model
                    .violations
                    .extend(violations.into_iter().map(|what| format!("{call} of {key:?}: it {what}")));
            }
        })
    }

    fn sweeper(&self, wire: &Wire) -> Sweeper<Chunks, State, impl Fn() -> Arc<PolicySet> + use<>> {
        let model = Arc::clone(&self.model);
        let chunks = Chunks { inner: self.chunks.clone(), wire: wire.clone() };
        let state = State { inner: self.state.clone(), wire: wire.clone() };
        Sweeper::new(chunks, state, move || model.lock().set.clone(), options(DELAY_S))
    }

    fn add(&mut self, tenant: usize, app: usize, age_s: i64) {
        let max_s = self.model.lock().wall_s - age_s;
        let chunk = chunk(TENANTS[tenant], &format!("{:03}", self.next_id), APPS[app], max_s - 5, max_s);
        self.next_id += 1;
        self.chunks.insert(chunk.clone());
        self.model.lock().added.push(chunk);
    }

    /// A jump of the wall clock is noticed, and nothing is deleted, until someone accepts it.
    fn jump(&self, by_s: i64) {
        let sweeper = self.sweeper(&self.wire(None, false));
        let now = || self.model.lock().now();
        run(sweeper.accept_clock(now())).unwrap().unwrap();
        let before = self.chunks.objects();
        self.model.lock().wall_s += by_s;
        for tenant in TENANTS {
            let report = run(sweeper.sweep(tenant, now)).unwrap().unwrap();
            assert!(matches!(report.refusal, Some(Refusal::ClockDoubt(_))), "{report:?}");
        }
        assert_eq!(self.chunks.objects(), before);
        run(sweeper.accept_clock(now())).unwrap().unwrap();
    }

    async fn place(&self, state: &State, id: String, selector: usize) {
        let hold = hold(&id, HOLDS[selector]);
        self.model.lock().asked.push(hold.clone());
        if let Ok(placed) = holds::place(state, hold.clone()).await {
            let mut model = self.model.lock();
            // From here on R1 is watched. What the answer names is what the hold did not save.
            let before: Vec<_> =
                placed.in_flight.iter().chain(&placed.deleted_chunks).map(|chunk| &chunk.id).collect();
            let objects: BTreeSet<_> = self.chunks.objects().into_iter().map(|(_, id)| id).collect();
            for chunk in model.added.clone() {
                let matches = Model::held(std::slice::from_ref(&hold), &chunk).is_some();
                if matches && !objects.contains(&chunk.id) && !before.contains(&&chunk.id) {
                    model.violations.push(format!("hold {id} does not say that chunk {} is gone", chunk.id));
                }
            }
            if !model.let_go.contains(&id) {
                model.in_force.push(hold);
            }
        }
    }

    async fn release(&self, state: &State, nth: usize) {
        let hold = {
            let mut model = self.model.lock();
            if model.asked.is_empty() {
                return;
            }
            let n = nth % model.asked.len();
            let hold = model.asked[n].clone();
            model.in_force.retain(|other| other.id != hold.id);
            model.let_go.insert(hold.id.clone());
            hold
        };
        let _ = holds::release(state, &hold.id, Release { at_ns: 0, reason: "settled".into() }).await;
    }

    fn run(
        &mut self,
        sweeps: &[usize],
        places: &[usize],
        release: Option<usize>,
        schedule: &[u8],
        fault: Option<(u64, Fault)>,
    ) {
        let wire = self.wire(fault, true);
        let sweepers: Vec<_> = sweeps.iter().map(|_| self.sweeper(&wire)).collect();
        let state = State { inner: self.state.clone(), wire: wire.clone() };
        let first_hold = self.next_id;
        self.next_id += places.len();
        let this = &*self;
        let mut tasks: Tasks<'_> = Vec::new();
        for (&tenant, sweeper) in sweeps.iter().zip(&sweepers) {
            tasks.push(Box::pin(async move {
                let _ = sweeper.sweep(TENANTS[tenant], || this.model.lock().now()).await;
            }));
        }
        for (n, &selector) in places.iter().enumerate() {
            tasks.push(Box::pin(this.place(&state, format!("h{}", first_hold + n), selector)));
        }
        tasks.extend(
            release.map(|nth| Box::pin(this.release(&state, nth)) as Pin<Box<dyn Future<Output = ()> + '_>>),
        );
        let mut turns = schedule.iter().cycle();
        interleave(tasks, &wire, |tasks| usize::from(*turns.next().unwrap()) % tasks);
    }

    fn sweep_all(&self) {
        let sweeper = self.sweeper(&self.wire(None, false));
        for tenant in TENANTS {
            // The first may only finish what was cut.
            for _ in 0..2 {
                let report = run(sweeper.sweep(tenant, || self.model.lock().now())).unwrap().unwrap();
                assert!(matches!(report.refusal, None | Some(Refusal::EmptyListing)), "{report:?}");
            }
        }
    }

    /// No more faults: everything that may go goes, and then the books are checked.
    fn settle(&self) {
        self.sweep_all();
        let holds = run(self.state.holds()).unwrap().unwrap();
        let active: Vec<_> = holds.into_iter().filter(Hold::is_active).collect();
        let must_go: BTreeSet<_> = {
            let model = &mut *self.model.lock();
            let may_go = |chunk: &&Chunk| model.expired(chunk) && Model::held(&active, chunk).is_none();
            let must_go = model.added.iter().filter(may_go).map(|chunk| chunk.id.clone()).collect();
            model.wall_s += i64::try_from(DELAY_S).unwrap();
            model.monotonic_s += i64::try_from(DELAY_S).unwrap();
            must_go
        };
        self.sweep_all();
        let model = self.model.lock();
        assert_eq!(model.violations, [""; 0]);
        let journal = run(self.state.journal(0, usize::MAX)).unwrap().unwrap();
        assert!(journal.iter().all(|intent| intent.closed.is_some()), "an intent has no outcome");
        assert!(run(self.state.open_intents(None, None, 1)).unwrap().unwrap().is_empty());
        assert_eq!(self.chunks.refs(), self.chunks.objects());

        let objects: BTreeSet<_> = self.chunks.objects().into_iter().map(|(_, id)| id).collect();
        for chunk in &model.added {
            let gone = journal.iter().any(|intent| {
                let outcome = &intent.closed.as_ref().unwrap().outcome;
                intent.chunk.id == chunk.id && matches!(outcome, Outcome::Deleted | Outcome::AlreadyGone)
            });
            assert_eq!(gone, !objects.contains(&chunk.id), "the journal is wrong about {chunk:?}");
            assert!(gone || !must_go.contains(&chunk.id), "nothing keeps {chunk:?}, but it is still there");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_only_what_may_go_goes_and_nothing_unrecorded(ops in prop::collection::vec(op(), 1..25)) {
        let mut world = World::new();
        (0..6).for_each(|n| world.add(0, n % APPS.len(), 200));
        for op in ops {
            match op {
                Op::Add { tenant, app, age_s } => world.add(tenant, app, age_s),
                Op::Policies(n) => {
                    let mut model = world.model.lock();
                    model.policies = policies(n);
                    model.set = compiled(&policies(n));
                }
                Op::Advance(s) => {
                    let mut model = world.model.lock();
                    model.wall_s += s;
                    model.monotonic_s += s;
                }
                Op::Jump(by_s) => world.jump(by_s),
                Op::Release(nth) => {
                    let state = State { inner: world.state.clone(), wire: Wire::faultless() };
                    run(world.release(&state, nth)).unwrap();
                }
                Op::Run { sweeps, places, release, schedule, fault } => {
                    world.run(&sweeps, &places, release, &schedule, fault);
                }
            }
        }
        world.settle();
    }
}
