//! The pipeline as its users meet it: the real program, its HTTP port, `kill -9`, and what is on its disk.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic, files are real"
)]

mod bad_input;
mod baggage;
mod bench;
mod bounds;
mod breakers;
mod chunks;
mod clients;
mod crash;
mod damage;
mod etcd;
mod faults;
mod formats;
mod legacy;
mod lines;
mod observed;
mod otlp;
mod process;
mod programs;
mod queries;
mod rates;
mod refusals;
mod replicas;
mod retention;
mod ring;
mod routes;
mod ship;
mod split;
mod tail;
mod tenants;
mod trace;
mod w3c;
mod wire;
