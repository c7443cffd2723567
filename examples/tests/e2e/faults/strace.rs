//! `strace` on a process that runs: from then on some of its system calls fail, last, or are its last.

use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::machine::skipped;
use crate::process::{PATIENCE, Process, until};

pub(super) struct Strace(Child);

impl Strace {
    /// Lets the `calls` of all threads of a process meet `what`, from now on; nothing where the machine has no `strace` or it
    /// may not be used.
    pub(super) async fn attach(process: &Process, calls: &str, what: &str) -> Option<Self> {
        Self::attach_with(process, calls, what, &[]).await
    }

    /// Those alone that have to do with `path`.
    pub(super) async fn attach_to(process: &Process, path: &str, calls: &str, what: &str) -> Option<Self> {
        Self::attach_with(process, calls, what, &["-P", path]).await
    }

    async fn attach_with(process: &Process, calls: &str, what: &str, more: &[&str]) -> Option<Self> {
        let (pid, traced) = (process.pid(), format!("trace={calls}"));
        let inject = format!("inject={calls}:{what}");
        let started = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string(), "-e", &traced, "-e", &inject])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut strace = match started {
            Ok(strace) => strace,
            Err(error) => {
                skipped(&format!("strace: {error}"));
                return None;
            }
        };
        let tracer = strace.id().unwrap();
        // Where a call is the last one, all may be over before anybody looks.
        let attached = || is_traced(pid, tracer);
        let mut ended = false;
        until("strace is attached or ended", || {
            ended = strace.try_wait().unwrap().is_some();
            let done = ended || attached();
            async move { done }
        })
        .await;
        if ended && is_running(pid) {
            let mut said = String::new();
            strace.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
            skipped(&format!("strace: {said}"));
            return None;
        }
        Some(Self(strace))
    }

    /// Lets the process go on alone.
    pub(super) async fn detach(mut self) {
        let pid = rustix::process::Pid::from_raw(self.0.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, self.0.wait()).await.expect("strace ends in time").unwrap();
    }
}

fn is_running(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

/// Whether every thread has this tracer.
fn is_traced(pid: i32, tracer: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let traced = format!("TracerPid:\t{tracer}\n");
    threads.flatten().all(|thread| {
        std::fs::read_to_string(thread.path().join("status")).is_ok_and(|status| status.contains(&traced))
    })
}
