//! What a process opens before its parts can work: directories, the log, ports.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use forebay_wal::aio::AsyncWal;
use forebay_wal::format::Label;
use forebay_wal::fs::{Fs, StdFs};
use forebay_wal::{OpenError, RecoveryReport, Wal};
use tokio::net::{TcpListener, TcpSocket};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Config;
use crate::data_dir;
use crate::offload::offload;

use super::options::LOG_ROOM;

/// Bytes that may wait for a sync: what the ingester lets in, and what the log counts beside the bytes of each record.
const WAL_INFLIGHT_BYTES: u64 = LOG_ROOM as u64 / 3 * 4;
/// How long a log that somebody has open is waited for, and how often it is looked at.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_CHECK: Duration = Duration::from_millis(50);

/// Opens the log of the ingester that `config` names.
pub(super) async fn log(config: &Config) -> anyhow::Result<AsyncWal<StdFs>> {
    let wal = &config.ingester.wal;
    let segment_bytes = match wal.segment_bytes {
        0 => (wal.max_bytes / 16).clamp(1 << 18, 64 << 20),
        bytes => bytes,
    };
    let options = forebay_wal::Options {
        segment_bytes,
        max_log_bytes: Some(wal.max_bytes),
        max_inflight_bytes: WAL_INFLIGHT_BYTES,
        // A flush under pressure gives back half of the log at once.
        max_spare_segments: 8,
        label: Some(label(&config.common.instance_id)),
        ..forebay_wal::Options::default()
    };
    // The log makes it, and syncs its name.
    let dir = config.common.path_prefix.join("wal").join(&config.common.instance_id);
    let (log, report) = open_log(&dir, &options).await.with_context(|| format!("log {}", dir.display()))?;
    let log = AsyncWal::start(log)?;
    tracing::info!(records = report.records, bytes = report.bytes, torn = ?report.torn, "log opened");
    Ok(log)
}

/// Whose log it is: another ingester's, copied or mounted here by mistake, is refused. A name that is too long for a
/// label is one by its hash.
fn label(instance: &str) -> Label {
    Label::new(instance.as_bytes())
        .or_else(|| Label::new(&xxh3_128(instance.as_bytes()).to_be_bytes()))
        .unwrap_or_default()
}

/// Opens the log; one that is locked is waited for, since its last process may be about to end.
async fn open_log(dir: &Path, options: &forebay_wal::Options) -> Result<(Wal, RecoveryReport), OpenError> {
    let deadline = tokio::time::sleep(LOCK_PATIENCE);
    tokio::pin!(deadline);
    loop {
        let (dir, options) = (dir.to_owned(), options.clone());
        match offload(move || Wal::open(dir, options)).await {
            Err(OpenError::Locked { .. }) if !deadline.is_elapsed() => {
                tokio::select! {
                    () = &mut deadline => {}
                    () = tokio::time::sleep(LOCK_CHECK) => {}
                }
            }
            opened => return opened,
        }
    }
}

pub(super) fn make_dir(dir: &Path) -> anyhow::Result<()> {
    data_dir::make(&StdFs, dir).with_context(|| format!("directory {}", dir.display()))
}

/// Makes the name of a file that was opened in `dir` durable: it is new, or whoever made it may have died before.
pub(super) fn sync_dir(dir: &Path) -> anyhow::Result<()> {
    StdFs.sync_dir(dir).with_context(|| format!("directory {}", dir.display()))
}

pub(super) async fn listen(address: &str, port: u16) -> anyhow::Result<TcpListener> {
    let addr = format!("{address}:{port}");
    TcpListener::bind(&addr).await.with_context(|| format!("cannot listen on {addr}"))
}

/// Takes a port that nobody listens at yet: whoever calls there is refused, and need not wait.
pub(super) async fn reserve(address: &str, port: u16) -> anyhow::Result<TcpSocket> {
    let addr = format!("{address}:{port}");
    let taken = async {
        let found: Option<SocketAddr> = tokio::net::lookup_host(&addr).await?.next();
        let found = found.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::AddrNotAvailable))?;
        let socket = if found.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Two that share a port until one listens must not be given the same free one.
        socket.set_reuseaddr(port != 0)?;
        socket.bind(found)?;
        Ok::<_, std::io::Error>(socket)
    };
    taken.await.with_context(|| format!("cannot listen on {addr}"))
}
