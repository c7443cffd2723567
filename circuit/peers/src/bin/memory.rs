//! C4 and C5: bytes that a breaker asks the allocator for, and allocations of a call through a layer.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use forebay_circuit::{CircuitBreakerLayer, Options, Registry};
use forebay_circuit_peers::{
    Echo, consecutive, count_window, discard, failsafe_consecutive, failsafe_window, now, ours, recloser,
    time_window,
};
use tower_layer::Layer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer as TowerResilienceLayer;
use tower_service::Service;

struct Counting;

static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system's; the counters are beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> u64 {
    BYTES.load(Relaxed) - FREED.load(Relaxed)
}

/// What `make` leaves on the heap, and the value itself where that is all that there is.
fn show<T>(name: &str, make: impl FnOnce() -> T) -> T {
    let before = held();
    let value = make();
    println!("{name:<58} {:>5} B on the heap, {:>3} B inline", held() - before, size_of::<T>());
    value
}

/// Bytes of one breaker of a registry that knows the options already, without the map.
fn in_registry(name: &str, options: Options) {
    let registry: Registry<u32> = Registry::new(options, 10_000).expect("right options");
    let kept: Vec<_> = (0..2_000).map(|key| registry.get(&key).expect("room")).collect();
    // Handles are counted pointers: removing the map's and dropping these frees the breakers and nothing else.
    for key in 0..2_000 {
        registry.remove(&key);
    }
    let handles = held();
    drop(kept);
    let list = 2_000 * size_of::<forebay_circuit::Breaker>() as u64;
    println!("{name:<58} {:>5} B each", (handles - held() - list + 1_000) / 2_000);
}

fn allocations(name: &str, mut call: impl FnMut()) {
    call();
    let before = ALLOCATIONS.load(Relaxed);
    (0..1_000).for_each(|_| call());
    println!("{name:<58} {:>5} allocations per 1,000 calls", ALLOCATIONS.load(Relaxed) - before);
}

fn main() {
    let wait = Duration::from_secs(1);
    in_registry("forebay, failures in a row, of a registry", consecutive());
    in_registry("forebay, time window of 10 slices, of a registry", time_window());
    in_registry("forebay, window of 100 calls, of a registry", count_window());
    show("forebay, failures in a row, alone, with its options", || ours(consecutive()));
    show("forebay, time window of 10 slices, alone", || ours(time_window()));
    let breaker = ours(consecutive());
    show("forebay, what the first opening adds", || {
        (0..5).for_each(|_| discard(breaker.call(|| Err::<(), ()>(()))))
    });
    show("failsafe, failures in a row", || failsafe_consecutive(wait));
    show("failsafe, moving average and 5 slices", || failsafe_window(wait));
    show("recloser, 100 calls", || recloser(wait));
    let layer = TowerResilienceLayer::builder().consecutive_failures(5).build().expect("right options");
    show("tower-resilience, failures in a row, a service of a layer", || layer.layer(Echo));

    let mut service = CircuitBreakerLayer::new(ours(consecutive())).layer(Echo);
    allocations("forebay, layer", || discard(now(service.call(Ok(())))));
    let mut service = layer.layer(Echo);
    allocations("tower-resilience, layer", || discard(now(service.call(Ok(())))));
}
