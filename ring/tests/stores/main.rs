//! The stores that need a real world: files that several processes share, a server of etcd, nodes that gossip.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "etcd")]
mod etcd;
mod file;
#[cfg(feature = "gossip")]
mod gossip;
mod partitions;
mod ring;

/// Runs a test in real time: what is waited for comes from other processes and sockets.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}
