//! Child processes of this program, one for each ingester: started, watched, started again, and stopped with it.
//!
//! A child says on its standard output where it listens. On its standard input it is told to stop, and how long that
//! may take; where that ends without a word, the parent is dead and the child exits at once: so no child outlives its
//! parent, however that dies. Its log keeps what it had.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use forebay_agent::clock::{Deadline, monotonic_ns};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::federation::Children;
use crate::ring::Cluster;

/// What a process prints before the URL of its HTTP port.
pub const HTTP_LINE: &str = "listening on ";
/// What it prints behind that, before the address of its gRPC port.
pub const GRPC_LINE: &str = "gRPC on ";
/// What a child is told when it is to stop, before the milliseconds that it may take.
const STOP_LINE: &str = "stop within ";
/// How long a child may take until it listens: it replays its log first.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take then until it is in the ring, besides what it is to wait, and how often it is looked whether it still lives.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const LIFE_CHECK: Duration = Duration::from_millis(100);
/// The first and the longest wait before a child that died is started again.
const RESTART_WAIT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How children are started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program.
    pub program: PathBuf,
    /// Arguments that all children get.
    pub arguments: Vec<String>,
    /// How many.
    pub count: usize,
    /// Whether a child that dies is started again.
    pub restart: bool,
    /// How long a child that listens is to wait before it joins.
    pub waits: Duration,
}

/// Where the parent keeps its children.
#[derive(Debug, Clone)]
pub struct Family {
    /// As ingesters.
    pub cluster: Cluster,
    /// As processes with metrics.
    pub children: Children,
}

/// The children.
#[derive(Debug)]
pub struct Supervisor {
    stop: watch::Sender<Option<Deadline>>,
    children: Vec<JoinHandle<bool>>,
}

impl Supervisor {
    /// Starts all children, and waits until each listens and is in the ring.
    ///
    /// # Errors
    /// A child that did not start.
    pub async fn start(options: Options, family: Family) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(None);
        let options = Arc::new(options);
        let starting = (0..options.count).map(|number| {
            let (options, family) = (Arc::clone(&options), family.clone());
            async move {
                let child = launch(&options, number, &family).await?;
                Ok::<_, anyhow::Error>((number, child))
            }
        });
        let started = futures_util::future::try_join_all(starting).await?;
        let watch = |(number, child)| {
            tokio::spawn(watch_child(Arc::clone(&options), number, child, family.clone(), stopped.clone()))
        };
        let children = started.into_iter().map(watch).collect();
        Ok(Self { stop, children })
    }

    /// Stops all children and waits for them; whether every one stored what it had. One that is still there when most
    /// of the time is over is killed, so that there is some left for the parent.
    pub async fn stop(self, deadline: Deadline) -> bool {
        let _ = self.stop.send(Some(deadline));
        let ended = futures_util::future::join_all(self.children).await;
        ended.into_iter().all(|clean| clean.unwrap_or(false))
    }
}

/// The name of child `number`; its directory, zone and place in the ring go by it.
fn id(number: usize) -> String {
    format!("ingester-{number}")
}

fn zone(number: usize) -> String {
    format!("zone-{number}")
}

