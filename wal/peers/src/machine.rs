//! What it ran on, for the head of the tables.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::child::sync_all;
use crate::stats::median;

/// A line about processors, kernel, file system, compiler and the load there was.
pub fn describe(dir: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let field =
        |name: &str| cpu.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(": ").nth(1));
    let model = field("model name").unwrap_or("processor unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    let rustc =
        Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let rustc = String::from_utf8_lossy(&rustc);
    let rustc = rustc.split(" (").next().unwrap_or_default();
    format!(
        "{model}, {cores} cores, Linux {}, {} file system, {rustc}, load {load} when it began",
        kernel.trim(),
        file_system(dir).unwrap_or_else(|| "unknown".into()),
    )
}

/// The type of the file system that holds `dir`, by the longest mount point above it.
pub fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = fields.next().zip(fields.next())?;
        dir.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    mounted.max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

/// What a `fdatasync` of 4 KiB takes in a file of zeros: the median of a hundred.
pub fn sync_time(dir: &Path) -> Outcome<Duration> {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile_in(dir)?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    sync_all(dir)?;
    let mut times = Vec::new();
    for n in 0..100 {
        file.write_all_at(&[1; 4096], n * 4096)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(Duration::from_secs_f64(median(&times)))
}
