//! The push path on simulated disks, whole and from one seed: a distributor, three ingesters with a disk each that live in
//! a ring, one store, one querier, on a paused clock. Disks lose what was not synced, operations of disk, object store and
//! index fail, ingesters die in the middle of a push or of a flush and come back, those whose log failed leave the ring, and
//! the ring's store is away at times. Whatever happens, what was acknowledged is read back, each line once, and no index
//! entry leads to nothing.
//!
//! `FOREBAY_SEEDS=1000 cargo test --release --test simulation` runs more seeds; a failure names its seed.

#![expect(clippy::unwrap_used, reason = "tests: a failure is a panic")]

mod store;
mod world;

use std::time::Duration;

use world::{NODES, World};

fn simulate<T>(simulation: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(simulation)
}

fn run(seed: u64) -> Vec<u64> {
    simulate(async {
        let mut world = World::new(seed).await;
        for _ in 0..60 {
            world.step().await;
        }
        world.verify().await;
        // Everything loses power at once, then everything is stored.
        for node in 0..NODES {
            world.crash(node).await;
        }
        world.verify().await;
        world.flush().await;
        world.verify().await;
        world.history
    })
}

#[test]
fn what_was_acknowledged_is_read_back_once_whatever_fails() {
    let seeds = std::env::var("FOREBAY_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut acked = 0;
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        acked += outcome.unwrap_or_else(|_| panic!("seed {seed} fails")).iter().sum::<u64>();
    }
    assert!(acked > seeds * 100, "{acked} lines were acknowledged: the simulation does too little");
}

#[test]
fn one_seed_is_one_history() {
    assert_eq!(run(7), run(7));
}

/// How many chunks are in the object store and in the index once each ingester died at its `calls`-th call and came
/// back; `None` if none made so many calls.
fn die_while_storing(calls: u64, last_takes_effect: bool) -> Option<(usize, usize)> {
    simulate(async {
        let mut world = World::new(1).await;
        for _ in 0..40 {
            world.push(1).await;
        }
        for life in &world.lives {
            life.die_after(calls, last_takes_effect);
        }
        // Nothing is stored any more once they are dead, so they are not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(60), world.flush_all()).await;
        let died = world.lives.iter().any(|life| life.is_dead());
        let stored = world.stored().await;
        for node in 0..NODES {
            world.crash(node).await;
        }
        world.verify().await;
        world.flush().await;
        world.verify().await;
        died.then_some(stored)
    })
}

#[test]
fn a_crash_between_object_index_and_truncation_loses_and_doubles_nothing() {
    let (mut orphans, mut twice) = (0, 0);
    for last_takes_effect in [false, true] {
        let deaths = (0..).map_while(|calls| die_while_storing(calls, last_takes_effect));
        for (objects, indexed) in deaths {
            // The first: objects that nothing refers to. The second: the log was not truncated, so lines are found in
            // chunks and in memory.
            orphans += usize::from(objects > indexed);
            twice += usize::from(indexed > 0);
        }
    }
    assert!(orphans > 3 && twice > 3, "{orphans} and {twice}");
}
