//! A disk of its own, in an image: copied while it is mounted, as a power cut would leave it, and stalled.

use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::json;

use super::machine::{skipped, text, tries};
use super::{BUSY, acknowledges};
use crate::lines::{Load, count, start_ns, verify};
use crate::process::{Setup, until};

/// An ext4 file system in a file; unmounted when it is dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// A new one; nothing where the machine cannot have it.
    fn new(dir: &Path) -> Option<Self> {
        let image = dir.join("disk.ext4");
        std::fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
        let made = tries("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image)]);
        let mounted = made.and_then(|()| Self::mount(image, dir.join("mounted")));
        mounted.map_err(|reason| skipped(&reason)).ok()
    }

    fn mount(image: PathBuf, at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).unwrap();
        tries("mount", &["-o", "loop", text(&image), text(&at)])?;
        Ok(Self { image, at })
    }

    /// The image as it is now, mounted beside it: copied until two copies are alike, so that nothing was written
    /// between one and the other. Nothing where the kernel does not stop writing.
    fn copy(&self) -> Option<Self> {
        let (copy, again) = (self.image.with_extension("copy"), self.image.with_extension("again"));
        let copied = |to: &Path| tries("cp", &["--sparse=always", text(&self.image), text(to)]);
        let alike = (0..20).any(|_| {
            copied(&copy).and_then(|()| copied(&again)).unwrap();
            tries("cmp", &["-s", text(&copy), text(&again)]).is_ok()
        });
        alike.then(|| Self::mount(copy, self.at.with_extension("copy")).unwrap())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = tries("umount", &["-l", text(&self.at)]);
    }
}

/// Thaws a disk when it is dropped: what writes there cannot even be killed before.
struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = tries("fsfreeze", &["-u", text(&self.0.at)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_on_a_copy_of_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(dir.path()) else { return };
    let (setup, load) = (Setup::new(&disk.at).config(BUSY), Load::new());
    let mut copies = 0;
    for more in [100, 3000, 800] {
        let process = setup.start().await;
        let running = load.run(&process, 4, 50);
        acknowledges(&load, more).await;
        let pid = rustix::process::Pid::from_raw(process.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let copy = disk.copy();
        process.kill().await;
        running.stop().await;
        if let Some(copy) = copy {
            let process = Setup::new(&copy.at).config(BUSY).start().await;
            verify(&process, &load.acked).await;
            process.flush().await;
            verify(&process, &load.acked).await;
            process.kill().await;
            copies += 1;
        }
    }
    assert!(copies > 0, "no copy was of one moment");
    verify(&setup.start().await, &load.acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_stalls_nothing_is_acknowledged_and_queries_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(dir.path()) else { return };
    let process = Setup::new(&disk.at).start().await;
    let load = Load::new();
    let running = load.run(&process, 2, 20);
    acknowledges(&load, 200).await;
    running.stop().await;
    if let Err(reason) = tries("fsfreeze", &["-f", text(&disk.at)]) {
        return skipped(&reason);
    }
    let frozen = Frozen(&disk);
    let (client, now) = (process.client.clone(), start_ns().to_string());
    let body = json!({"streams": [{"stream": {"app": "late"}, "values": [[now, "x"]]}]}).to_string();
    let pushed = tokio::spawn(async move {
        let headers = http::HeaderMap::new();
        client.post("/loki/api/v1/push", "application/json", &headers, body.into()).await.unwrap()
    });
    until("it is on its way into the log", || async {
        process.metric("forebay_wal_inflight_bytes", "").await > 0.0
    })
    .await;
    verify(&process, &load.acked).await;
    assert!(!pushed.is_finished());
    drop(frozen);
    assert_eq!(pushed.await.unwrap().status, StatusCode::NO_CONTENT);
    assert_eq!(count(&process, r#"{app="late"}"#).await, 1);
}
