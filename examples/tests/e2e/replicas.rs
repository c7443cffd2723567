//! Three ingester processes that each hold every line: any of them may die, and one may lose its directory.

use crate::crash::{kills, moment};
use crate::lines::{Load, count, total, verify};
use crate::process::{PATIENCE, Process, Setup, free_port, text, until};
use crate::ring::{QUICK, started};

/// Waits until three ingesters get writes, which were started more often than `starts` in all.
async fn all_healthy(process: &Process, starts: u64) {
    until("three healthy ingesters", || async {
        process.json("/ring").await["healthy"] == 3 && started(process).await > starts
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_ingesters_may_die_at_any_time_and_lose_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let config = "ingester: {wal: {max_bytes: 8MiB}, chunk_block_size: 16KiB, chunk_target_size: 64KiB, flush_check_period: 200ms}";
    let setup =
        Setup::new(dir.path()).arguments(&["--ingesters", "3", "--replication-factor", "3"]).config(config);
    let process = setup.start().await;
    all_healthy(&process, 0).await;
    let load = Load::new();
    let running = load.run(&process, 4, 20);
    for round in 0..kills(3) {
        tokio::time::sleep(moment(round)).await;
        let children = process.children();
        assert_eq!(children.len(), 3, "children of {}", process.pid());
        let victim = children[usize::try_from(round % 3).unwrap()];
        let starts = started(&process).await;
        let pid = rustix::process::Pid::from_raw(victim).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let before = load.acked.len();
        until("pushes go on with two ingesters", || async { load.acked.len() > before + 100 }).await;
        until("a new child", || async {
            let now = process.children();
            now.len() == 3 && !now.contains(&victim)
        })
        .await;
        all_healthy(&process, starts).await;
    }
    running.stop().await;
    verify(&process, &load.acked).await;

    // Everything dies at once, and one log is gone for good.
    process.kill().await;
    std::fs::remove_dir_all(dir.path().join("data/wal/ingester-1")).unwrap();
    let process = setup.start().await;
    all_healthy(&process, 0).await;
    verify(&process, &load.acked).await;
    process.flush().await;
    verify(&process, &load.acked).await;
    for (id, had_lines) in [("ingester-0", true), ("ingester-1", false), ("ingester-2", true)] {
        let label = format!("instance=\"{id}\"");
        assert!(text(&process.get("/metrics").await).contains(&format!("forebay_wal_segments{{{label}}}")));
        assert_eq!(process.metric("forebay_chunk_stored_bytes_total", &label).await > 0.0, had_lines, "{id}");
    }
    // Every breaker is shown, from the start and not only from its first change on.
    let metrics = text(&process.get("/metrics").await);
    for name in ["ingester/ingester-0", "ingester/ingester-1", "ingester/ingester-2", "objects"] {
        assert!(metrics.contains(&format!("forebay_breaker_state{{name=\"{name}\"}} 0")), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_end_with_their_parent() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path()).arguments(&["--ingesters", "2", "--replication-factor", "1"]);
    let process = setup.start().await;
    let children = process.children();
    assert_eq!(children.len(), 2);
    process.kill().await;
    let alive = |pid: &i32| std::fs::metadata(format!("/proc/{pid}")).is_ok();
    until("the children end", || async { !children.iter().any(alive) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_died_stays_down_with_no_restart() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "3", "--replication-factor", "3", "--no-restart"];
    let process = Setup::new(dir.path()).arguments(&arguments).config(QUICK).start().await;
    all_healthy(&process, 0).await;
    let pid = rustix::process::Pid::from_raw(process.children()[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("two are healthy", || async { process.json("/ring").await["healthy"] == 2 }).await;
    let decided = |line: &String| line.contains("ingester died") && line.contains("restart=false");
    until("the supervisor decides", || async { process.log().iter().any(decided) }).await;
    assert_eq!(process.children().len(), 2);
    let load = Load::new();
    let running = load.run(&process, 2, 10);
    until("a quorum of two takes pushes", || async { load.acked.len() > 100 }).await;
    running.stop().await;
    verify(&process, &load.acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_take_grpc_ports_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let arguments = ["--ingesters", "2", "--replication-factor", "2"];
    let config = format!("server: {{grpc_listen_port: {port}}}");
    let process = Setup::new(dir.path()).arguments(&arguments).config(&config).start().await;
    assert_eq!(process.grpc().await, format!("127.0.0.1:{port}"));
    assert_eq!(process.json("/ring").await["healthy"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_somebody_stops_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "3", "--replication-factor", "1"];
    let process = Setup::new(dir.path()).arguments(&arguments).start().await;
    let load = Load::new();
    let running = load.run(&process, 2, 20);
    until("some lines are acknowledged", || async { load.acked.len() > 200 }).await;
    let (children, starts) = (process.children(), started(&process).await);
    let pid = rustix::process::Pid::from_raw(children[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    until("a new child", || async {
        let now = process.children();
        now.len() == 3 && !now.contains(&children[0])
    })
    .await;
    all_healthy(&process, starts).await;
    running.stop().await;
    verify(&process, &load.acked).await;
    assert!(process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_before_every_child_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let arguments = ["--ingesters", "3", "--replication-factor", "1", "--listen", &listen];
    let setup = Setup::new(dir.path()).arguments(&arguments);
    let process = setup.start().await;
    let load = Load::new();
    let running = load.run(&process, 4, 50);
    until("many lines are acknowledged", || async { load.acked.len() > 5000 }).await;
    running.stop().await;
    let (all, client) = (count(&process, r#"{app="load"}"#).await, process.client.clone());
    process.kill().await;

    let query = "/loki/api/v1/query?query=count_over_time(%7Bapp%3D%22load%22%7D%5B4h%5D)";
    let first = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Ok(response) = client.get(query).await
                && response.status == 200
            {
                return serde_json::from_slice::<serde_json::Value>(&response.body).unwrap();
            }
        }
    });
    let (_process, first) = tokio::join!(setup.start(), first);
    assert_eq!(total(&first.unwrap()), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_share_the_memory_that_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).arguments(&["--ingesters", "3"]).start().await;
    let limits = process.children().into_iter().map(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        let limit = line.split('\0').skip_while(|argument| *argument != "--memory-limit").nth(1);
        limit.unwrap().parse::<u64>().unwrap()
    });
    let (all, available) = (limits.sum::<u64>(), forebay_examples::memory::available());
    assert!(all <= available / 4 && all > available / 5, "{all} of {available}");
}
