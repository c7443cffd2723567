//! How much memory this process may use: what the machine has, or less where a control group says so.

use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// Bytes of memory that this process and its children may use together: the machine's, or the smallest limit of the
/// control groups it is in, of either version.
pub fn available() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    limit(&groups, read).map_or(machine, |limit| limit.min(machine))
}

/// The smallest limit of the control groups that `/proc/self/cgroup` names, and of those above them.
///
/// In a container the path may be the one outside, which is not mounted here: then the groups above it count, up to
/// the mount, where the container finds its own.
fn limit(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let limit_of = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (mount, file) = match controllers {
            "" => (PathBuf::from(MOUNT), "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                (Path::new(MOUNT).join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let group = mount.join(path.trim_start_matches('/'));
        let levels = group.ancestors().take_while(|level| level.starts_with(&mount));
        // `max` is no limit, and no number.
        levels.filter_map(|level| read(&level.join(file))?.trim().parse::<u64>().ok()).min()
    };
    groups.lines().filter_map(limit_of).min()
}

#[expect(clippy::disallowed_methods, reason = "the edge: the system tells its limits in files")]
fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_with(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        limit(groups, |path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_smallest_limit_of_a_group_and_those_above_it_counts() {
        let files = [
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "1048576\n"),
            ("/sys/fs/cgroup/memory.max", "2097152\n"),
        ];
        assert_eq!(limit_with("0::/a/b\n", &files), Some(1_048_576));
        assert_eq!(limit_with("0::/\n", &files), Some(2_097_152));
        assert_eq!(limit_with("0::/a/b\n", &files[..1]), None);
        assert_eq!(limit_with("", &files), None);
    }

    #[test]
    fn a_group_of_the_first_version_is_found_at_its_mount_inside_a_container() {
        let groups = "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n";
        let files = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n")];
        assert_eq!(limit_with(groups, &files), Some(4096));
        assert_eq!(limit_with("5:cpu,cpuacct:/docker/1\n", &files), None);
    }

    #[test]
    fn this_process_has_some_memory() {
        assert!(available() > 0);
    }
}
