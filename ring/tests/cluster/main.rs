//! A whole cluster from one seed: instances that join, leave, crash and come back, clocks that run apart, a store
//! that stalls, is cut off or loses everything. No acknowledged write is ever missing from a read that succeeds.
//!
//! What a deployment has to keep for that to hold, and what this does:
//! - a write needs a quorum of `WRITE`, in replica sets over zones;
//! - a read asks all instances that the ring shows, JOINING ones too, and succeeds while no more than one zone has
//!   an instance that does not answer;
//! - whoever's view is older than 2 s serves nothing, and an instance stays JOINING for longer than that;
//! - readers were watching when the store lost everything: one that begins to watch later does not know of instances
//!   that have not come back to it yet;
//! - an instance drains to storage that all can read before it is LEFT, and nobody is forgotten with data on it.
//!
//! `FOREBAY_SEED=17 cargo test -p forebay-ring --test cluster` replays one seed and tells what happened.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod node;
mod store;
mod world;

use world::World;

#[test]
fn no_acknowledged_write_is_ever_missing_from_a_read_that_succeeds() {
    if let Some(seed) = std::env::var("FOREBAY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let world = World::run(seed, true);
        println!("{:?}", world.counts);
        return;
    }
    let mut counts = world::Counts::default();
    for seed in 0..60 {
        counts += World::run(seed, false).counts;
    }
    // A simulation in which nothing happens proves nothing.
    println!("{counts:?}");
    assert!(counts.acknowledged > 5_000 && counts.reads > 10_000, "{counts:?}");
    assert!(counts.refused_writes > 100 && counts.failed_reads > 100, "{counts:?}");
    assert!(counts.joined > 300 && counts.left > 50 && counts.crashed > 200, "{counts:?}");
    assert!(counts.stalls > 50 && counts.losses > 20, "{counts:?}");
}

#[test]
fn a_seed_replays_to_the_last_event() {
    for seed in 0..5 {
        assert_eq!(World::run(seed, false).history(), World::run(seed, false).history(), "seed {seed}");
    }
    assert_ne!(World::run(0, false).history(), World::run(1, false).history());
}
