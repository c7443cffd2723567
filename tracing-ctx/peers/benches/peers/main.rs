//! All libraries in one binary, on the same inputs, one after the other within each group.
//!
//! An iteration takes all inputs once, so what is reported for one operation is a share of many different ones.

mod context;
mod headers;
mod ids;
mod layer;
mod text;

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

/// Measures `work` on all inputs in turn.
fn rotate<I, O>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    library: &str,
    inputs: &[I],
    mut work: impl FnMut(&I) -> O,
) {
    group.throughput(Throughput::Elements(inputs.len() as u64));
    group.bench_function(library, |bencher| {
        bencher.iter(|| {
            for input in inputs {
                // By reference, so that nobody is charged for a copy that no user makes.
                black_box(&work(black_box(input)));
            }
        });
    });
}

/// A propagator of OpenTelemetry gets at header values through this; here there is a single one.
struct Single<'a>(&'a str);

impl opentelemetry::propagation::Extractor for Single<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

criterion_group! {
    name = peers;
    config = Criterion::default()
        // Many and short, so that some of them are undisturbed whatever else the machine does.
        .sample_size(300)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500));
    targets = text::benches, headers::benches, ids::benches, context::benches, layer::benches
}
criterion_main!(peers);
