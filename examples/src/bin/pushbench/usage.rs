//! What the kernel says of processes (`proc(5)`): who started whom, and what they have used.

use std::time::Duration;

use anyhow::Context;

/// Linux tells times to user space in hundredths of a second, whatever its own tick.
const TICKS_PER_SECOND: u64 = 100;

/// What processes have used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time of all their threads, in user space and in the kernel.
    pub(crate) cpu: Duration,
    /// The memory they have resident.
    pub(crate) rss_bytes: u64,
    /// The most memory they had resident. The peaks of several are added, though they may lie at different times.
    pub(crate) peak_rss_bytes: u64,
}

/// A process among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    group: u32,
    /// It has ended, and its parent has not asked how.
    is_over: bool,
}

impl Usage {
    /// Of this process.
    pub(crate) async fn own() -> anyhow::Result<Self> {
        Self::of("self").await
    }

    /// Of the process `pid`, and of all that it and its like have started and that still run.
    pub(crate) async fn of_tree(pid: u32) -> anyhow::Result<Self> {
        let mut usage = Self::of(&pid.to_string()).await?;
        for below in descendants(&processes().await?, pid) {
            // One may end between the listing and the look at it.
            let Ok(used) = Self::of(&below.to_string()).await else { continue };
            usage.cpu += used.cpu;
            usage.rss_bytes += used.rss_bytes;
            usage.peak_rss_bytes += used.peak_rss_bytes;
        }
        Ok(usage)
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

/// Whether a process of `group` runs.
pub(crate) async fn runs(group: u32) -> anyhow::Result<bool> {
    Ok(processes().await?.iter().any(|process| process.group == group && !process.is_over))
}

async fn processes() -> anyhow::Result<Vec<Process>> {
    let mut found = Vec::new();
    let mut entries = tokio::fs::read_dir("/proc").await.context("/proc")?;
    while let Some(entry) = entries.next_entry().await? {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may end between the listing and the look at it.
        let Ok(stat) = tokio::fs::read_to_string(entry.path().join("stat")).await else { continue };
        found.extend(Process::parse(pid, &stat));
    }
    Ok(found)
}

/// Those below `root`, at whatever depth.
fn descendants(all: &[Process], root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut looked_at = 0;
    while let Some(&parent) = found.get(looked_at) {
        let below = all.iter().filter(|process| process.parent == parent).map(|process| process.pid);
        // A number that was given away again while they were listed may be above itself.
        let new: Vec<u32> = below.filter(|pid| !found.contains(pid)).collect();
        found.extend(new);
        looked_at += 1;
    }
    found.split_off(1)
}

impl Process {
    /// Fields 3 to 5.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let mut fields = fields(stat)?;
        let is_over = matches!(fields.next()?, "Z" | "X");
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { pid, parent, group, is_over })
    }
}

/// The fields behind the second, which is a name in brackets that may itself hold blanks and brackets.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
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
    use std::process::Stdio;
    use tokio::process::Command;

    const STAT: &str = "7 (a) b (c)) S 1 5 7 0 -1 4194560 100 0 0 0 250 150 900 900 20 0 4 0 100 0 0";

    #[test]
    fn times_and_relatives_are_read_behind_any_name() {
        assert_eq!(cpu(STAT), Some(Duration::from_secs(4)));
        let process = Process { pid: 7, parent: 1, group: 5, is_over: false };
        assert_eq!(Process::parse(7, STAT), Some(process));
        assert!(Process::parse(7, &STAT.replace("S 1", "Z 1")).unwrap().is_over);
        for cut in ["7 (a) S 1", "7 (a) ", ""] {
            assert_eq!((cpu(cut), Process::parse(7, cut)), (None, None), "{cut:?}");
        }
    }

    #[test]
    fn memory_is_what_is_resident_and_the_high_water_mark_of_it() {
        let status = "VmHWM:\t  2048 kB\nVmRSS:\t  10 kB\n";
        assert_eq!(memory(status, "VmRSS:"), Some(10 << 10));
        assert_eq!(memory(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(memory("Name:\tcat\n", "VmRSS:"), None);
    }

    /// Those of a server behind a script were two below the script, and left out.
    #[test]
    fn descendants_are_found_at_any_depth() {
        let process = |pid, parent| Process { pid, parent, group: 0, is_over: false };
        let all = [process(5, 4), process(1, 0), process(4, 2), process(2, 1), process(3, 1), process(9, 9)];
        assert_eq!(descendants(&all, 2), [4, 5]);
        assert_eq!(descendants(&all, 5), [0; 0]);
        assert_eq!(descendants(&all, 9), [0; 0]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn this_process_uses_memory_and_its_group_runs_while_one_of_it_does() {
        let usage = Usage::own().await.unwrap();
        assert!(usage.rss_bytes > 100_000 && usage.peak_rss_bytes > 100_000, "{usage:?}");
        let mut cat = Command::new("cat");
        cat.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut child = cat.spawn().unwrap();
        let pid = child.id().unwrap();
        let mine = std::process::id();
        assert!(runs(pid).await.unwrap());
        assert!(descendants(&processes().await.unwrap(), mine).contains(&pid));
        assert!(Usage::of_tree(mine).await.unwrap().rss_bytes > usage.rss_bytes / 2);
        drop(child.stdin.take());
        child.wait().await.unwrap();
        assert!(!runs(pid).await.unwrap());
        assert!(!descendants(&processes().await.unwrap(), mine).contains(&pid));
    }
}
