//! A real etcd: one that runs already, at the URL in `FOREBAY_ETCD`, or one that is started from the path on free ports
//! of the loopback and in a temporary directory. Where there is neither, the tests say so and pass.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::Client;
use forebay_ring::store::{EtcdOptions, EtcdStore, Expect, News, Store, StoreError, Timed, conformance};
use tempfile::TempDir;

use super::run;

struct Etcd {
    url: String,
    child: Option<(Child, TempDir)>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Etcd {
    async fn find() -> Option<Self> {
        if let Ok(url) = std::env::var("FOREBAY_ETCD") {
            return Some(Self { url, child: None });
        }
        // Of a port that was free a moment ago somebody else may be the first to take it.
        for _ in 0..5 {
            let mut etcd = match Self::start() {
                Ok(etcd) => etcd,
                Err(error) => {
                    println!("skipped: no etcd in the path ({error}), and no URL in FOREBAY_ETCD");
                    return None;
                }
            };
            if etcd.answers().await {
                return Some(etcd);
            }
        }
        panic!("etcd was started five times and never answered");
    }

    fn start() -> std::io::Result<Self> {
        let ports = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [url, peer] = ports.map(|port| format!("http://{}", port.local_addr().unwrap()));
        let dir = tempfile::tempdir()?;
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .env_remove("ETCD_UNSUPPORTED_ARCH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { url, child: Some((child, dir)) })
    }

    async fn answers(&mut self) -> bool {
        let store = self.store("").await;
        for _ in 0..60 {
            if store.list().await.is_ok() {
                return true;
            }
            let exited = self.child.as_mut().is_some_and(|(child, _)| child.try_wait().unwrap().is_some());
            if exited {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    }

    /// Under keys of its own, also in a store that others use.
    async fn store(&self, test: &str) -> Arc<dyn Store> {
        let prefix = format!("forebay-test/{}/{test}/", std::process::id());
        let options = EtcdOptions { prefix, ..EtcdOptions::new([&self.url]) };
        let store = EtcdStore::connect(&options).await.unwrap();
        Arc::new(Timed::new(Arc::new(store), Duration::from_secs(10)))
    }
}

/// All in one, so that one server does.
#[test]
fn the_store_on_etcd_conforms_and_carries_a_ring() {
    run(async {
        let Some(etcd) = Etcd::find().await else { return };
        conformance::linear(etcd.store("conformance").await).await;
        let mut stores = Vec::new();
        for _ in 0..3 {
            stores.push(etcd.store("ring").await);
        }
        super::ring::instances_make_one_ring(stores.clone()).await;
        // Beside the records of the instances.
        super::partitions::partitions_make_one_ring(stores).await;
        a_watch_from_before_a_compaction_begins_anew(&etcd).await;
        a_key_that_is_no_text_is_passed_over(&etcd).await;
    });
}

async fn a_watch_from_before_a_compaction_begins_anew(etcd: &Etcd) {
    let store = etcd.store("compaction").await;
    let old = store.put_if("k", Bytes::from_static(b"1"), Expect::Any).await.unwrap();
    store.put_if("gone", Bytes::from_static(b"1"), Expect::Any).await.unwrap();
    store.delete_if("gone", Expect::Any).await.unwrap();
    let last = store.put_if("k", Bytes::from_static(b"2"), Expect::Version(old)).await.unwrap();
    let mut client = Client::connect([&etcd.url], None).await.unwrap();
    client.compact(i64::try_from(last.0).unwrap(), None).await.unwrap();
    let mut watch = store.watch(old).await.unwrap();
    let News::Resync(listing) = watch.next().await.unwrap() else { panic!("not a listing") };
    let values: Vec<(&str, &[u8])> = listing.records.iter().map(|r| (&*r.key, &*r.value)).collect();
    assert_eq!(values, [("k", &b"2"[..])]);
    // And it goes on from there.
    store.delete_if("k", Expect::Version(last)).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), News::Delete { key: "k".into() });
}

async fn a_key_that_is_no_text_is_passed_over(etcd: &Etcd) {
    let store = etcd.store("foreign").await;
    let one = store.put_if("k", Bytes::from_static(b"1"), Expect::Any).await.unwrap();
    let mut client = Client::connect([&etcd.url], None).await.unwrap();
    let mut key = format!("forebay-test/{}/foreign/", std::process::id()).into_bytes();
    key.push(0xff);
    client.put(key.clone(), "rubbish", None).await.unwrap();
    let listing = store.list().await.unwrap();
    assert_eq!(listing.records.iter().map(|record| &*record.key).collect::<Vec<_>>(), ["k"]);
    let mut watch = store.watch(one).await.unwrap();
    client.delete(key, None).await.unwrap();
    store.delete_if("k", Expect::Version(one)).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), News::Delete { key: "k".into() });
}

#[test]
fn a_server_that_accepts_and_never_answers_times_out() {
    run(async {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let store = EtcdStore::connect(&EtcdOptions::new([url])).await.unwrap();
        let store = Timed::new(Arc::new(store), Duration::from_millis(300));
        assert!(matches!(store.list().await, Err(StoreError::TimedOut { .. })));
        let put = store.put_if("k", Bytes::new(), Expect::Any).await;
        assert!(put.is_err(), "{put:?}");
    });
}
