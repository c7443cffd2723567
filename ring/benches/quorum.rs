//! What a write to, and a read of, replica sets costs beside the calls, which do nothing here.
//!
//! `cargo bench -p forebay-ring --all-features --bench quorum` runs all. `at_once` are calls that are answered when they
//! are first polled, and `waits` calls that yield once, for which there has to be a task each.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use forebay_ring::quorum::{
    BatchOptions, Family, ReadOptions, ReplicaResult, Targets, do_batch, do_until_quorum,
};
use forebay_ring::{Instance, Membership, Operation, Options, Ring, State, TokenSet, random_tokens};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

fn ring(instances: usize) -> Ring {
    let mut members = Membership::default();
    for number in 0..instances {
        let (id, zone) = (format!("ingester-{number:05}"), format!("zone-{}", number % 3));
        let tokens = random_tokens(&id, &zone, 0, 128, &TokenSet::default()).unwrap();
        let instance =
            Instance { state: State::Active, zone: zone.as_str().into(), tokens, ..Instance::new(id, "") };
        members.observe(instance, 0);
    }
    let options = Options { zone_awareness: true, ..Options::default() };
    Ring::build(&options, &members, 0).unwrap()
}

fn keys(count: u32) -> Vec<u32> {
    (0..count).map(|key| key.wrapping_mul(0x9e37_79b9)).collect()
}

fn runtimes() -> [(&'static str, Runtime); 2] {
    let one = Builder::new_current_thread().enable_time().build().unwrap();
    let many = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    [("one thread", one), ("two threads", many)]
}

fn batches(criterion: &mut Criterion) {
    let options = BatchOptions::new(Targets::default(), |_: &()| Family::Server);
    for (instances, count) in [(99, 100), (99, 1_000), (3, 100)] {
        let (ring, keys) = (ring(instances), keys(count));
        for (threads, runtime) in runtimes() {
            let name = |how: &str| format!("do_batch/{count} keys over {instances}x128/{how}/{threads}");
            criterion.bench_function(&name("at_once"), |bencher| {
                bencher.iter(|| {
                    let call = |_: &Instance, _| std::future::ready(ReplicaResult::Ok);
                    let outcome = runtime
                        .block_on(async { do_batch(&ring, Operation::WRITE, &keys, call, &options).await });
                    assert!(outcome.is_ok());
                });
            });
            criterion.bench_function(&name("waits"), |bencher| {
                bencher.iter(|| {
                    let call = |_: &Instance, _| async {
                        yield_now().await;
                        ReplicaResult::Ok
                    };
                    let outcome = runtime
                        .block_on(async { do_batch(&ring, Operation::WRITE, &keys, call, &options).await });
                    assert!(outcome.is_ok());
                });
            });
        }
    }
}

fn reads(criterion: &mut Criterion) {
    let options: ReadOptions<()> = ReadOptions::default();
    for instances in [3, 99] {
        let ring = ring(instances);
        let set = ring.replication_set_for(Operation::READ).unwrap();
        for (threads, runtime) in runtimes() {
            criterion.bench_function(
                &format!("do_until_quorum/{instances} in 3 zones/{threads}"),
                |bencher| {
                    bencher.iter(|| {
                        let call = |_: &Arc<Instance>, _| std::future::ready(Ok(1));
                        runtime.block_on(do_until_quorum(&set, &options, call, |_, _| ())).unwrap().len()
                    });
                },
            );
        }
    }
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(50);
    targets = batches, reads
}
criterion_main!(all);
