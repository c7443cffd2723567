//! Files that grow, are rotated and truncated while they are shipped, and agents that stop and start.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_agent::ship::pace::SteppedPace;
use forebay_agent::ship::{Options, Shipped};

use crate::server::{Answer, STORED, Server};
use crate::{agent, options};

fn append(path: &Path, lines: std::ops::Range<usize>) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for number in lines {
        writeln!(file, "line {number}").unwrap();
    }
}

fn numbered(lines: std::ops::Range<usize>) -> Vec<String> {
    lines.map(|number| format!("line {number}")).collect()
}

/// Follows `path`, and keeps offsets beside it.
fn following(url: &str, path: &Path) -> Options {
    let positions = Some(path.with_extension("positions"));
    Options { follow: true, positions, batch_bytes: 4 << 10, ..options(url, &[path]) }
}

async fn until(server: &Server, lines: usize) {
    server.until("all lines are there", |server| server.stored_lines().len() >= lines).await;
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
    lines
}

#[tokio::test]
async fn nothing_is_missed_or_repeated_over_rotation_truncation_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let server = Server::scripted(&[]).await;
    let run = || {
        let (agent, stop, _) = agent(following(&server.url, &path), &SteppedPace::default());
        (tokio::spawn(agent.run()), stop)
    };
    let (running, stop) = run();
    append(&path, 0..1_000);
    until(&server, 1_000).await;
    append(&path, 1_000..1_500);
    std::fs::rename(&path, dir.path().join("app.log.1")).unwrap();
    append(&path, 1_500..2_000);
    until(&server, 2_000).await;
    stop.stop();
    let shipped = running.await.unwrap().unwrap();
    assert_eq!((shipped.lines, shipped.undelivered_lines), (2_000, 0));

    // Nobody is there.
    append(&path, 2_000..2_100);
    std::fs::rename(&path, dir.path().join("app.log.2")).unwrap();
    append(&path, 2_100..2_200);
    let (running, stop) = run();
    until(&server, 2_200).await;
    // Copied and truncated.
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    append(&path, 2_200..2_300);
    until(&server, 2_300).await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert_eq!(sorted(server.stored_lines()), numbered(0..2_300));
    let labels =
        server.stored().into_iter().map(|entry| entry.labels).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(labels.len(), 1, "it is one stream, whatever the files are called: {labels:?}");
}

#[tokio::test]
async fn what_was_under_way_when_the_agent_stopped_is_sent_again_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    append(&path, 0..500);
    let server = Server::start(|_| Answer::Status(503, None, "full")).await;
    let address = server.address;
    let (agent_, stop, board) = agent(following(&server.url, &path), &SteppedPace::default());
    let running = tokio::spawn(agent_.run());
    server.until("it was tried", |server| server.pushes().len() > 2).await;
    // A1: one batch is held, and no more is read.
    let held = board.read();
    assert!((100..200).contains(&held.lines_under_way), "{held:?}");
    assert!(held.bytes_left > 3_000, "{held:?}");
    stop.stop();
    let shipped: Shipped = running.await.unwrap().unwrap();
    assert_eq!((shipped.lines, shipped.undelivered_lines), (0, held.lines_under_way));
    let before = server.pushes();
    assert!(before.iter().all(|push| push.entries == before[0].entries));
    drop(server);

    let server = Server::start_at(address, |_| STORED).await;
    let later = SteppedPace::default();
    later.advance(Duration::from_secs(3600));
    let (agent, stop, _) = agent(following(&server.url, &path), &later);
    let running = tokio::spawn(agent.run());
    until(&server, 500).await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert_eq!(server.pushes()[0].entries, before[0].entries, "times included");
    assert_eq!(server.stored_lines(), numbered(0..500));
}

#[tokio::test]
async fn a_run_that_does_not_follow_goes_on_where_the_last_one_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let server = Server::scripted(&[]).await;
    for lines in [0..10, 10..15, 15..15, 15..40] {
        append(&path, lines);
        let options = Options { follow: false, ..following(&server.url, &path) };
        let (agent, _stop, _) = agent(options, &SteppedPace::default());
        agent.run().await.unwrap();
    }
    assert_eq!(server.stored_lines(), numbered(0..40));
}

