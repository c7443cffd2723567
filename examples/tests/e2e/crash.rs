//! `kill -9` of the whole process, again and again, under load.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::lines::{Load, verify};
use crate::process::{PATIENCE, Setup, until};

/// How often the process is killed; `FOREBAY_KILLS` asks for more.
pub(crate) fn kills(default: u64) -> u64 {
    std::env::var("FOREBAY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// A moment between 20 and 400 ms, a different one each time and the same in each run.
pub(crate) fn moment(round: u64) -> Duration {
    Duration::from_millis(20 + round.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 380)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    // Small blocks and chunks, so that objects, index entries and truncations are under way at every moment.
    let setup = Setup::new(dir.path()).config(
        "ingester: {wal: {max_bytes: 4MiB}, chunk_block_size: 4KiB, chunk_target_size: 16KiB, flush_check_period: 100ms}",
    );
    let load = Load::new();
    for round in 0..kills(4) {
        let process = setup.start().await;
        let running = load.run(&process, 4, 50);
        tokio::time::sleep(moment(round)).await;
        process.kill().await;
        running.stop().await;
    }
    let process = setup.start().await;
    assert!(load.acked.len() > 100, "only {} lines were acknowledged", load.acked.len());
    verify(&process, &load.acked).await;
    process.flush().await;
    verify(&process, &load.acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_stores_everything_and_ends_with_zero() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path());
    let process = setup.start().await;
    let load = Load::new();
    let running = load.run(&process, 2, 20);
    until("some lines are acknowledged", || async { load.acked.len() > 100 }).await;
    running.stop().await;
    assert!(process.terminate().await.success());
    // What is stored needs no log any more.
    std::fs::remove_dir_all(dir.path().join("data/wal")).unwrap();
    verify(&setup.start().await, &load.acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_process_that_has_not_started_yet() {
    let dir = tempfile::tempdir().unwrap();
    let _has_the_log = Setup::new(dir.path()).start().await;
    let waits_for_the_log = Command::new(env!("CARGO_BIN_EXE_pipeline"))
        .args(["--target", "ingester", "--index", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = waits_for_the_log.id().unwrap();
    until("it listens for the signal", || async {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (15 - 1)) != 0
    })
    .await;
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::time::timeout(PATIENCE, waits_for_the_log.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && said.contains("before it had started"), "{said}");
}
