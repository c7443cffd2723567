//! How fast a key finds its replicas, and a ring its next snapshot.
//!
//! `cargo bench -p forebay-ring --bench lookup` runs all; `--bench lookup -- get` some. `partition_point` is a binary
//! search over the same tokens for the same keys: the yardstick of the machine.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::HashSet;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use forebay_ring::{
    BatchPlan, Instance, Membership, Operation, Options, Require, Ring, State, Token, TokenSet, random_tokens,
};

const SECOND_NS: u64 = 1_000_000_000;

/// Many enough that no cache and no predictor learns them.
const KEYS: usize = 1 << 16;

fn members(instances: usize, tokens: usize, zones: usize) -> Membership {
    let mut members = Membership::default();
    // A token that two claim would make every change of their states one of the topology.
    let mut taken = HashSet::new();
    for number in 0..instances {
        let (id, zone) = (format!("ingester-{number:05}"), format!("zone-{}", number % zones));
        let tokens = random_tokens(&id, &zone, 0, tokens, &TokenSet::default()).unwrap();
        let tokens = tokens.iter().copied().filter(|&token| taken.insert(token)).collect();
        let instance =
            Instance { state: State::Active, zone: zone.as_str().into(), tokens, ..Instance::new(id, "") };
        members.observe(instance, SECOND_NS);
    }
    members
}

fn leaving(members: &Membership, zone: &str) -> Membership {
    let mut changed = members.clone();
    for member in members.iter().filter(|member| *member.instance.zone == *zone) {
        let version = member.instance.version.next();
        let record = Instance { state: State::Leaving, version, ..Instance::clone(&member.instance) };
        changed.observe(record, SECOND_NS);
    }
    changed
}

fn build(members: &Membership) -> Ring {
    let options = Options { zone_awareness: true, ..Options::default() };
    Ring::build(&options, members, 2 * SECOND_NS).unwrap()
}

/// Keys one after another, without end.
struct Keys {
    keys: Vec<u32>,
    next: usize,
}

impl Keys {
    fn new() -> Self {
        let mut state = 0x9e37_79b9_u32;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        Self { keys: (0..KEYS).map(|_| draw()).collect(), next: 0 }
    }

    fn draw(&mut self) -> u32 {
        self.next = (self.next + 1) % KEYS;
        self.keys[self.next]
    }
}

const SIZES: [(usize, usize, &str); 3] = [(99, 128, "99x128"), (99, 512, "99x512"), (999, 512, "999x512")];

fn lookups(criterion: &mut Criterion) {
    let mut keys = Keys::new();
    for (instances, tokens, name) in SIZES {
        let members = members(instances, tokens, 3);
        let ring = build(&members);
        let all = members.tokens();
        criterion.bench_function(&format!("partition_point/{name}"), |bencher| {
            bencher.iter(|| {
                let key = keys.draw();
                all.partition_point(|&token| token <= key)
            });
        });
        criterion.bench_function(&format!("owner/{name}"), |bencher| {
            bencher.iter(|| black_box(ring.owner(keys.draw())).is_some());
        });
        for (op, of) in [(Operation::WRITE, "get"), (Operation::READ, "get_read")] {
            criterion.bench_function(&format!("{of}/{name}"), |bencher| {
                bencher.iter(|| black_box(ring.get(keys.draw(), op)).is_ok());
            });
        }
        let away = build(&leaving(&members, "zone-1"));
        // With three zones such a write fails, as too few are left; without extension it does not.
        for (op, of) in [(Operation::WRITE, "write"), (Operation::WRITE_NO_EXTEND, "write_no_extend")] {
            criterion.bench_function(&format!("get_one_zone_leaving/{name}/{of}"), |bencher| {
                bencher.iter(|| black_box(away.get(keys.draw(), op)).is_ok());
            });
        }
    }
    let away = build(&leaving(&members(1_200, 128, 4), "zone-1"));
    criterion.bench_function("get_one_zone_leaving/1200x128 in 4 zones/write", |bencher| {
        bencher.iter(|| black_box(away.get(keys.draw(), Operation::WRITE)).is_ok());
    });
}

fn plans(criterion: &mut Criterion) {
    let ring = build(&members(100, 128, 3));
    let mut keys = Keys::new();
    let mut plan = BatchPlan::default();
    for count in [100, 1_000] {
        criterion.bench_function(&format!("plan/{count} keys over 100x128"), |bencher| {
            let batches: Vec<Vec<u32>> = (0..64).map(|_| (0..count).map(|_| keys.draw()).collect()).collect();
            let mut next = 0;
            bencher.iter(|| {
                next = (next + 1) % batches.len();
                ring.plan_batch(&batches[next], Operation::WRITE, Require::Quorum, &mut plan);
                plan.calls().len()
            });
        });
    }
}

fn growth(criterion: &mut Criterion) {
    let mut keys = Keys::new();
    for instances in [10, 30, 100, 300, 1_000, 3_000, 10_000] {
        let ring = build(&members(instances, 128, 3));
        criterion.bench_function(&format!("growth/{instances}x128"), |bencher| {
            bencher.iter(|| black_box(ring.get(keys.draw(), Operation::WRITE)).is_ok());
        });
    }
}

fn updates(criterion: &mut Criterion) {
    let members = members(500, 512, 3);
    let ring = build(&members);
    let changed = leaving(&members, "zone-1");
    criterion.bench_function("with_health/500x512", |bencher| {
        bencher.iter(|| ring.with_health(3 * SECOND_NS));
    });
    criterion.bench_function("updated/500x512", |bencher| {
        bencher.iter(|| ring.updated(&changed, 3 * SECOND_NS).unwrap());
    });
    criterion.bench_function("build/500x512", |bencher| bencher.iter(|| build(&members)));
    assert!(ring.updated(&changed, 0).unwrap().shares_topology(&ring));
    assert!(ring.owner(Token(7)).is_some());
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(50);
    targets = lookups, plans, growth, updates
}
criterion_main!(all);
