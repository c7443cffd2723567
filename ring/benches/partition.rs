//! How fast a key finds its partition, among all and among a tenant's, and what a new snapshot costs.
//!
//! `cargo bench -p forebay-ring --bench partition`.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use forebay_ring::partition::{Owner, Partition, PartitionRing, PartitionState, Partitions};

fn view(count: u32, inactive: u32) -> Partitions {
    let mut view = Partitions::default();
    for number in 0..count {
        let state = if number < inactive { PartitionState::Inactive } else { PartitionState::Active };
        view.observe(Partition { state, ..Partition::new(number, 0) }).unwrap();
        view.observe(Owner::new(format!("ingester-{number}"), number, 0)).unwrap();
    }
    view
}

fn partitions(criterion: &mut Criterion) {
    let mut key = 0x9e37_79b9_u32;
    let mut draw = || {
        key ^= key << 13;
        key ^= key >> 17;
        key ^= key << 5;
        key
    };
    let tenants: Vec<String> = (0..4_096).map(|number| format!("tenant-{number}")).collect();
    let mut next = 0;
    for (count, inactive) in [(100, 0), (100, 10), (1_000, 0)] {
        let view = view(count, inactive);
        let ring = PartitionRing::build(&view).unwrap();
        let name = format!("{count} partitions, {inactive} inactive");
        criterion.bench_function(&format!("partition_for/{name}"), |bencher| {
            bencher.iter(|| black_box(ring.partition_for(draw())).is_ok());
        });
        let shard = ring.shuffle_shard("tenant", 12);
        criterion.bench_function(&format!("partition_for in a shard of 12/{name}"), |bencher| {
            bencher.iter(|| black_box(shard.partition_for(draw())).is_ok());
        });
        criterion.bench_function(&format!("shuffle_shard of 12/{name}"), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % tenants.len();
                black_box(ring.shuffle_shard(&tenants[next], 12)).len()
            });
        });
        criterion.bench_function(&format!("build/{name}"), |bencher| {
            bencher.iter(|| PartitionRing::build(&view).unwrap());
        });
        criterion.bench_function(&format!("updated/{name}"), |bencher| {
            bencher.iter(|| ring.updated(&view).unwrap());
        });
    }
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(50);
    targets = partitions
}
criterion_main!(all);
