//! The log on the real kernel: killed, short of space, failed by system calls, cut off from power, and among pipes.
//!
//! This binary starts itself as the process that things happen to; what that one has been promised comes back line by
//! line and is held against what an opening finds. A test that the machine cannot run prints why and passes.
//! `WAL_KILLS=1000` and `WAL_POWER_CUTS=100` make that many rounds of those that end in chance, `WAL_EXHAUSTIVE=1` strikes
//! every system call and not only a sample.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "the files here are real")]

#[path = "kernel/full.rs"]
mod full;
#[path = "kernel/kill.rs"]
mod kill;
#[path = "kernel/machine.rs"]
mod machine;
#[path = "kernel/pipes.rs"]
mod pipes;
#[path = "kernel/power.rs"]
mod power;
#[path = "kernel/promise.rs"]
mod promise;
#[path = "kernel/strace.rs"]
mod strace;
#[path = "kernel/writer.rs"]
mod writer;

#[test]
#[ignore = "the other process of the tests here, which start it themselves"]
fn the_other_process() {
    let Some((role, dir)) = machine::role() else { return };
    match role.as_str() {
        "live" => writer::live(&dir),
        "script" => writer::script(&dir),
        "crowd" => writer::crowd(&dir),
        "open" => writer::open(&dir),
        "fill" => full::fill(&dir),
        "limited" => full::limited(&dir),
        "unplugged" => power::unplugged(&dir),
        "copied" => power::copied(&dir),
        other => panic!("no role is called {other}"),
    }
}