async fn launch(options: &Options, number: usize, family: &Family) -> anyhow::Result<Child> {
    let (id, zone) = (id(number), zone(number));
    let mut child = Command::new(&options.program)
        .args(&options.arguments)
        .args([
            "--target",
            "ingester",
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--instance-id",
            &id,
            "--zone",
            &zone,
            "--child",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {id}"))?;
    let (url, addr) = tokio::time::timeout(START_TIMEOUT, addresses(&mut child))
        .await
        .with_context(|| format!("{id} did not listen within {START_TIMEOUT:?}"))?
        .with_context(|| format!("{id} ended before it listened"))?;
    family.children.insert(&id, &url)?;
    let patience = JOIN_TIMEOUT.saturating_add(options.waits);
    let joined = tokio::select! {
        joined = family.cluster.until_active(&id, Some(&addr), patience) => joined,
        () = died(&mut child) => false,
    };
    anyhow::ensure!(joined, "{id} did not join the ring at {addr} within {patience:?}, or ended before");
    tracing::info!(id, addr, pid = child.id(), "ingester started");
    Ok(child)
}

/// Waits until a child has ended, without taking its standard input from it.
async fn died(child: &mut Child) {
    while matches!(child.try_wait(), Ok(None)) {
        tokio::time::sleep(LIFE_CHECK).await;
    }
}

/// Reads what the child prints until it says where it listens: the URL of its HTTP port, the address of its gRPC port.
/// The rest is read and dropped, so that it never blocks.
async fn addresses(child: &mut Child) -> anyhow::Result<(String, String)> {
    let stdout = child.stdout.take().context("standard output is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut url = String::new();
    while let Some(line) = lines.next_line().await? {
        if let Some(http) = line.strip_prefix(HTTP_LINE) {
            http.clone_into(&mut url);
        } else if let Some(addr) = line.strip_prefix(GRPC_LINE) {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((url, addr.to_owned()));
        }
    }
    anyhow::bail!("its output ended")
}

/// Keeps one child alive until told to stop; whether it ended well.
async fn watch_child(
    options: Arc<Options>,
    number: usize,
    mut child: Child,
    family: Family,
    mut stopped: watch::Receiver<Option<Deadline>>,
) -> bool {
    let mut wait = RESTART_WAIT.0;
    loop {
        let started = monotonic_ns();
        // Waiting for a child would close its standard input, and with that stop it.
        let stdin = child.stdin.take();
        let ended = tokio::select! {
            ended = child.wait() => ended,
            deadline = told(&mut stopped) => return stop_child(number, child, stdin, deadline).await,
        };
        family.children.remove(&id(number));
        tracing::warn!(id = id(number), ?ended, restart = options.restart, "ingester died");
        if !options.restart {
            told(&mut stopped).await;
            return false;
        }
        wait = next_wait(wait, Duration::from_nanos(monotonic_ns().saturating_sub(started)));
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = told(&mut stopped) => return false,
            }
            wait = (wait * 2).min(RESTART_WAIT.1);
            let launched = tokio::select! {
                launched = launch(&options, number, &family) => launched,
                // Dropped, it is killed: it has taken nothing that its log did not have.
                _ = told(&mut stopped) => return false,
            };
            match launched {
                Ok(child) => break child,
                Err(error) => {
                    tracing::warn!(id = id(number), error = %format_args!("{error:#}"), "ingester not started")
                }
            }
        };
    }
}

/// How long to wait before a child is started that ended after it had `lived`: one that dies at once waits ever longer.
fn next_wait(wait: Duration, lived: Duration) -> Duration {
    if lived >= RESTART_WAIT.1 { RESTART_WAIT.0 } else { wait }
}

/// Waits until the children are to stop; by when.
async fn told(stopped: &mut watch::Receiver<Option<Deadline>>) -> Deadline {
    // An error means that the supervisor is gone, which is as good as being told, and there is no time left.
    stopped.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline).unwrap_or_default()
}

async fn stop_child(number: usize, mut child: Child, stdin: Option<ChildStdin>, deadline: Deadline) -> bool {
    let left = deadline.left();
    if let Some(mut stdin) = stdin {
        let order = order(left / 10 * 8);
        // A child that is gone already needs no telling.
        let _ = stdin.write_all(order.as_bytes()).await;
    }
    match tokio::time::timeout(left / 10 * 9, child.wait()).await {
        Ok(Ok(status)) => status.success(),
        _ => {
            tracing::warn!(id = id(number), "ingester did not stop in time");
            // One that waits for a stalled disk ends only when that answers.
            let _ = tokio::time::timeout(deadline.left() / 2, child.kill()).await;
            false
        }
    }
}

/// What a child is told on its standard input when it is to stop within `time`.
pub fn order(time: Duration) -> String {
    format!("{STOP_LINE}{} ms\n", time.as_millis())
}

/// The time that an [`order`] gives; `None` where it is none.
fn ordered(words: &str) -> Option<Duration> {
    words.strip_prefix(STOP_LINE)?.strip_suffix(" ms\n")?.parse().ok().map(Duration::from_millis)
}

/// For a child: ends when its parent tells it to stop; by when.
///
/// Exits the process where the parent died without a word: nothing can be stored any more, since the index died with
/// it, and whoever starts the parent again needs the log's lock.
pub async fn told_to_stop() -> Deadline {
    let mut words = String::new();
    let read = tokio::io::stdin().read_to_string(&mut words).await;
    match read.ok().and_then(|_| ordered(&words)) {
        Some(time) => Deadline::after(time),
        None => {
            tracing::warn!("parent is gone");
            std::process::exit(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_child_that_lived_is_started_again_at_once() {
        let long = RESTART_WAIT.1;
        assert_eq!(next_wait(long, Duration::from_secs(1)), long);
        assert_eq!(next_wait(long, long), RESTART_WAIT.0);
    }

    #[test]
    fn an_order_says_how_long_it_may_take_and_a_part_of_one_is_none() {
        let time = Duration::from_millis(7_500);
        let words = order(time);
        assert_eq!(ordered(&words), Some(time));
        for end in 0..words.len() {
            assert_eq!(ordered(&words[..end]), None, "{:?}", &words[..end]);
        }
    }
}
