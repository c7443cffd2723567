//! The server's process: started, stopped, and gone with all that it started before its directory is.
//!
//! It is told on its standard input when to end, as a pipeline tells its ingesters: so a script in between hears nothing
//! of it, and where this program dies, the server ends at once. What is left then is one process group, which is killed.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use forebay_examples::supervisor::{HTTP_LINE, order};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::usage::{Usage, runs};

/// How long it may take to serve.
const START: Duration = Duration::from_secs(30);
/// How long what was killed may still be there, and how often it is looked.
const GONE: Duration = Duration::from_secs(10);
const GONE_CHECK: Duration = Duration::from_millis(10);

/// A server to measure.
#[derive(Debug)]
pub(crate) enum Server {
    /// One that runs, as a process where its use is to be measured.
    Running { url: String, pid: Option<u32> },
    /// Ours to stop.
    Started(Box<Started>),
}

/// A pipeline of our own. Dropped, it ends: nobody holds its standard input any more.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    pid: u32,
    orders: ChildStdin,
    data_dir: Directory,
}

/// A directory that goes with its value.
#[derive(Debug)]
struct Directory(PathBuf);

/// How to start a pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// By default the `pipeline` beside this program.
    pub(crate) program: Option<PathBuf>,
    /// Where its directory is made, by default beside this program.
    pub(crate) parent: Option<PathBuf>,
    /// Child processes that keep lines; by default as many as there are copies, or none for a single one.
    pub(crate) ingesters: Option<u8>,
    /// More that it is told.
    pub(crate) arguments: Vec<String>,
}

impl Server {
    /// Starts a pipeline with so many `copies` of each line, on an empty directory and a free port.
    pub(crate) async fn start(setup: &Setup, copies: u8) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("path of this program")?;
        let beside = own.parent().context("a program is in a directory")?;
        let program = setup.program.clone().unwrap_or_else(|| beside.join("pipeline"));
        let parent = setup.parent.as_deref().unwrap_or(beside);
        let data_dir = Directory::new(parent.join(format!("pushbench-{}", std::process::id()))).await?;
        let mut command = Command::new(&program);
        command.args(["--child", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir.0);
        if let Some(ingesters) = setup.ingesters.or((copies > 1).then_some(copies)) {
            command.arg("--ingesters").arg(ingesters.to_string());
        }
        if copies > 1 {
            command.arg("--replication-factor").arg(copies.to_string());
        }
        command.args(&setup.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // The group keeps the interrupt of a terminal from it, too: it is stopped in order.
        let child = command.process_group(0).kill_on_drop(true).spawn();
        let mut child = child.with_context(|| {
            format!("{} does not start, build it or name it by --pipeline", program.display())
        })?;
        let pid = child.id().context("a process that nobody has waited for has a number")?;
        let orders = child.stdin.take().context("standard input is piped")?;
        Ok(Self::Started(Box::new(Started { child, pid, orders, data_dir })))
    }

    /// Where it listens, as soon as it does.
    pub(crate) async fn url(&mut self) -> anyhow::Result<String> {
        match self {
            Self::Running { url, .. } => Ok(url.clone()),
            Self::Started(started) => {
                let url = timeout(START, address(&mut started.child)).await;
                url.with_context(|| format!("the pipeline does not serve within {START:?}"))?
            }
        }
    }

    /// What it and its child processes used so far; `None` where its process is not known.
    pub(crate) async fn usage(&self) -> anyhow::Result<Option<Usage>> {
        match self {
            Self::Running { pid: None, .. } => Ok(None),
            Self::Running { pid: Some(pid), .. } => Usage::of_tree(*pid).await.map(Some),
            Self::Started(started) => Usage::of_tree(started.pid).await.map(Some),
        }
    }

    /// Stops what was started, and removes its directory once nothing of it runs. It is killed where that takes longer
    /// than `patience`, or once `hurry` ends.
    pub(crate) async fn stop(
        self,
        patience: Duration,
        hurry: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Self::Started(started) = self else { return Ok(()) };
        let Started { mut child, pid, mut orders, data_dir } = *started;
        let ended = match child.try_wait()? {
            Some(status) => Err(anyhow::anyhow!("the server has ended by itself, with {status}")),
            None => {
                // One that ends just now needs no telling.
                let _ = orders.write_all(order(patience / 10 * 9).as_bytes()).await;
                drop(orders);
                tokio::select! {
                    ended = timeout(patience, child.wait()) => match ended {
                        Ok(Ok(status)) if status.success() => {}
                        Ok(Ok(status)) => eprintln!("the server ended with {status}"),
                        Ok(Err(error)) => eprintln!("how the server ended is not known: {error}"),
                        Err(_) => eprintln!("the server does not stop within {patience:?}, it is killed"),
                    },
                    () = hurry => eprintln!("the server is killed"),
                }
                Ok(())
            }
        };
        end(&mut child, pid).await?;
        drop(data_dir);
        ended
    }
}

/// Kills what is left of the group `pid`, and waits until nothing is.
async fn end(child: &mut Child, pid: u32) -> anyhow::Result<()> {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process has a number above 0")?;
    let gone = async {
        while runs(pid).await? {
            // It may be gone by now.
            let _ = kill_process_group(group, Signal::KILL);
            tokio::time::sleep(GONE_CHECK).await;
        }
        child.wait().await?;
        anyhow::Ok(())
    };
    let gone = timeout(GONE, gone).await;
    gone.with_context(|| format!("processes of the group {pid} still run {GONE:?} after they were killed"))?
}

impl Directory {
    async fn new(path: PathBuf) -> anyhow::Result<Self> {
        tokio::fs::create_dir(&path)
            .await
            .with_context(|| format!("making the directory {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    #[expect(clippy::disallowed_methods, reason = "a value is dropped without a chance to wait")]
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("the directory {} stays: {error}", self.0.display());
        }
    }
}

/// The address that `child` prints; what it prints later is thrown away.
async fn address(child: &mut Child) -> anyhow::Result<String> {
    let mut lines = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
    while let Some(line) = lines.next_line().await? {
        let Some((_, url)) = line.split_once(HTTP_LINE) else { continue };
        let url = url.trim().to_owned();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        return Ok(url);
    }
    bail!("it ended with {} before it served", child.wait().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    }

    #[tokio::test]
    async fn the_address_is_found_among_what_a_server_prints() {
        let mut child = print("echo starting; echo listening on http://127.0.0.1:4321; cat");
        assert_eq!(address(&mut child).await.unwrap(), "http://127.0.0.1:4321");
        let error = address(&mut print("echo no; exit 3")).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
