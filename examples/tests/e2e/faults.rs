//! Faults that the machine makes under a pipeline that works: disks that fail, stall or lose what was not synced, system calls
//! after which there are no more, a network that is cut. What was acknowledged is there afterwards. A test that the
//! machine cannot run prints why and passes.

mod disk;
mod machine;
mod partition;
mod proxy;
mod stop;
mod strace;
mod system_calls;

use forebay_agent::http_client::Response;
use serde_json::json;

use crate::lines::{Load, start_ns};
use crate::process::{Process, until};

/// Small blocks and chunks, so that objects, index entries and truncations are under way at every moment.
const BUSY: &str = "ingester: {wal: {max_bytes: 4MiB}, chunk_block_size: 4KiB, chunk_target_size: 16KiB, flush_check_period: 100ms}";

/// Pushes one line that no load has.
async fn push(process: &Process) -> Response {
    let line = json!({"stream": {"app": "single"}, "values": [[start_ns().to_string(), "x"]]});
    process.push(&json!({"streams": [line]})).await
}

/// Waits until `more` lines were acknowledged.
async fn acknowledges(load: &Load, more: usize) {
    let before = load.acked.len();
    until("lines are acknowledged", || async { load.acked.len() >= before + more }).await;
}
