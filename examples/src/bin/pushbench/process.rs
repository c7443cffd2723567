//! The server's process: started, stopped, and what the kernel says it used (`proc(5)`).

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use forebay_examples::supervisor::HTTP_LINE;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long it may take to serve.
const START: Duration = Duration::from_secs(30);
/// Linux tells times to user space in hundredths of a second, whatever its own tick.
const TICKS_PER_SECOND: u64 = 100;

/// A server to measure.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    pid: Option<u32>,
    started: Option<Started>,
}

/// Ours to stop. Dropped, it is killed and its directory removed.
#[derive(Debug)]
struct Started {
    child: Child,
    _data_dir: Directory,
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

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time of all its threads, in user space and in the kernel.
    pub(crate) cpu: Duration,
    /// The memory it has resident.
    pub(crate) rss_bytes: u64,
    /// The most memory it had resident.
    pub(crate) peak_rss_bytes: u64,
}

impl Server {
    /// A server that runs, as process `pid` where its use is to be measured.
    pub(crate) fn running(url: &str, pid: Option<u32>) -> Self {
        Self { url: url.to_owned(), pid, started: None }
    }

    /// Starts a pipeline with so many `copies` of each line, on an empty directory and a free port.
    pub(crate) async fn start(setup: &Setup, copies: u8) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("path of this program")?;
        let beside = own.parent().context("a program is in a directory")?;
        let program = setup.program.clone().unwrap_or_else(|| beside.join("pipeline"));
        let parent = setup.parent.as_deref().unwrap_or(beside);
        let data_dir = Directory::new(parent.join(format!("pushbench-{}", std::process::id()))).await?;
        let mut command = Command::new(&program);
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir.0);
        if let Some(ingesters) = setup.ingesters.or((copies > 1).then_some(copies)) {
            command.arg("--ingesters").arg(ingesters.to_string());
        }
        if copies > 1 {
            command.arg("--replication-factor").arg(copies.to_string());
        }
        let child = command
            .args(&setup.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.with_context(|| {
            format!("{} does not start, build it or name it by --pipeline", program.display())
        })?;
        let url = timeout(START, address(&mut child)).await;
        let url = url.with_context(|| format!("{} does not serve within {START:?}", program.display()))??;
        Ok(Self { url, pid: child.id(), started: Some(Started { child, _data_dir: data_dir }) })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it and its child processes used so far; `None` where its process is not known. The peaks of several
    /// processes are added, though they may lie at different times.
    pub(crate) async fn usage(&self) -> anyhow::Result<Option<Usage>> {
        let Some(pid) = self.pid else { return Ok(None) };
        let mut usage = Usage::of(&pid.to_string()).await?;
        for child in children(pid).await? {
            // One may end between the listing and the look at it.
            let Ok(used) = Usage::of(&child).await else { continue };
            usage.cpu += used.cpu;
            usage.rss_bytes += used.rss_bytes;
            usage.peak_rss_bytes += used.peak_rss_bytes;
        }
        Ok(Some(usage))
    }

    /// Stops what was started, and removes its directory. It is killed where that takes longer than `patience`.
    pub(crate) async fn stop(self, patience: Duration) -> anyhow::Result<()> {
        let Some(mut started) = self.started else { return Ok(()) };
        let pid = started.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(pid.context("the server has ended by itself")?, Signal::TERM)
            .context("stopping the server")?;
        match timeout(patience, started.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => {}
            Ok(status) => eprintln!("the server ended with {}", status?),
            Err(_) => {
                eprintln!("the server does not stop within {patience:?}, it is killed");
                started.child.kill().await?;
            }
        }
        Ok(())
    }
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

impl Usage {
    /// Of this process.
    pub(crate) async fn own() -> anyhow::Result<Self> {
        Self::of("self").await
    }

    async fn of(process: &str) -> anyhow::Result<Self> {
        let read = async |file: &str| {
            let path = format!("/proc/{process}/{file}");
            tokio::fs::read_to_string(&path).await.context(path)
        };
        let (stat, status) = (read("stat").await?, read("status").await?);
        let cpu = cpu(&stat).with_context(|| format!("no times in {stat:?}"))?;
        let memory = |field| memory(&status, field).with_context(|| format!("no {field} in {status:?}"));
        Ok(Self { cpu, rss_bytes: memory("VmRSS:")?, peak_rss_bytes: memory("VmHWM:")? })
    }
}

/// The processes that `pid` started and that still run.
async fn children(pid: u32) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut processes = tokio::fs::read_dir("/proc").await.context("/proc")?;
    while let Some(process) = processes.next_entry().await? {
        // A process may end between the listing and the look at it; and not every entry is a process.
        let Ok(stat) = tokio::fs::read_to_string(process.path().join("stat")).await else { continue };
        if parent(&stat) == Some(pid) {
            found.extend(process.file_name().into_string());
        }
    }
    Ok(found)
}

/// The fields behind the second, which is a name in brackets that may itself hold blanks and brackets.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
}

/// Field 4.
fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// User and system time, fields 14 and 15.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = fields(stat)?.skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
}

/// A field of a process' status that counts memory.
fn memory(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 150 900 900 20 0 4 0 100 0 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(4)));
        assert_eq!(parent(stat), Some(1));
        assert_eq!(cpu("7 (a) S 1"), None);
        assert_eq!(cpu(""), None);
    }

    #[test]
    fn memory_is_what_is_resident_and_the_high_water_mark_of_it() {
        let status = "VmHWM:\t  2048 kB\nVmRSS:\t  10 kB\n";
        assert_eq!(memory(status, "VmRSS:"), Some(10 << 10));
        assert_eq!(memory(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(memory("Name:\tcat\n", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn this_process_uses_memory() {
        let usage = Usage::own().await.unwrap();
        assert!(usage.rss_bytes > 100_000 && usage.peak_rss_bytes > 100_000, "{usage:?}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_child_is_found_while_it_runs() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id().unwrap().to_string();
        assert!(children(std::process::id()).await.unwrap().contains(&pid));
        drop(child.stdin.take());
        child.wait().await.unwrap();
        assert!(!children(std::process::id()).await.unwrap().contains(&pid));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_address_is_found_among_what_a_server_prints() {
        let print = |script: &str| {
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
        };
        let mut child = print("echo starting; echo listening on http://127.0.0.1:4321; cat");
        assert_eq!(address(&mut child).await.unwrap(), "http://127.0.0.1:4321");
        let error = address(&mut print("echo no; exit 3")).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
