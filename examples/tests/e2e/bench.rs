//! The benchmark as a program: what it measures, and what it leaves behind, however it ends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::process::{PATIENCE, until};

/// A benchmark of `pipeline` whose directories are in `data`.
fn bench(pipeline: &Path, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushbench"));
    command.arg("--pipeline").arg(pipeline).arg("--data-dir").arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What the processes were started with that work in a directory of a benchmark in `data`.
fn processes(data: &Path) -> Vec<String> {
    let name = data.join("pushbench-").display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(&name)).collect()
}

fn nothing_is_left(data: &Path, told: &str) {
    assert_eq!(processes(data), [""; 0], "{told}");
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0, "{told}");
}

#[tokio::test]
async fn the_benchmark_measures_pushes_and_queries_and_leaves_nothing_behind() {
    let (data, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (csv, svg) = (kept.path().join("rss.csv"), kept.path().join("rss.svg"));
    let child = bench(Path::new(env!("CARGO_BIN_EXE_pipeline")), data.path())
        .args(["--scenario", "small", "--pushes", "300", "--replication-factor", "1,2", "--json"])
        .args(["--query", "15m {stream=\"s7\"}", "--every", "20ms", "--rss-every", "20ms"])
        .args(["--csv".as_ref(), csv.as_os_str(), "--svg".as_ref(), svg.as_os_str()])
        .output();
    let output = tokio::time::timeout(PATIENCE, child).await.expect("it ends in time").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let results = printed["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|one| &one["copies"]).collect::<Vec<_>>(), [1, 2]);
    for one in results {
        assert_eq!(
            (&one["lines"], &one["pushes"], &one["refused_pushes"]),
            (&json!(30_000), &json!(300), &json!(0))
        );
        assert!(
            one["mean_sync_ms"].as_f64().unwrap() > 0.0 && one["peak_rss_megabytes"].as_f64().unwrap() > 1.0
        );
        let query = &one["queries"][0];
        assert!(query["failures"] == 0 && query["answers"].as_u64().unwrap() > 0, "{query}");
    }
    nothing_is_left(data.path(), &errors);
    let csv = std::fs::read_to_string(csv).unwrap();
    assert!(csv.starts_with("seconds,rss_bytes,") && csv.lines().count() > 1, "{csv}");
    assert!(std::fs::read_to_string(svg).unwrap().contains("<polyline"));
}

async fn told_to_end(bench: Child) -> String {
    let pid = i32::try_from(bench.id().unwrap()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let output =
        tokio::time::timeout(PATIENCE, bench.wait_with_output()).await.expect("it ends in time").unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("interrupted"), "{told}");
    told
}

/// It was gone before its ingesters, whose directory it removed while they wrote to it; and of a script that did not
/// `exec` the pipeline, it ended the script alone.
#[tokio::test]
async fn an_interrupted_benchmark_ends_what_it_started_before_it_removes_the_directory() {
    let (data, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let script = scripts.path().join("under-a-profiler.sh");
    let pipeline = Path::new(env!("CARGO_BIN_EXE_pipeline"));
    std::fs::write(&script, format!("#!/bin/sh\n'{}' \"$@\"\nexit $?\n", pipeline.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for program in [pipeline, script.as_path()] {
        let mut command = bench(program, data.path());
        let copies = ["--scenario", "small", "--seconds", "600", "--replication-factor", "3"];
        let child = command.args(copies).spawn().unwrap();
        until("three ingesters keep lines", || async {
            processes(data.path()).iter().filter(|line| line.contains("ingester-")).count() == 3
        })
        .await;
        let told = told_to_end(child).await;
        nothing_is_left(data.path(), &told);
    }
}

/// What had been started was killed and not waited for.
#[tokio::test]
async fn a_benchmark_that_is_interrupted_while_its_pipeline_starts_leaves_nothing_either() {
    let data = tempfile::tempdir().unwrap();
    let child = bench(Path::new(env!("CARGO_BIN_EXE_pipeline")), data.path()).spawn().unwrap();
    until("it starts", || async { !processes(data.path()).is_empty() }).await;
    let told = told_to_end(child).await;
    nothing_is_left(data.path(), &told);
}

/// The pipeline went on listening, and nobody knew of it.
#[tokio::test]
async fn a_benchmark_that_is_killed_takes_its_pipeline_along() {
    let data = tempfile::tempdir().unwrap();
    let mut command = bench(Path::new(env!("CARGO_BIN_EXE_pipeline")), data.path());
    let mut child = command.args(["--scenario", "small", "--replication-factor", "2"]).spawn().unwrap();
    until("ingesters run", || async { processes(data.path()).len() == 3 }).await;
    child.kill().await.unwrap();
    until("they end by themselves", || async { processes(data.path()).is_empty() }).await;
}
