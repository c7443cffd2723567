//! Told to stop while the store hangs.

use std::time::{Duration, Instant};

use super::acknowledges;
use crate::lines::{Load, verify};
use crate::process::Setup;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_the_store_hangs_ends_in_time_and_not_with_zero_and_the_log_has_all() {
    let dir = tempfile::tempdir().unwrap();
    let compactor = Setup::new(&dir.path().join("index")).arguments(&["--target", "compactor"]).start().await;
    let index = compactor.grpc().await;
    let setup =
        Setup::new(&dir.path().join("all")).arguments(&["--index", &index]).config("shutdown_timeout: 2s");
    let process = setup.start().await;
    let load = Load::new();
    let running = load.run(&process, 2, 20);
    acknowledges(&load, 200).await;
    running.stop().await;
    let pid = rustix::process::Pid::from_raw(compactor.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let told = Instant::now();
    let ended = process.terminate().await;
    assert!(ended.code().is_some_and(|code| code != 0), "{ended}");
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();

    let process = setup.start().await;
    verify(&process, &load.acked).await;
    process.flush().await;
    verify(&process, &load.acked).await;
    assert!(process.terminate().await.success());
}
