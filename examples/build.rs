//! Client and server of the two gRPC services, described in Rust: no `protoc` is needed.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let ingester = service(
        "Ingester",
        &[
            ("push", "Push", "Push", "Pushed"),
            ("select", "Select", "Select", "Selected"),
            ("tail", "Tail", "Tail", "Tailed"),
            ("series", "Series", "Find", "LabelSets"),
            ("volume", "Volume", "Find", "Volume"),
            ("flush", "Flush", "Empty", "Empty"),
            ("health", "Health", "Empty", "Health"),
        ],
    );
    let index = service(
        "Index",
        &[
            ("append", "Append", "Chunks", "Empty"),
            ("chunks", "Chunks", "Find", "Chunks"),
            ("series", "Series", "Find", "LabelSets"),
            ("label_values", "LabelValues", "Find", "Values"),
            ("scan", "Scan", "Scan", "Chunks"),
            ("contains", "Contains", "Keys", "Flags"),
            ("drop_refs", "DropRefs", "Keys", "Empty"),
            ("tenants", "Tenants", "Empty", "Values"),
        ],
    );
    Builder::new().compile(&[ingester, index]);
    println!("cargo:rerun-if-changed=build.rs");
}

/// A service of (function, route, request, answer); an answer that may be long is streamed.
fn service(name: &str, methods: &[(&str, &str, &str, &str)]) -> Service {
    let mut service = Service::builder().name(name).package("forebay");
    for (function, route, request, answer) in methods {
        let method = Method::builder()
            .name(function)
            .route_name(route)
            .input_type(format!("crate::wire::{request}"))
            .output_type(format!("crate::wire::{answer}"))
            .codec_path("tonic_prost::ProstCodec");
        let streams = matches!(*function, "select" | "tail");
        let method = if streams { method.server_streaming() } else { method };
        service = service.method(method.build());
    }
    service.build()
}