#[tokio::test]
async fn a_directory_is_followed_with_the_files_that_come_and_without_the_agents_own() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::scripted(&[]).await;
    let positions = dir.path().join("ship.json");
    let options =
        Options { follow: true, positions: Some(positions.clone()), ..options(&server.url, &[dir.path()]) };
    let (agent, stop, _) = agent(options, &SteppedPace::default());
    let running = tokio::spawn(agent.run());
    append(&dir.path().join("a"), 0..5);
    until(&server, 5).await;
    append(&dir.path().join("b"), 5..9);
    until(&server, 9).await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert_eq!(sorted(server.stored_lines()), numbered(0..9));
    assert!(positions.exists());
}

/// Each line came twice, once as a line of the copy.
#[tokio::test]
async fn a_directory_whose_logs_are_copied_and_truncated_is_shipped_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let server = Server::scripted(&[]).await;
    let options = Options { follow: true, ..options(&server.url, &[dir.path()]) };
    let (agent, stop, _) = agent(options, &SteppedPace::default());
    let running = tokio::spawn(agent.run());
    for (round, lines) in [0..100, 100..200, 200..300].into_iter().enumerate() {
        append(&path, lines.clone());
        until(&server, lines.end - 20).await;
        std::fs::copy(&path, dir.path().join(format!("app.log.{round}"))).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    }
    append(&dir.path().join("last.log"), 400..401);
    server
        .until("the last line is there", |server| server.stored_lines().contains(&"line 400".to_owned()))
        .await;
    stop.stop();
    running.await.unwrap().unwrap();
    let mut lines = server.stored_lines();
    lines.sort();
    let all = lines.len();
    lines.dedup();
    assert_eq!((all - lines.len(), lines.len()), (0, 301));
}

/// The server is away for longer than files have their names: once, who was rotated twice was never opened.
#[tokio::test]
async fn what_is_rotated_twice_while_the_server_is_away_is_not_missed() {
    for killed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (path, first, second) =
            (dir.path().join("app.log"), dir.path().join("app.log.1"), dir.path().join("app.log.2"));
        append(&path, 0..10);
        let back = Arc::new(AtomicBool::new(false));
        let is_back = Arc::clone(&back);
        let away = Answer::Status(503, None, "away");
        let server =
            Server::start(move |_| if is_back.load(Ordering::Relaxed) { STORED } else { away }).await;
        let pace = SteppedPace::default();
        let (agent_, stop, _) = agent(following(&server.url, &path), &pace);
        let running = tokio::spawn(agent_.run());
        let tried = async |more: usize| {
            let before = server.pushes().len();
            server.until("it is tried", |server| server.pushes().len() >= before + more).await;
        };
        tried(2).await;
        append(&path, 10..20);
        std::fs::rename(&path, &first).unwrap();
        append(&path, 20..30);
        tried(3).await;
        std::fs::rename(&first, &second).unwrap();
        std::fs::rename(&path, &first).unwrap();
        append(&path, 30..40);
        tried(3).await;
        let (running, stop) = if killed {
            running.abort();
            running.await.unwrap_err();
            let (agent, stop, _) = agent(following(&server.url, &path), &pace);
            (tokio::spawn(agent.run()), stop)
        } else {
            (running, stop)
        };
        back.store(true, Ordering::Relaxed);
        until(&server, 40).await;
        stop.stop();
        running.await.unwrap().unwrap();
        let mut stored = server.stored();
        stored.sort();
        stored.dedup();
        assert!(stored.iter().all(|entry| entry.labels == stored[0].labels), "one stream: {killed}");
        let lines = stored.into_iter().map(|entry| String::from_utf8(entry.line).unwrap()).collect();
        assert_eq!(sorted(lines), numbered(0..40), "{killed}");
    }
}
