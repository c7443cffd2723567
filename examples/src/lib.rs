//! The reference pipeline: log lines go in over Loki's push API, are safe, and come back; assembled from the eight
//! crates of this workspace and well-kept libraries, to be read, taken apart and copied.
//!
//! ```text
//!  ship, or any Loki client                              a trace for each batch (tracing-ctx)
//!      │  POST /loki/api/v1/push
//!      ▼
//!  http            who sends (tenant), which trace (tracing-ctx)
//!  push            the body: unpacked under limits, decoded, borrowed
//!  distributor     what is valid (tenant), whether it is too much (ratelimit), where it goes (ring)
//!      │  record   one message for each ingester, written once; circuit and ring::quorum around each call
//!      │  rpc      gRPC between processes, the same bytes inside one
//!      ▼
//!  ingester        appended as received and synced (wal), then in memory by stream (chunk); then acknowledged
//!      │  due      size, age, idle, sync period, memory pressure, pinned log, moved streams
//!      ▼
//!  storage         the object, synced (circuit) → the index entry, durable → the log may forget
//!      ▲  index    which chunks hold which streams
//!      │
//!  query           ingesters, then the store; merged, each entry once
//!  compactor       what is past its period goes, what is held stays (retention)
//! ```
//!
//! Each push has a trace id: the one of the `traceparent` it comes with, or a new one. It is in the answer's
//! `X-Trace-ID`, and at level debug in one line each of the agent (`batch delivered`), the distributor (`push taken`)
//! and every ingester (`record kept`, for each record of a large push), in whatever processes these are; a failure has
//! it at level warn. [`forebay_agent::log`] says how to see them.
//!
//! A process has the parts its configuration names: [`pipeline::start`] puts them together, [`supervisor`] starts
//! ingesters as processes of their own. Each promise stands at the top of the module that keeps it.

pub mod background;
pub mod client;
pub mod compactor;
pub mod config;
pub mod data_dir;
pub mod demo;
pub mod distributor;
mod excerpt;
pub mod federation;
pub mod http;
pub mod index;
pub mod ingester;
pub mod labels;
pub mod logql;
pub mod members;
pub mod memory;
pub mod metrics;
pub mod objects;
pub mod offload;
pub mod pipeline;
pub mod push;
pub mod query;
pub mod record;
pub mod ring;
pub mod rpc;
pub mod storage;
pub mod supervisor;
pub mod tally;
pub mod varint;
pub mod wire;
