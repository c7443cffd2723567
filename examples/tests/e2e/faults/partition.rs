//! One of three ingesters is cut off from those who send and ask, and still in the ring.

use super::acknowledges;
use super::proxy::{Mode, Proxy};
use crate::lines::{Load, count, verify};
use crate::process::{Process, Setup, free_port, until};

/// Records that the ingester behind the proxy has taken.
async fn taken(distributor: &Process) -> f64 {
    distributor.metric("forebay_replica_push_seconds_count", "instance=\"c\",outcome=\"ok\"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_ingesters_may_be_cut_off_in_any_way() {
    let dir = tempfile::tempdir().unwrap();
    let lifecycler = "heartbeat_period: 500ms, ring: {heartbeat_timeout: 3s}";
    let setup = |arguments: &[&str], address: &str| {
        let config =
            format!("distributor: {{push_timeout: 2s}}\ningester: {{lifecycler: {{{lifecycler}{address}}}}}");
        Setup::new(dir.path()).arguments(arguments).config(&config)
    };
    let compactor = setup(&["--target", "compactor"], "").start().await;
    let index = compactor.grpc().await;
    let port = free_port();
    let proxy = Proxy::start(port).await;
    let ingester = |id, listen: u16, address: &str| {
        let listen = format!("127.0.0.1:{listen}");
        let named =
            ["--target", "ingester", "--index", &index, "--instance-id", id, "--grpc-listen", &listen];
        setup(&named, address)
    };
    let a = ingester("a", 0, "").start().await;
    let _b = ingester("b", 0, "").start().await;
    let address = format!(", address: 127.0.0.1, port: {}", proxy.port);
    let _c = ingester("c", port, &address).start().await;
    let asking = |target| setup(&["--target", target, "--index", &index, "--replication-factor", "3"], "");
    let (distributor, querier) = (asking("distributor").start().await, asking("querier").start().await);
    for process in [&distributor, &querier] {
        until("all three are known", || async { process.json("/ring").await["healthy"] == 3 }).await;
    }

    let load = Load::new();
    let running = load.run(&distributor, 2, 10);
    acknowledges(&load, 100).await;
    for mode in [Mode::Reset, Mode::Mute, Mode::Stalled] {
        proxy.set(mode);
        acknowledges(&load, 300).await;
        if mode != Mode::Mute {
            let acked = load.acked.len() as u64;
            assert!(count(&querier, r#"{app="load"}"#).await >= acked, "{mode:?}");
        }
        proxy.set(Mode::Open);
        let before = taken(&distributor).await;
        until("it is sent records again", || async { taken(&distributor).await > before }).await;
    }
    running.stop().await;
    verify(&querier, &load.acked).await;
    // One of the two that were there all the time is gone: the other has what the third has missed.
    a.kill().await;
    verify(&querier, &load.acked).await;
}
