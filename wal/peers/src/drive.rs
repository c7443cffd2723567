//! Threads that append one call after the other, each as soon as the one before has returned.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Outcome;
use crate::load::Load;
use crate::log::{Writer, Writers};
use crate::sample::{Sample, histogram};
use crate::sync;

/// How threads append, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Drive {
    pub threads: usize,
    pub batch: usize,
    /// They stop when either is reached.
    pub time: Duration,
    pub payload_bytes: u64,
    /// Of how many calls one is timed: a look at the clock costs as much as half of the cheapest append.
    pub every: u64,
}

/// Appends in `drive.threads` threads; each has appended once when the clock starts. `settle` is called in between.
pub fn closed_loop<L: Writers>(
    log: &L,
    load: &Load,
    drive: &Drive,
    settle: impl FnOnce() -> Outcome<()>,
) -> Outcome<Sample> {
    let records = load.records(drive.batch);
    let call_bytes = load.record_bytes() * drive.batch as u64;
    let crew = Crew {
        drive,
        calls: (drive.payload_bytes / call_bytes / drive.threads as u64).max(1),
        ring: load.len(),
        records: &records,
        warm: Barrier::new(drive.threads + 1),
        start: Barrier::new(drive.threads + 1),
        stop: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let crew = &crew;
        let threads: Vec<_> =
            (0..drive.threads).map(|number| scope.spawn(move || crew.run(log, number))).collect();
        crew.warm.wait();
        let settled = log.settle().and_then(|()| settle());
        let before = Spent::now()?;
        let begun = Instant::now();
        crew.start.wait();
        let mut latencies = histogram();
        let (mut calls, mut payload_bytes, mut ended) = (0, 0, begun);
        for thread in threads {
            let ran = thread.join().map_err(|_| "a thread that appends has panicked")??;
            latencies.add(&ran.latencies)?;
            calls += ran.calls;
            payload_bytes += ran.payload_bytes;
            ended = ended.max(ran.ended);
        }
        let after = Spent::now()?;
        settled?;
        Ok(Sample {
            records: calls * drive.batch as u64,
            payload_bytes,
            elapsed_ns: nanoseconds(ended - begun),
            cpu_ns: nanoseconds(after.cpu - before.cpu),
            writes: after.writes - before.writes,
            syncs: after.syncs.calls - before.syncs.calls,
            sync_ns: after.syncs.spent_ns - before.syncs.spent_ns,
            latencies: latencies
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
            ..Sample::default()
        })
    })
}

struct Crew<'a> {
    drive: &'a Drive,
    calls: u64,
    ring: usize,
    records: &'a [&'a [u8]],
    warm: Barrier,
    start: Barrier,
    stop: AtomicBool,
}

struct Ran {
    calls: u64,
    payload_bytes: u64,
    ended: Instant,
    latencies: Histogram<u64>,
}

impl Crew<'_> {
    fn run<L: Writers>(&self, log: &L, number: usize) -> Outcome<Ran> {
        let batch = self.drive.batch;
        // Others wait at the barriers, whatever happens here.
        let writer = log.writer(number).and_then(|mut writer| {
            writer.append(self.records.get(..batch).unwrap_or_default())?;
            Ok(writer)
        });
        self.warm.wait();
        self.start.wait();
        let ran = writer.and_then(|writer| self.append(writer, number));
        self.stop.store(true, Ordering::Relaxed);
        ran
    }

    fn append(&self, mut writer: impl Writer, number: usize) -> Outcome<Ran> {
        let batch = self.drive.batch;
        let mut at = number * 61 % self.ring;
        let begun = Instant::now();
        let mut ran = Ran { calls: 0, payload_bytes: 0, ended: begun, latencies: histogram() };
        while ran.calls < self.calls && !self.stop.load(Ordering::Relaxed) {
            let records = self.records.get(at..at + batch).unwrap_or_default();
            if ran.calls.is_multiple_of(self.drive.every) {
                let called = Instant::now();
                writer.append(records)?;
                let returned = Instant::now();
                ran.latencies.saturating_record(nanoseconds(returned - called));
                if returned - begun >= self.drive.time {
                    self.stop.store(true, Ordering::Relaxed);
                }
            } else {
                writer.append(records)?;
            }
            ran.calls += 1;
            ran.payload_bytes += records.iter().map(|record| record.len() as u64).sum::<u64>();
            at = (at + batch) % self.ring;
        }
        ran.ended = Instant::now();
        Ok(ran)
    }
}

/// What the process has used so far.
struct Spent {
    cpu: Duration,
    writes: u64,
    syncs: sync::Syncs,
}

impl Spent {
    fn now() -> Outcome<Self> {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let io = std::fs::read_to_string("/proc/self/io")?;
        let writes = io.lines().find_map(|line| line.strip_prefix("syscw: ")).ok_or("no count of writes")?;
        Ok(Self { cpu: Duration::try_from(cpu)?, writes: writes.parse()?, syncs: sync::so_far() })
    }
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
