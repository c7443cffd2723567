//! Crashes at every step of a write, and files that are not as they were written.

use super::*;
use crate::disk::{MemoryDisk, Survive};
use crate::store::conformance;

const DIR: &str = "/ring";

fn store(disk: &MemoryDisk) -> FileStore {
    FileStore::new(Arc::new(disk.clone()), FileOptions::new(DIR))
}

fn blocking<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

#[test]
fn the_store_in_files_conforms() {
    blocking(conformance::linear(Arc::new(store(&MemoryDisk::default()))));
}

#[test]
fn a_crash_at_any_step_of_a_write_leaves_the_old_record_or_the_new_one_and_no_version_twice() {
    let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
    let mut crashes = 0;
    for survive in Survive::ALL {
        for step in 0.. {
            let disk = MemoryDisk::default();
            let first = blocking(store(&disk).put_if("k", old.clone(), Expect::Absent)).unwrap();
            disk.crash_at(step);
            let done = blocking(store(&disk).put_if("k", new.clone(), Expect::Version(first)));
            let disk = disk.restart(survive);
            let record = blocking(store(&disk).get("k")).unwrap().unwrap();
            assert!(record.value == old && record.version == first || record.value == new, "{record:?}");
            assert!(done.is_err() || record.value == new, "done is durable");
            let next = blocking(store(&disk).put_if("k", old.clone(), Expect::Any)).unwrap();
            assert!(next > record.version && next > first);
            if done.is_ok() {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes >= 18, "{crashes} crashes");
}

#[test]
fn a_broken_record_is_shown_as_it_is_and_its_owner_replaces_it() {
    let disk = MemoryDisk::default();
    let store = store(&disk);
    blocking(async {
        let version = store.put_if("instances/a", Bytes::from_static(b"a"), Expect::Absent).await.unwrap();
        store.put_if("instances/b", Bytes::from_static(b"b"), Expect::Absent).await.unwrap();
        let path = Path::new(DIR).join("r.instances%2Fa");
        let huge = vec![7; MAX_VALUE_BYTES + FRAME_BYTES + 1];
        for (hostile, shown) in [(&b""[..], &b""[..]), (b"garbage", b"garbage"), (&huge, b"")] {
            disk.write_synced(&path, hostile).unwrap();
            let listing = store.list().await.unwrap();
            let values: Vec<&[u8]> = listing.records.iter().map(|record| &*record.value).collect();
            assert_eq!(values, [shown, b"b"]);
            let lost = store.put_if("instances/a", Bytes::new(), Expect::Version(version)).await;
            let Err(PutError::Lost { current }) = lost else { panic!("{lost:?}") };
            let expect = Expect::unchanged(current.as_ref());
            assert_eq!(expect, Expect::Version(Revision(0)));
            let mended = store.put_if("instances/a", Bytes::from_static(b"a"), expect).await.unwrap();
            assert!(mended > version);
        }
    });
}

#[test]
fn a_revision_that_is_lost_or_broken_goes_on_above_all_that_were_given() {
    for broken in [None, Some(0), Some(FRAME_BYTES), Some(100)] {
        let disk = MemoryDisk::default();
        let store = store(&disk);
        let path = Path::new(DIR).join("revision");
        blocking(async {
            let kept = store.put_if("k", Bytes::new(), Expect::Absent).await.unwrap();
            let gone = store.put_if("gone", Bytes::new(), Expect::Absent).await.unwrap();
            store.delete_if("gone", Expect::Version(gone)).await.unwrap();
            match broken {
                None => disk.remove(&path).unwrap(),
                Some(bytes) => disk.write_synced(&path, &vec![9; bytes]).unwrap(),
            }
            let listed = store.list().await.unwrap().revision;
            let anew = store.put_if("gone", Bytes::new(), Expect::Absent).await.unwrap();
            assert!(anew > gone && anew > kept && anew > listed, "{anew:?} after {gone:?}");
        });
    }
}

#[test]
fn after_the_last_revision_nothing_is_written() {
    let disk = MemoryDisk::default();
    blocking(async {
        store(&disk).put_if("k", Bytes::new(), Expect::Absent).await.unwrap();
        let last = Frame { number: u64::MAX, bytes: &[] }.encode();
        disk.write_synced(&Path::new(DIR).join("revision"), &last).unwrap();
        let full = store(&disk).put_if("k", Bytes::new(), Expect::Any).await;
        assert!(matches!(full, Err(PutError::Store(StoreError::Broken { .. }))), "{full:?}");
    });
}
