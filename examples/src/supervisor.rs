//! Child processes of this program, one for each ingester: started, watched, started again, and stopped with it.
//!
//! A child says on its standard output where it listens. On its standard input it is told to stop; where that ends
//! without a word, the parent is dead and the child exits at once: so no child outlives its parent, however that dies.
//! Its log keeps what it had.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::federation::Children;
use crate::members::Members;
use crate::rpc::RemoteIngester;

/// What a process prints before the URL of its HTTP port.
pub const HTTP_LINE: &str = "listening on ";
/// What it prints behind that, before the address of its gRPC port.
pub const GRPC_LINE: &str = "gRPC on ";
/// What a child is told when it is to stop.
const STOP_LINE: &str = "stop\n";
/// How long a child may take until it listens: it replays its log first.
const START_TIMEOUT: Duration = Duration::from_secs(120);
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
    /// How long a child may take to stop.
    pub stop_timeout: Duration,
}

/// Where the parent keeps its children.
#[derive(Debug, Clone)]
pub struct Family {
    /// As ingesters.
    pub members: Members,
    /// As processes with metrics.
    pub children: Children,
}

/// The children.
#[derive(Debug)]
pub struct Supervisor {
    stop: watch::Sender<bool>,
    children: Vec<JoinHandle<bool>>,
}

impl Supervisor {
    /// Starts all children, and waits until each listens and is in the ring.
    ///
    /// # Errors
    /// A child that did not start.
    pub async fn start(options: Options, family: Family) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
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

    /// Stops all children and waits for them; whether every one stored what it had.
    pub async fn stop(self) -> bool {
        let _ = self.stop.send(true);
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
    family.members.join(&id, &addr, &zone, Arc::new(RemoteIngester::new(&addr)?))?;
    tracing::info!(id, addr, pid = child.id(), "ingester started");
    Ok(child)
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
    mut stopped: watch::Receiver<bool>,
) -> bool {
    let mut wait = RESTART_WAIT.0;
    loop {
        // Waiting for a child would close its standard input, and with that stop it.
        let stdin = child.stdin.take();
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = told(&mut stopped) => {
                return stop_child(&options, number, child, stdin, &family).await;
            }
        };
        family.children.remove(&id(number));
        tracing::warn!(id = id(number), ?ended, restart = options.restart, "ingester died");
        if !options.restart {
            told(&mut stopped).await;
            return false;
        }
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = told(&mut stopped) => return false,
            }
            wait = (wait * 2).min(RESTART_WAIT.1);
            match launch(&options, number, &family).await {
                Ok(child) => break child,
                Err(error) => {
                    tracing::warn!(id = id(number), error = %format_args!("{error:#}"), "ingester not started")
                }
            }
        };
        wait = RESTART_WAIT.0;
    }
}

/// Waits until the children are to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error means that the supervisor is gone, which is as good as being told.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn stop_child(
    options: &Options,
    number: usize,
    mut child: Child,
    stdin: Option<ChildStdin>,
    family: &Family,
) -> bool {
    if let Err(error) = family.members.leave(&id(number)) {
        tracing::warn!(%error, "ring not updated");
    }
    if let Some(mut stdin) = stdin {
        // A child that is gone already needs no telling.
        let _ = stdin.write_all(STOP_LINE.as_bytes()).await;
    }
    match tokio::time::timeout(options.stop_timeout, child.wait()).await {
        Ok(Ok(status)) => status.success(),
        _ => {
            tracing::warn!(id = id(number), "ingester did not stop in time");
            let _ = child.kill().await;
            false
        }
    }
}

/// For a child: ends when its parent tells it to stop.
///
/// Exits the process where the parent died without a word: nothing can be stored any more, since the index died with
/// it, and whoever starts the parent again needs the log's lock.
pub async fn told_to_stop() {
    let mut words = String::new();
    let read = tokio::io::stdin().read_to_string(&mut words).await;
    if read.is_err() || words != STOP_LINE {
        tracing::warn!("parent is gone");
        std::process::exit(1);
    }
}
