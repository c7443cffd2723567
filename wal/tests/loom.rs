//! What threads of a log share, compiled with loom's atomics and locks in place of the real ones: every interleaving of
//! the threads below is run, up to so many preemptions, with every value that the memory orderings permit to be
//! read.
//!
//! `LOOM_MAX_PREEMPTIONS=5 cargo test -p forebay-wal --test loom` looks further than the default of 3; an argument picks
//! the models whose name contains it, and `--list` names them, as nextest asks.
#![expect(dead_code, unused_imports, unreachable_pub, reason = "the models use a part of these files")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

// A model that is not in the list of all is not run: it shall not be silent.
#[deny(dead_code)]
#[path = "loom/models.rs"]
mod models;
#[path = "loom/stand_ins.rs"]
mod stand_ins;
#[path = "loom/sync.rs"]
mod sync;

/// The crate's own files, and what these need.
#[path = "../src"]
mod src {
    pub(crate) mod commit;
    pub(crate) mod compressed;
    pub(crate) mod control;
    pub(crate) mod durability;
    pub(crate) mod error;
    pub(crate) mod features;
    pub(crate) mod follow;
    pub(crate) mod format;
    pub(crate) mod frame;
    pub(crate) mod frames;
    pub(crate) mod header;
    pub(crate) mod intake;
    pub(crate) mod lasts;
    pub(crate) mod lsn;
    pub(crate) mod parker;
    pub(crate) mod payload;
    pub(crate) mod policy;
    pub(crate) mod progress;
    pub(crate) mod record;
    pub(crate) mod request;
}

use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use src::durability::Durability;
use src::lsn::Lsn;
// Under the names that they have in the crate.
use src::{
    commit, compressed, control, error, features, follow, format, frame, frames, header, intake, lasts,
    parker, payload, policy, progress, record, request,
};
use stand_ins::{codec, options, segment, truncate};

/// Runs `model` in every interleaving, and returns how many there were.
fn explore(model: fn()) -> usize {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    runs.load(Ordering::Relaxed)
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        let models = models::ALL.iter().filter(|_| !has("--ignored"));
        models.for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-')).map_or("", String::as_str);
    // A loom that finds nothing would find nothing here either.
    // Loom's threads end by panics that its own hook, which the first model sets, does not show.
    loom::model(|| {});
    let report = take_hook();
    set_hook(Box::new(|_| {}));
    let found = catch_unwind(|| explore(models::a_wait_without_a_second_look_is_never_woken));
    set_hook(report);
    assert!(found.is_err(), "loom explores no interleavings");
    for (name, model) in models::ALL {
        if name.contains(wanted) {
            let runs = explore(*model);
            assert!(runs > 1, "{name} has only one interleaving");
            println!("{name}: {runs} interleavings");
        }
    }
}
