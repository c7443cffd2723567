//! How fast a tenant's shard is found, without a cache.
//!
//! `cargo bench -p forebay-ring --bench shard`.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use forebay_ring::shard::{Lookback, Query, Rendezvous};
use forebay_ring::{Instance, Membership, Options, Ring, State, TokenSet, random_tokens};

fn build(instances: usize, tokens: usize) -> Ring {
    let mut members = Membership::default();
    for number in 0..instances {
        let (id, zone) = (format!("ingester-{number:05}"), format!("zone-{}", number % 3));
        let tokens = random_tokens(&id, &zone, 0, tokens, &TokenSet::default()).unwrap();
        let instance =
            Instance { state: State::Active, zone: zone.as_str().into(), tokens, ..Instance::new(id, "") };
        members.observe(instance, 0);
    }
    Ring::build(&Options { zone_awareness: true, ..Options::default() }, &members, 0).unwrap()
}

fn shards(criterion: &mut Criterion) {
    let tenants: Vec<String> = (0..4_096).map(|number| format!("tenant-{number}")).collect();
    let mut next = 0;
    let mut tenant = || {
        next = (next + 1) % tenants.len();
        &*tenants[next]
    };
    for (instances, name) in [(99, "99x512"), (999, "999x512")] {
        let ring = build(instances, 512);
        for size in [3, 12, 30] {
            criterion.bench_function(&format!("walk/{size} of {name}"), |bencher| {
                bencher.iter(|| black_box(ring.shuffle_shard(tenant(), size)).len());
            });
            criterion.bench_function(&format!("rendezvous/{size} of {name}"), |bencher| {
                bencher.iter(|| {
                    let query = Query { tenant: tenant(), size, lookback: None };
                    black_box(ring.shard_by(&Rendezvous, &query)).len()
                });
            });
        }
        let lookback =
            Some(Lookback { period: Duration::from_secs(3_600), now_unix_ns: 1_700_000_000_000_000_000 });
        criterion.bench_function(&format!("walk with lookback/12 of {name}"), |bencher| {
            bencher.iter(|| {
                let query = Query { tenant: tenant(), size: 12, lookback };
                black_box(ring.shard_by(&forebay_ring::shard::TokenWalk, &query)).len()
            });
        });
        criterion.bench_function(&format!("with a ring/12 of {name}"), |bencher| {
            bencher.iter(|| ring.shuffle_shard(tenant(), 12).ring().token_count());
        });
    }
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(50);
    targets = shards
}
criterion_main!(all);
