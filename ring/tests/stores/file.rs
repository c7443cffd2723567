//! A directory that several processes share.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use forebay_ring::disk::StdDisk;
use forebay_ring::store::{Change, FileOptions, FileStore, Record, Store, conformance, update};

use super::run;

/// Names the directory to a child.
const DIR: &str = "FOREBAY_TEST_STORE_DIR";
const EACH: u32 = 25;

fn store(dir: &Path) -> Arc<dyn Store> {
    Arc::new(FileStore::new(Arc::new(StdDisk), FileOptions::new(dir)))
}

fn count(record: Option<&Record>) -> u32 {
    record.map_or(0, |record| std::str::from_utf8(&record.value).unwrap().parse().unwrap())
}

#[test]
fn the_store_in_real_files_conforms() {
    let dir = tempfile::tempdir().unwrap();
    run(conformance::linear(store(&dir.path().join("new/ring"))));
}

#[test]
fn processes_that_share_a_directory_lose_no_increment() {
    let dir = tempfile::tempdir().unwrap();
    let child = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "file::a_child_counts"]).env(DIR, dir.path()).spawn().unwrap()
    };
    let mut children = [child(), child(), child()];
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let record = run(store(dir.path()).get("counter")).unwrap();
    assert_eq!(count(record.as_ref()), 3 * EACH);
}

/// What a child of the test above does; by itself nothing.
#[test]
fn a_child_counts() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = store(Path::new(&dir));
    run(async {
        for _ in 0..EACH {
            let next = |record: Option<&Record>| Change::Put(Bytes::from((count(record) + 1).to_string()));
            update(&*store, "counter", next).await.unwrap();
        }
    });
}

#[test]
fn instances_on_files_make_one_ring() {
    let dir = tempfile::tempdir().unwrap();
    let stores = (0..3).map(|_| store(dir.path())).collect();
    run(super::ring::instances_make_one_ring(stores));
}

#[test]
fn partitions_on_files_make_one_ring() {
    let dir = tempfile::tempdir().unwrap();
    let stores = (0..3).map(|_| store(dir.path())).collect();
    run(super::partitions::partitions_make_one_ring(stores));
}
