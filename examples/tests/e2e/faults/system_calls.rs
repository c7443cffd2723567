//! System calls that fail, last, or are the last.

use http::StatusCode;

use super::strace::Strace;
use super::{BUSY, acknowledges, push};
use crate::lines::{Load, count, verify};
use crate::process::{Setup, text, until};

/// What writes to the log.
const WRITES: &str = "pwritev,pwrite64";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_ends_all_pushes_until_a_restart_has_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path());
    let (process, load) = (setup.start().await, Load::new());
    let running = load.run(&process, 2, 20);
    acknowledges(&load, 200).await;
    let Some(strace) = Strace::attach(&process, "fdatasync", "error=EIO:when=3").await else {
        return running.stop().await;
    };
    until("pushes are refused", || async { push(&process).await.status == StatusCode::SERVICE_UNAVAILABLE })
        .await;
    strace.detach().await;
    running.stop().await;
    let ready = process.get("/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(&ready).contains("log refuses writes since"), "{}", text(&ready));
    until("metrics say so", || async { process.metric("forebay_wal_poisoned", "").await == 1.0 }).await;
    assert_eq!(push(&process).await.status, StatusCode::SERVICE_UNAVAILABLE, "for good");
    verify(&process, &load.acked).await;
    process.kill().await;

    let process = setup.start().await;
    verify(&process, &load.acked).await;
    assert_eq!(push(&process).await.status, StatusCode::NO_CONTENT);
}

/// Not even those writes that take back what failed, as a disk that is only full does: see `bounds`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_write_at_all_refuses_pushes_and_a_restart_has_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path());
    let (process, load) = (setup.start().await, Load::new());
    let running = load.run(&process, 2, 20);
    acknowledges(&load, 200).await;
    let calls = format!("{WRITES},fallocate");
    let Some(strace) = Strace::attach(&process, &calls, "error=ENOSPC").await else {
        return running.stop().await;
    };
    until("pushes are refused", || async { push(&process).await.status != StatusCode::NO_CONTENT }).await;
    running.stop().await;
    let refusal = push(&process).await;
    assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE, "{}", text(&refusal));
    assert!(refusal.headers.contains_key("retry-after"));
    assert!(text(&refusal).contains("first failure: "), "{}", text(&refusal));
    verify(&process, &load.acked).await;
    strace.detach().await;
    process.kill().await;

    let process = setup.start().await;
    verify(&process, &load.acked).await;
    assert_eq!(push(&process).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_that_wait_for_a_slow_sync_share_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    assert_eq!(push(&process).await.status, StatusCode::NO_CONTENT);
    // Microseconds.
    let Some(_strace) = Strace::attach(&process, "fdatasync", "delay_enter=200000").await else { return };
    let before = process.metric("forebay_wal_syncs_total", "").await;
    let pushes = futures_util::future::join_all((0..32).map(|_| push(&process))).await;
    assert!(pushes.iter().all(|response| response.status == StatusCode::NO_CONTENT), "none is refused");
    // It brings the metrics up to date, too.
    process.flush().await;
    assert!(process.metric("forebay_wal_longest_sync_seconds", "").await >= 0.2);
    let syncs = process.metric("forebay_wal_syncs_total", "").await - before;
    assert!((1.0..=16.0).contains(&syncs), "{syncs} syncs for 32 pushes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_is_the_last_one_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (setup, load) = (Setup::new(dir.path()).config(BUSY), Load::new());
    // Of the log, of the index, of objects and their names.
    for (calls, when) in [
        (WRITES, 1),
        (WRITES, 25),
        ("fdatasync", 2),
        ("fsync", 1),
        ("fsync", 3),
        ("rename,renameat,renameat2", 1),
        ("openat", 5),
    ] {
        let process = setup.start().await;
        let running = load.run(&process, 4, 50);
        acknowledges(&load, 300).await;
        let strace = Strace::attach(&process, calls, &format!("signal=KILL:when={when}")).await;
        let killed = strace.is_some();
        if killed {
            process.ended().await;
        }
        running.stop().await;
        if !killed {
            return;
        }
    }
    let process = setup.start().await;
    verify(&process, &load.acked).await;
    process.flush().await;
    verify(&process, &load.acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_whose_disk_failed_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path());
    let process = setup.start().await;
    assert_eq!(push(&process).await.status, StatusCode::NO_CONTENT);
    process.flush().await;
    let load = Load::new();
    let running = load.run(&process, 1, 20);
    acknowledges(&load, 100).await;
    running.stop().await;
    let index = dir.path().join("data/index.redb");
    let calls = "pwrite64,fdatasync,fsync";
    let Some(strace) = Strace::attach_to(&process, index.to_str().unwrap(), calls, "error=EIO").await else {
        return;
    };
    let failed_and_mended = async {
        let told =
            |line: &String| line.contains("chunks not stored yet") && line.contains("index is unavailable");
        until("the index fails", || async { process.log().iter().any(told) }).await;
        let query = "/loki/api/v1/query_range?query=%7Bapp%3D%22load%22%7D";
        let told = process.get(query).await;
        assert!(told.status.is_server_error(), "no answer is better than half of one: {}", text(&told));
        strace.detach().await;
    };
    tokio::join!(process.flush(), failed_and_mended);
    verify(&process, &load.acked).await;
    process.kill().await;
    // What is stored needs no log any more.
    std::fs::remove_dir_all(dir.path().join("data/wal")).unwrap();
    let process = setup.start().await;
    verify(&process, &load.acked).await;
    assert_eq!(count(&process, r#"{app="single"}"#).await, 1);
}
