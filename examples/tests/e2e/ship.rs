//! The agent and the pipeline, both as programs: what is written to a file is found by a query, once, whoever dies
//! meanwhile; and the way from a directory to a query, as the README has it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::lines::{count, values};
use crate::process::{PATIENCE, Setup, free_port, until};

/// A program of the agent's package, which is built beside the pipeline where the whole workspace is.
fn program(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_pipeline")).with_file_name(name);
    if !path.exists() {
        eprintln!("skipped: {} is not built: cargo build -p forebay-agent", path.display());
        return None;
    }
    Some(path)
}

fn append(path: &Path, lines: std::ops::Range<usize>) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for number in lines {
        writeln!(file, "line {number} of a log that is long enough to be told from others by its start")
            .unwrap();
    }
}

fn follow(ship: &Path, url: &str, logs: &Path) -> Child {
    Command::new(ship)
        .args(["-f", "--json", "--label", "app=load", "--url", url, "--positions"])
        .arg(logs.with_extension("positions"))
        .arg(logs)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_a_directory_is_found_once_although_agent_and_server_are_killed_in_turns() {
    let Some(ship) = program("ship") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (logs, listen) = (dir.path().join("logs"), format!("127.0.0.1:{}", free_port()));
    let (url, path) = (format!("http://{listen}"), logs.join("app.log"));
    std::fs::create_dir(&logs).unwrap();
    let setup = Setup::new(dir.path()).arguments(&["--listen", &listen]);
    let mut server = Some(setup.start().await);
    let mut agent = follow(&ship, &url, &logs);
    let all = r#"{app="load"}"#;
    let mut written = 0;
    for round in 0..6 {
        append(&path, written..written + 500);
        written += 500;
        if round % 2 == 0 {
            agent.kill().await.unwrap();
        } else {
            server.take().unwrap().kill().await;
        }
        append(&path, written..written + 100);
        written += 100;
        std::fs::rename(&path, logs.join(format!("app.log.{round}"))).unwrap();
        append(&path, written..written + 100);
        written += 100;
        if round % 2 == 0 {
            agent = follow(&ship, &url, &logs);
        } else {
            server = Some(setup.start().await);
        }
        let server = server.as_ref().unwrap();
        until("all lines are there", || async { count(server, all).await >= written as u64 }).await;
    }
    let server = server.unwrap();
    // One page holds them all; lines of different files may have one time.
    let query = "/loki/api/v1/query_range?query=%7Bapp%3D%22load%22%7D&limit=5000";
    let found = values(&server.json(query).await);
    let lines: std::collections::BTreeSet<&String> = found.iter().map(|(_, line)| line).collect();
    assert_eq!((lines.len(), found.len()), (written, written), "each once");
    assert_eq!(count(&server, all).await, written as u64);
}

/// What the README tells its readers to do in the section that has this title, a command each.
fn commands(section: &str) -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once(&format!("### {section}\n")).unwrap();
    let section = rest.split("\n### ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let joined = blocks.map(|block| block.replace("\\\n", " "));
    joined.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// What a command prints, which ends well.
async fn run(command: &str, dir: &Path) -> String {
    let shell = Command::new("sh").args(["-c", command]).current_dir(dir).stdin(Stdio::null()).output();
    let output = tokio::time::timeout(PATIENCE, shell).await.expect("it ends in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}: {}\n{said}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Copies the logs of this machine, as many of them as may be read, and puts one beside them that has an error.
fn copy_logs(to: &Path) {
    std::fs::create_dir(to).unwrap();
    let mut room = 8_u64 << 20;
    for entry in std::fs::read_dir("/var/log").into_iter().flatten().flatten() {
        let len = entry.metadata().map_or(0, |found| if found.is_file() { found.len() } else { 0 });
        if (1..room).contains(&len) && std::fs::copy(entry.path(), to.join(entry.file_name())).is_ok() {
            room -= len;
        }
    }
    std::fs::write(to.join("made.log"), "started\nan error of all errors\nstopped\n").unwrap();
}

#[tokio::test]
async fn the_way_from_a_directory_to_a_query_is_as_the_readme_has_it() {
    let programs = ["ship", "loggen"].map(|name| Some((name, program(name)?)));
    let Some(programs) = programs.into_iter().collect::<Option<Vec<_>>>() else { return };
    if let Err(error) = std::process::Command::new("curl").arg("--version").output() {
        eprintln!("skipped: curl: {error}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("log");
    copy_logs(&logs);
    let process = Setup::new(dir.path()).start().await;
    let here = |command: &String| {
        let mut command = command.replace("/var/log", logs.to_str().unwrap());
        for (name, path) in &programs {
            command =
                command.replace(&format!("cargo run --release --bin {name} --"), path.to_str().unwrap());
        }
        let url = format!("http://{}", process.address);
        assert!(!command.contains("cargo run"), "{command}");
        command
            .replace(
                &format!("{} ", programs[0].1.display()),
                &format!("{} --url {url} ", programs[0].1.display()),
            )
            .replace("http://127.0.0.1:3100", &url)
    };
    let commands = commands("From a directory of logs to a query");
    let (start, rest) = commands.split_first().unwrap();
    assert_eq!(start, "cargo run --release --bin pipeline");
    let mut printed = Vec::new();
    for command in rest.iter().filter(|command| !command.contains("loggen")) {
        printed.push(run(&here(command), dir.path()).await);
    }
    let [shipped, files, lines, counts] = &printed[..] else { panic!("{} commands", printed.len()) };
    assert!(shipped.contains("│ lines") && shipped.contains("│ refused"), "{shipped}");
    let made = format!("{}", logs.join("made.log").display());
    assert!(files.contains(&made), "{files}");
    let found = values(&serde_json::from_str(lines).unwrap());
    assert!(
        (1..=5).contains(&found.len()) && found.iter().all(|(_, line)| line.contains("error")),
        "{lines}"
    );
    let counts: serde_json::Value = serde_json::from_str(counts).unwrap();
    let series = counts["data"]["result"].as_array().unwrap();
    let of_made = series.iter().find(|series| series["metric"]["filename"] == made.as_str()).unwrap();
    assert_eq!(of_made["value"][1], "3");

    let made = rest.iter().find(|command| command.contains("loggen")).unwrap();
    let mut loggen = Command::new("sh")
        .args(["-c", &format!("exec {}", here(made))])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let file = dir.path().join("app.log");
    until("it makes lines", || async { std::fs::metadata(&file).is_ok_and(|found| found.len() > 1000) })
        .await;
    loggen.kill().await.unwrap();
}
