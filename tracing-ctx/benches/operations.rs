//! What ids, headers and entering a context take, by themselves. Beside other libraries it is measured in `peers/`.
//!
//! ```sh
//! cargo bench -p forebay-tracing-ctx
//! ```

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_tracing_ctx::sampler::Always;
use forebay_tracing_ctx::{
    SpanId, TRACEPARENT_LEN, TraceContext, TraceId, TraceParent, TraceState, carrier, context,
};
use http::{HeaderMap, HeaderValue};

/// How many different inputs go round, so that no branch predictor learns them by heart.
const INPUTS: usize = 1024;

fn parents() -> Vec<TraceParent> {
    // SplitMix64 (Steele, Lea and Flood, 2014): the same ids in every run.
    let state = Cell::new(0_u64);
    let draw = || {
        state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mixed = (state.get() ^ (state.get() >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..INPUTS).map(|n| TraceParent::root(draw).with_sampled(n % 3 == 0)).collect()
}

/// Members of different lengths, and each list with others.
fn list(which: usize, members: usize) -> HeaderValue {
    let member = |n: usize| {
        let mixed = (which * members + n).wrapping_mul(0x9e37_79b9);
        format!("vendor{n:02}={:x}", (mixed as u128) << (mixed % 60))
    };
    HeaderValue::try_from((0..members).map(member).collect::<Vec<_>>().join(",")).expect("printable")
}

/// Measures `work` on all inputs in turn.
fn rotate<I, O>(criterion: &mut Criterion, name: &str, inputs: &[I], mut work: impl FnMut(&I) -> O) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(inputs.len() as u64));
    group.bench_function("all inputs", |bencher| {
        bencher.iter(|| {
            for input in inputs {
                black_box(&work(black_box(input)));
            }
        });
    });
    group.finish();
}

fn traceparent(criterion: &mut Criterion) {
    let parents = parents();
    let texts: Vec<_> = parents.iter().map(TraceParent::to_bytes).collect();
    rotate(criterion, "parse", &texts, |text| TraceParent::parse(text));
    let mut upper = texts.clone();
    upper.iter_mut().enumerate().for_each(|(n, text)| text[n % TRACEPARENT_LEN] = b'G');
    rotate(criterion, "refuse", &upper, |text| TraceParent::parse(text));
    let mut out = [0; TRACEPARENT_LEN];
    rotate(criterion, "write", &parents, |parent| parent.write(black_box(&mut out)));
}

fn ids(criterion: &mut Criterion) {
    let times = [(); INPUTS];
    rotate(criterion, "new span id", &times, |()| SpanId::random());
    rotate(criterion, "new trace id", &times, |()| TraceId::random());
}

fn tracestate(criterion: &mut Criterion) {
    for members in [3, 32] {
        let lists: Vec<_> = (0..64).map(|which| list(which, members)).collect();
        let name = format!("check tracestate of {members} members");
        rotate(criterion, &name, &lists, |list| TraceState::from_fields([list]));
    }
}

fn headers(criterion: &mut Criterion) {
    let contexts: Vec<_> = parents()
        .into_iter()
        .enumerate()
        .map(|(which, parent)| {
            let mut context = TraceContext::new(parent);
            context.state = TraceState::from_fields([&list(which, 3)]).expect("valid");
            context
        })
        .collect();
    let maps: Vec<_> = contexts
        .iter()
        .map(|context| {
            let mut headers = HeaderMap::new();
            carrier::inject(context, &mut headers);
            headers
        })
        .collect();
    rotate(criterion, "extract", &maps, carrier::extract);
    let mut headers = HeaderMap::new();
    rotate(criterion, "inject", &contexts, |context| carrier::inject(context, &mut headers));
}

fn entering(criterion: &mut Criterion) {
    let context = Arc::new(TraceContext::root(|| 7, &Always));
    rotate(criterion, "enter", &[(); INPUTS], |()| context::scope(context.clone(), || black_box(())));
}

criterion_group! {
    name = operations;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500));
    targets = traceparent, ids, tracestate, headers, entering
}
criterion_main!(operations);
