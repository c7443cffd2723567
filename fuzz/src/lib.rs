//! What must hold for any bytes. Each body is a plain function that panics where a promise is broken; a fuzzer feeds
//! it for hours, an ordinary test feeds it the corpus.
//!
//! A body does more than not crash: what parses is printed and parsed again, what is read is bounded by what was
//! there, and what is refused changes nothing. Where a checksum would keep a fuzzer out, the body also mends it.

pub mod chunk;
pub mod columnar;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the corpus is files")]
mod corpus;
pub mod pipeline;
pub mod retention;
pub mod ring;
pub mod tenant;
pub mod trace;
pub mod wal;

/// Takes any bytes; panics where a promise is broken.
pub type Body = fn(&[u8]);

/// Every body under the name of its target and of its directory in `corpus/`.
pub const BODIES: [(&str, Body); 26] = [
    ("baggage", trace::baggage),
    ("chunk_checkpoint", chunk::chunk_checkpoint),
    ("chunk_codec", chunk::chunk_codec),
    ("chunk_columnar", columnar::chunk_columnar),
    ("chunk_envelope", chunk::chunk_envelope),
    ("chunk_filter", columnar::chunk_filter),
    ("chunk_key", chunk::chunk_key),
    ("chunk_open", chunk::chunk_open),
    ("logql", pipeline::logql),
    ("push_json", pipeline::push_json),
    ("push_otlp", pipeline::push_otlp),
    ("push_protobuf", pipeline::push_protobuf),
    ("push_record", pipeline::push_record),
    ("retention_selector", retention::retention_selector),
    ("ring_records", ring::ring_records),
    ("tenant_labels", tenant::tenant_labels),
    ("tenant_org", tenant::tenant_org),
    ("tenant_yaml", tenant::tenant_yaml),
    ("traceparent", trace::traceparent),
    ("tracestate", trace::tracestate),
    ("wal_codec", wal::wal_codec),
    ("wal_frames", wal::wal_frames),
    ("wal_ops_vs_model", wal::wal_ops_vs_model),
    ("wal_reader_tail", wal::wal_reader_tail),
    ("wal_recover_dir", wal::wal_recover_dir),
    ("wal_segment", wal::wal_segment),
];

/// Makes a target of a body: for the fuzzer under cargo-fuzz, otherwise a program that replays the files it is given,
/// so that a finding can be looked at with a stable toolchain and a debugger.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        #[cfg(fuzzing)]
        ::libfuzzer_sys::fuzz_target!(|data: &[u8]| $body(data));

        #[cfg(not(fuzzing))]
        fn main() -> ::std::io::Result<()> {
            $crate::replay($body)
        }
    };
}

/// Feeds `body` the files named on the command line.
///
/// # Errors
/// A file that cannot be read.
pub fn replay(body: Body) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        #[expect(clippy::disallowed_methods, reason = "a program's edge: it reads what its user names")]
        let data = std::fs::read(&path)?;
        body(&data);
        println!("{}: {} bytes, all promises kept", path.to_string_lossy(), data.len());
    }
    Ok(())
}

/// The text in `data`, for bodies of text formats.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
