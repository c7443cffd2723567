//! The program: killed, told to stop, and what it prints.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use forebay_agent::random::Random;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::server::{Answer, PATIENCE, STORED, Server};

fn ship(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ship"));
    command.args(["--url", &server.url]).args(arguments).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn output(mut command: Command) -> (Output, String) {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, printed)
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Pushes until it is killed.
    left: u32,
    /// What becomes of the last one.
    last: Answer,
}

/// The agent dies by `kill -9` before, during and after the answer to a push, again and again, until one life is long
/// enough for what is left. Every line is stored, and what is stored twice has the same time, so that it is one entry.
#[tokio::test]
async fn killed_at_any_moment_it_loses_nothing_and_repeats_what_it_repeats_with_the_same_times() {
    const LINES: usize = 50_000;
    let dir = tempfile::tempdir().unwrap();
    let (log, positions) = (dir.path().join("app.log"), dir.path().join("positions.json"));
    let filler = "x".repeat(180);
    let lines = (0..LINES).map(|number| format!("line {number} {filler}\n")).collect::<String>();
    std::fs::write(&log, lines).unwrap();

    let plan = Arc::new(Mutex::new(Plan { left: 1, last: STORED }));
    let (kill, mut killing) = mpsc::unbounded_channel();
    let of_server = Arc::clone(&plan);
    let server = Server::start(move |_| {
        let mut plan = of_server.lock().unwrap();
        plan.left -= 1;
        if plan.left > 0 {
            return STORED;
        }
        plan.left = u32::MAX;
        kill.send(()).unwrap();
        plan.last
    })
    .await;
    let mut random = Random::new(7);
    let mut deaths = 0;
    loop {
        let last = [STORED, Answer::Silence, Answer::HalfStored, Answer::Cut][random.below(4) as usize];
        *plan.lock().unwrap() = Plan { left: 1 + random.below(3), last };
        let mut child = ship(&server, &["--positions", text(&positions), text(&log)]).spawn().unwrap();
        tokio::select! {
            ended = child.wait() => {
                assert!(ended.unwrap().success());
                break;
            }
            _ = killing.recv() => child.kill().await.unwrap(),
        }
        deaths += 1;
        assert!(deaths < 200, "it gets nowhere");
    }
    assert!(deaths >= 3, "{deaths}");
    let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for entry in server.stored() {
        times.entry(String::from_utf8(entry.line).unwrap()).or_default().push(entry.timestamp_ns);
    }
    assert_eq!(times.len(), LINES);
    let repeated = times.values().filter(|times| times.len() > 1).count();
    assert!(repeated > 0, "some batch was stored and not known to be");
    for (line, times) in times {
        assert!(times.iter().all(|time| *time == times[0]), "{line}: {times:?}");
    }
}

#[tokio::test]
async fn told_to_stop_it_delivers_what_it_has_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let (log, positions) = (dir.path().join("app.log"), dir.path().join("positions.json"));
    std::fs::write(&log, "one\ntwo\nhalf").unwrap();
    let server = Server::scripted(&[]).await;
    let arguments = ["-f", "--json", "--positions", text(&positions), text(&log)];
    let child = ship(&server, &arguments).spawn().unwrap();
    server.until("both lines", |server| server.stored_lines().len() == 2).await;
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!((&last["lines"], &last["bytes"], &last["trouble"]), (&2.into(), &8.into(), &Value::Null));
    assert_eq!(server.stored_lines(), ["one", "two"]);
}

#[tokio::test]
async fn what_was_shipped_is_shown_in_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("app.log");
    std::fs::write(&log, "one\ntwo\n").unwrap();
    let server =
        Server::scripted(&[Answer::Status(400, None, "1 of 2 lines were refused, 1 are stored")]).await;
    let (output, printed) =
        output(ship(&server, &["--label", "app=x", "--packing", "gzip", text(dir.path())])).await;
    assert!(output.status.success(), "{output:?}");
    for words in ["│ lines", "│ refused", "first refusal: 400 Bad Request: 1 of 2 lines"] {
        assert!(printed.contains(words), "{words}\n{printed}");
    }
    assert!(server.stored().is_empty() && server.pushes()[0].entries[0].labels.contains("\"app\":\"x\""));
}

#[tokio::test]
async fn what_is_wrong_is_said_and_ends_it() {
    let server = Server::scripted(&[]).await;
    let (output, _) = output(ship(&server, &["/no/such.log"])).await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/no/such.log cannot be read"), "{said}");
}

#[tokio::test]
async fn made_up_lines_are_pushed_or_written_and_shipped_as_they_are() {
    let server = Server::scripted(&[Answer::Status(503, None, "")]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_loggen"));
    command.args(["--lines", "2500", "--seed", "3", "--to", &server.url]);
    let (pushed, _) = output(command).await;
    assert!(pushed.status.success(), "{pushed:?}");
    assert_eq!(server.stored().len(), 2_500);
    assert!(server.stored()[0].labels.contains("stream=\"s"));

    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("app.log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loggen"));
    command.args(["--kind", "trace", "--lines", "500", "--to", text(&log)]);
    assert!(output(command).await.0.status.success());
    let server = Server::scripted(&[]).await;
    let arguments = ["--multiline", r"^\d{4}-", "--timestamp", "%Y-%m-%d %H:%M:%S,%f", text(&log)];
    let (shipped, printed) = output(ship(&server, &arguments)).await;
    assert!(shipped.status.success(), "{shipped:?}");
    let written = std::fs::read_to_string(&log).unwrap();
    assert_eq!(server.stored_lines().join("\n") + "\n", written, "{printed}");
    assert_eq!(server.stored().len(), 500, "a stack trace is one entry");
}
