//! gRPC between processes: the ingesters' calls and the index's, each as a server over the local part and as a
//! client that is used like the local part.

mod index;
mod ingester;

use std::time::Duration;

use forebay_tracing_ctx::layer::TraceClient;
use forebay_tracing_ctx::{TraceClientLayer, TraceServerLayer};
use tonic::transport::{Channel, Endpoint, Server};
use tower::Layer;
use tower::layer::util::{Identity, Stack};

pub use index::{RemoteIndex, index_server};
pub use ingester::{RemoteIngester, ingester_server};

/// Largest message: a push and its framing. Bodies are limited before they come here.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// A connection that tells the other side which trace a call belongs to.
type Traced = TraceClient<Channel>;

/// Connects to `addr` at the first call, and again whenever the connection is lost.
fn connect(addr: &str) -> anyhow::Result<Traced> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))?
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .initial_stream_window_size(1 << 20)
        // An answer that nobody reads for a while must not hold up the others on its connection: each is bounded by the
        // window of its stream alone.
        .initial_connection_window_size(1 << 30);
    Ok(TraceClientLayer::new().layer(endpoint.connect_lazy()))
}

/// Takes as many calls at the same time on a connection as there are: one that waited for others to end could wait for
/// ever, as whoever follows lines does so for hours. How many there may be is for those to bound who make them.
pub fn server() -> Server<Stack<TraceServerLayer, Identity>> {
    Server::builder()
        .layer(TraceServerLayer::new())
        .tcp_nodelay(true)
        .max_concurrent_streams(None)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
}

/// What `build.rs` makes.
#[allow(missing_docs, missing_debug_implementations, reason = "generated")]
#[allow(unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
mod generated {
    pub mod ingester {
        include!(concat!(env!("OUT_DIR"), "/forebay.Ingester.rs"));
    }
    pub mod index {
        include!(concat!(env!("OUT_DIR"), "/forebay.Index.rs"));
    }
}
