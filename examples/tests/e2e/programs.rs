//! What the program does on its own and tells people about: the demo, as the README has it, and shipping files.

use std::path::Path;
use std::process::Stdio;

use http::StatusCode;
use serde_json::json;
use tokio::process::Command;

use crate::lines::start_ns;
use crate::process::{PATIENCE, Setup};

/// Runs the program with `arguments` until it ends; what it printed.
async fn run(arguments: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), &[arguments, &["--once"]].concat()).await
}

async fn run_in(data: &Path, arguments: &[&str]) -> (bool, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_pipeline"))
        .args(arguments)
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, child).await.expect("it ends in time").unwrap();
    let printed = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), printed)
}

/// The figure in the first row of a table that starts with `name`.
fn figure<'a>(printed: &'a str, name: &str) -> &'a str {
    let mut lines = printed.lines().map(|line| line.trim_start_matches(['│', ' ']));
    let row = lines.find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{printed}"));
    row.split('┆').nth(1).unwrap().trim_matches(['│', ' '])
}

#[tokio::test]
async fn the_demo_of_the_readme_stores_and_finds_what_it_made() {
    let readme = include_str!("../../../README.md");
    let command = "cargo run --release --bin pipeline -- ";
    let arguments = readme.lines().find_map(|line| line.strip_prefix(command)).unwrap();
    assert_eq!(arguments, "--demo", "the first command of the README");
    for more in [&[][..], &["--auth"], &["--ingesters", "2", "--replication-factor", "2"]] {
        let (clean, printed) = run(&[&["--demo", "--lines", "30000"], more].concat()).await;
        assert!(clean, "{printed}");
        let number = |name| figure(&printed, name).replace(',', "").parse::<u64>().unwrap();
        let (old, long) = (number("greater_than_max_sample_age"), number("line_too_long"));
        assert_eq!(number("lines accepted") + old + long, 30_000, "{printed}");
        assert!(old > 10 && long == 1, "{printed}");
        for name in ["log (WAL) syncs", "chunks", "compression ratio", "answer", "index lookup"] {
            assert!(!["-", "0"].contains(&figure(&printed, name)), "{name} in {printed}");
        }
        assert_eq!(printed.matches("\n  curl ").count(), 3, "{printed}");
    }
}

#[tokio::test]
async fn files_are_shipped_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.log");
    std::fs::write(&file, "one\ntwo\r\n\nthree, without an end").unwrap();
    let (clean, printed) = run(&["--ship", file.to_str().unwrap()]).await;
    assert!(clean, "{printed}");
    assert_eq!(figure(&printed, "lines accepted"), figure(&printed, "lines"), "{printed}");
    let (clean, printed) = run(&["--ship", "/nowhere/at.all"]).await;
    assert!(!clean && printed.contains("/nowhere/at.all"), "{printed}");
}

#[tokio::test]
async fn a_log_of_another_ingester_is_refused_and_left_as_it_is() {
    let long = "an-ingester-with-a-name-that-is-longer-than-forty-bytes";
    for (owner, other) in [("ingester-a", "ingester-b"), (long, "ingester-b"), ("ingester-b", long)] {
        let dir = tempfile::tempdir().unwrap();
        let as_instance = |id| Setup::new(dir.path()).arguments(&["--instance-id", id]);
        let process = as_instance(owner).start().await;
        let stream = json!({"stream": {"app": "a"}, "values": [[start_ns().to_string(), "one"]]});
        assert_eq!(process.push(&json!({"streams": [stream]})).await.status, StatusCode::NO_CONTENT);
        process.kill().await;
        let logs = dir.path().join("data/wal");
        std::fs::rename(logs.join(owner), logs.join(other)).unwrap();
        let (clean, printed) = run_in(&dir.path().join("data"), &["--instance-id", other]).await;
        assert!(!clean && printed.contains("is of the log"), "{printed}");
        std::fs::rename(logs.join(other), logs.join(owner)).unwrap();
        as_instance(owner).start().await.kill().await;
    }
}
