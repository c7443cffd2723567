//! Other people's clients, as the package registries have them, against the real program. `.ci/run clients` installs them
//! and says where in `FOREBAY_CLIENTS`; what is not there is skipped.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::lines::values;
use crate::process::{PATIENCE, Process, Setup};

/// A client's program with all that stands before its address and name, or why it is skipped.
fn client(needs: &str, command: impl FnOnce(&Path) -> Vec<PathBuf>) -> Option<Vec<PathBuf>> {
    let Some(dir) = std::env::var_os("FOREBAY_CLIENTS").map(PathBuf::from) else {
        eprintln!("skipped: FOREBAY_CLIENTS does not say where clients are, `.ci/run clients` does");
        return None;
    };
    if !dir.join(needs).exists() {
        eprintln!("skipped: {needs} is not installed in {}", dir.display());
        return None;
    }
    Some(command(&dir))
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// Runs a client that sends `first line` and `second line`, and finds both by `label`.
async fn sends(process: &Process, command: &[PathBuf], dir: &Path, name: &str, label: &str) {
    let url = format!("http://{}", process.address);
    let program = Command::new(&command[0])
        .args(&command[1..])
        .arg(&url)
        .arg(name)
        .env("NODE_PATH", dir.join("node_modules"))
        .env("PYTHONPATH", dir.join("python"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, program).await.expect("it ends in time").unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&said));
    let path = format!("/loki/api/v1/query_range?query=%7B{label}%3D%22{name}%22%7D&direction=forward");
    let answer = process.json(&path).await;
    let mut found = values(&answer);
    found.sort();
    let lines: Vec<&String> = found.iter().map(|(_, line)| line).collect();
    let expected = lines.len() == 2 && lines[0].contains("first line") && lines[1].contains("second line");
    assert!(expected, "{name} sent {lines:?} and said {}", String::from_utf8_lossy(&said));
}

async fn all_send(needs: &[(&str, &str, &str)], command: impl Fn(&Path) -> Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let mut process = None;
    for (name, label, needs) in needs {
        let Some(command) = client(needs, &command) else { continue };
        let process = match &process {
            Some(process) => process,
            None => process.insert(Setup::new(dir.path()).start().await),
        };
        let clients = PathBuf::from(std::env::var_os("FOREBAY_CLIENTS").unwrap());
        sends(process, &command, &clients, name, label).await;
    }
}

#[tokio::test]
async fn tracing_loki_pushes() {
    let needs = [("tracing-loki", "client", "bin/forebay-clients")];
    all_send(&needs, |dir| vec![dir.join("bin/forebay-clients")]).await;
}

#[tokio::test]
async fn handlers_of_python_push_in_the_new_shape_and_in_the_old() {
    let needs = [
        ("python-logging-loki", "client", "python/logging_loki"),
        ("python-logging-loki-v0", "client", "python/logging_loki"),
        ("loki-logger-handler", "client", "python/loki_logger_handler"),
        ("otlp-python", "service_name", "python/opentelemetry"),
        ("otlp-python-gzip", "service_name", "python/opentelemetry"),
    ];
    all_send(&needs, |_| vec![PathBuf::from("python3"), source("logs.py")]).await;
}

#[tokio::test]
async fn transports_of_node_push_protobuf_and_json() {
    let needs = [
        ("winston-loki", "client", "node_modules/winston-loki"),
        ("winston-loki-json", "client", "node_modules/winston-loki"),
        ("pino-loki", "client", "node_modules/pino-loki"),
        ("otlp-node", "service_name", "node_modules/@opentelemetry/exporter-logs-otlp-http"),
        ("otlp-node-gzip", "service_name", "node_modules/@opentelemetry/exporter-logs-otlp-http"),
    ];
    all_send(&needs, |_| vec![PathBuf::from("node"), source("logs.js")]).await;
}
