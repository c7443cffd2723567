//! The plug is pulled: an ext4 file system in an image loses what was not synced, and its log is opened after that.
//!
//! Either the file system is shut down under the writer, without its journal being flushed, or the image is copied
//! while the writer stands still and the copy is mounted: both are what the disk would have had.

use std::path::Path;

use crate::full::ext4;
use crate::kill::{hear_acks, spawn};
use crate::machine::{Chance, does, rounds, run, scratch_in_memory, skip, skipped, tries};
use crate::promise::Promises;
use crate::writer::LEVELS;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`; not from here, as it would take `unsafe`.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

struct Disk<'a> {
    image: &'a str,
    at: &'a str,
}

impl Disk<'_> {
    fn mount(&self) -> Result<(), String> {
        std::fs::create_dir_all(self.at).unwrap();
        tries("mount", &["-o", "loop", self.image, self.at])
    }

    fn unmount(&self) {
        does("umount", &[self.at]);
    }
}

fn paths(dir: &Path) -> [String; 4] {
    ["disk.ext4", "disk", "copy.ext4", "copy"].map(|name| dir.join(name).to_str().unwrap().to_owned())
}

/// The file system is shut down under a writer, again and again; each life begins with what the last one left.
pub(crate) fn unplugged(dir: &Path) {
    let [image, at, ..] = paths(dir);
    let disk = Disk { image: &image, at: &at };
    let log = Path::new(&at).join("log");
    for level in LEVELS {
        ext4(Path::new(&image), 32 << 20).unwrap();
        disk.mount().unwrap_or_else(|reason| skip(&reason));
        let (mut promises, mut chance) = (Promises::default(), Chance(3));
        for life in 0..rounds("WAL_POWER_CUTS", 4) {
            let (mut child, mut lines) = spawn(level, life, &log);
            hear_acks(&mut lines, 1 + chance.below(120), &mut promises, level.outlives_power);
            if let Err(reason) = tries("python3", &["-c", SHUTDOWN, &at]) {
                child.kill().unwrap();
                skip(&reason);
            }
            lines.for_each(|line| promises.hear(&line, level.outlives_power));
            child.wait().unwrap();
            disk.unmount();
            disk.mount().unwrap();
            promises.check(&log, &format!("{}, unplugged in life {life}", level.name));
        }
        let told = promises.count("unknown") + promises.count("rejected");
        assert!(told > 0, "a writer that loses its disk is told");
        disk.unmount();
    }
}

/// The image is copied under a writer that stands still and is killed then: the copy is the disk after a power cut,
/// the original after a death of the process.
pub(crate) fn copied(dir: &Path) {
    let [image, at, copy, copy_at] = paths(dir);
    let (disk, copied) = (Disk { image: &image, at: &at }, Disk { image: &copy, at: &copy_at });
    for level in LEVELS {
        ext4(Path::new(&image), 32 << 20).unwrap();
        disk.mount().unwrap_or_else(|reason| skip(&reason));
        let (mut promises, mut chance, mut copies) = (Promises::default(), Chance(5), 0);
        for life in 0..rounds("WAL_POWER_CUTS", 4) {
            let log = Path::new(&at).join("log");
            let (mut child, mut lines) = spawn(level, life, &log);
            hear_acks(&mut lines, 1 + chance.below(120), &mut promises, level.outlives_power);
            does("kill", &["-STOP", &child.id().to_string()]);
            let alike = copies_alike(&image, &copy);
            child.kill().unwrap();
            lines.for_each(|line| promises.hear(&line, level.outlives_power));
            child.wait().unwrap();
            let what = format!("{}, copied in life {life}", level.name);
            if alike {
                copies += 1;
                copied.mount().unwrap();
                promises.clone().check(&Path::new(&copy_at).join("log"), &what);
                copied.unmount();
            }
            promises.check(&log, &what);
        }
        assert!(copies > 0, "{}: no copy was one of a disk that stood still", level.name);
        disk.unmount();
    }
}

/// Copies the image twice, until both are alike: nothing was written to it between the one and the other, so either
/// is the image of one moment.
fn copies_alike(image: &str, copy: &str) -> bool {
    let again = format!("{copy}.again");
    (0..10).any(|_| {
        does("cp", &["--sparse=always", image, copy]);
        does("cp", &["--sparse=always", image, &again]);
        tries("cmp", &["-s", copy, &again]).is_ok()
    })
}

fn in_a_machine_with_ext4(role: &str) {
    let scratch = scratch_in_memory();
    let here =
        tries("unshare", &["-m", "true"]).and_then(|()| ext4(&scratch.path().join("disk.ext4"), 32 << 20));
    match here {
        Ok(()) => run(&["unshare", "-m"], role, scratch.path()),
        Err(reason) => skipped(&reason),
    }
}

#[test]
fn what_was_acknowledged_is_there_after_the_disk_lost_its_plug() {
    in_a_machine_with_ext4("unplugged");
}

#[test]
fn what_was_acknowledged_is_on_a_copy_of_the_disk() {
    in_a_machine_with_ext4("copied");
}
