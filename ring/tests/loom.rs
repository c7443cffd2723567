//! The counters that many calls share, compiled with loom's lock in place of the real one: every interleaving of the
//! threads below is run.
//!
//! `cargo test -p forebay-ring --all-features --test loom` runs all; an argument picks the models whose name contains it,
//! and `--list` names them, as nextest asks.
#![expect(dead_code, unreachable_pub, reason = "the models use a part of these files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../src/quorum"]
mod quorum {
    pub(crate) mod finish;
    #[path = "../../tests/loom/sync.rs"]
    pub(crate) mod sync;
    pub(crate) mod targets;
}

// A model that is not in the list of all is not run: it shall not be silent.
#[deny(dead_code)]
#[path = "loom/models.rs"]
mod models;

use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `model` in every interleaving, and returns how many there were.
fn explore(model: fn()) -> usize {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    loom::model(move || {
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
    loom::model(|| {});
    let report = take_hook();
    set_hook(Box::new(|_| {}));
    let found = catch_unwind(|| explore(models::two_threads_that_look_before_they_take_take_too_much));
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
