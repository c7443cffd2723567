//! A breaker for each ingester and for the object store: shown from the start, open while calls fail, closed again.

use http::StatusCode;
use serde_json::json;

use crate::lines::start_ns;
use crate::process::{Process, Setup, text, until};

/// What a breaker's state is shown as.
const CLOSED: f64 = 0.0;
const OPEN: f64 = 2.0;

/// The state of a breaker in the process `instance`, a child, or in the one that is asked.
async fn state(process: &Process, instance: Option<&str>, name: &str) -> Option<f64> {
    let own = instance.map_or_else(String::new, |instance| format!("instance=\"{instance}\","));
    let sample = format!("forebay_breaker_state{{{own}name=\"{name}\"}} ");
    let metrics = text(&process.get("/metrics").await);
    Some(metrics.lines().find_map(|line| line.strip_prefix(&sample))?.parse().unwrap())
}

async fn opened(process: &Process, name: &str) -> f64 {
    process.metric("forebay_breaker_transitions_total", &format!("name=\"{name}\",to=\"open\"")).await
}

/// Pushes one line to each of four streams.
async fn push(process: &Process) -> (StatusCode, String) {
    let now = start_ns().to_string();
    let stream = |n: u32| json!({"stream": {"app": "b", "n": n.to_string()}, "values": [[now, "x"]]});
    let response = process.push(&json!({"streams": (0..4).map(stream).collect::<Vec<_>>()})).await;
    (response.status, text(&response))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_breaker_of_a_store_that_fails_opens_and_closes_when_it_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    for name in ["objects", "ingester/ingester-0"] {
        assert_eq!(state(&process, None, name).await, Some(CLOSED), "{name} before anything was called");
    }
    let (status, told) = push(&process).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{told}");
    // A file stands where the directory of the objects was.
    let (objects, away) = (dir.path().join("data/objects"), dir.path().join("data/away"));
    std::fs::rename(&objects, &away).unwrap();
    std::fs::write(&objects, "").unwrap();
    let broken_and_mended = async {
        until("it opens", || async { state(&process, None, "objects").await == Some(OPEN) }).await;
        assert_eq!(state(&process, None, "ingester/ingester-0").await, Some(CLOSED));
        std::fs::remove_file(&objects).unwrap();
        std::fs::rename(&away, &objects).unwrap();
    };
    tokio::join!(process.flush(), broken_and_mended);
    assert_eq!(state(&process, None, "objects").await, Some(CLOSED));
    assert!(opened(&process, "objects").await >= 1.0);
    assert_eq!(crate::lines::count(&process, r#"{app="b"}"#).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_breaker_of_an_ingester_that_died_opens_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "2", "--replication-factor", "2", "--no-restart"];
    let process = Setup::new(dir.path()).arguments(&arguments).start().await;
    for id in ["ingester-0", "ingester-1"] {
        assert_eq!(
            state(&process, None, &format!("ingester/{id}")).await,
            Some(CLOSED),
            "{id}, not called yet"
        );
        assert_eq!(state(&process, Some(id), "objects").await, Some(CLOSED), "the store as {id} sees it");
    }
    let pid = rustix::process::Pid::from_raw(process.children()[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let (one, other) = ("ingester/ingester-0", "ingester/ingester-1");
    until("a breaker opens", || async {
        assert_ne!(push(&process).await.0, StatusCode::NO_CONTENT, "both copies are needed");
        opened(&process, one).await + opened(&process, other).await > 0.0
    })
    .await;
    let mut open = Vec::new();
    for id in [one, other] {
        if opened(&process, id).await > 0.0 {
            open.push(id);
        } else {
            assert_eq!(state(&process, None, id).await, Some(CLOSED));
        }
    }
    assert_eq!(open.len(), 1, "{open:?}");
}
