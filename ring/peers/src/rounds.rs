//! Measures in turn: a batch of each, then the next round. What else the machine does falls on all alike, and the median
//! of the rounds is what is told. Time is what the thread spends on a processor.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Something that is measured.
pub struct Contender<'a> {
    pub name: String,
    pub run: Batch<'a>,
}

/// Does its work once for each key.
pub type Batch<'a> = Box<dyn FnMut(&[u32]) + 'a>;

/// Nanoseconds of one call.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

/// Makes a contender of what is done with one key. It returns its whole answer: what a part of it tells, the compiler may
/// leave the rest out.
pub fn contender<'a, T>(name: impl Into<String>, mut call: impl FnMut(u32) -> T + 'a) -> Contender<'a> {
    let run = move |keys: &[u32]| {
        for &key in keys {
            black_box(call(black_box(key)));
        }
    };
    Contender { name: name.into(), run: Box::new(run) }
}

/// What the calling thread has spent on a processor.
pub fn spent() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("time that was spent is not negative")
}

/// About how long a batch takes.
const BATCH_NS: f64 = 3_000_000.0;

/// `rounds` rounds over the keys, and one before that is not counted.
pub fn measure(contenders: &mut [Contender<'_>], keys: &[u32], rounds: usize) -> Vec<Figure> {
    let mut next = vec![0; contenders.len()];
    let mut sizes: Vec<usize> = Vec::new();
    for contender in contenders.iter_mut() {
        // Slow ones get few keys, found by trying more and more.
        let mut size = 1;
        loop {
            let start = spent();
            (contender.run)(&keys[..size]);
            if (spent() - start).as_nanos() as f64 > BATCH_NS || size == keys.len() {
                break;
            }
            size = (size * 2).min(keys.len());
        }
        sizes.push(size);
    }
    let mut samples: Vec<Vec<f64>> = vec![Vec::with_capacity(rounds); contenders.len()];
    for _ in 0..rounds {
        for (at, contender) in contenders.iter_mut().enumerate() {
            let size = sizes[at];
            if next[at] + size > keys.len() {
                next[at] = 0;
            }
            let batch = &keys[next[at]..next[at] + size];
            next[at] += size;
            let start = spent();
            (contender.run)(batch);
            samples[at].push((spent() - start).as_nanos() as f64 / size as f64);
        }
    }
    samples.into_iter().map(figure).collect()
}

/// The time of one call, nanoseconds, over and over.
pub fn time<T>(times: usize, mut call: impl FnMut() -> T) -> Figure {
    let samples = (0..times).map(|_| {
        let start = spent();
        black_box(call());
        (spent() - start).as_nanos() as f64
    });
    figure(samples.collect())
}

fn figure(mut samples: Vec<f64>) -> Figure {
    samples.sort_by(f64::total_cmp);
    Figure { median: samples[samples.len() / 2], lowest: samples[0], highest: samples[samples.len() - 1] }
}
