//! The rules of the specifications that show between processes, through a real server and a real client.
//!
//! Every exchange takes place as function calls and over loopback sockets; see `two_hops`. The names of the rules
//! are in the names of the tests, by header; `edges` has those about processes that do not simply continue.

mod baggage;
mod edges;
mod traceparent;
mod tracestate;
mod two_hops;
