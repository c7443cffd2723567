//! Stores that can fail, crash and be interleaved, and that watch what a sweeper does to them.

#![allow(dead_code, reason = "every test binary uses a part")]
#![expect(clippy::unwrap_used, reason = "outside of test functions it is an assertion too")]

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use forebay_retention::store::{
    Access, Change, ChunkStore, Deletion, FenceGuard, Intent, Mark, MemoryChunks, MemoryState, Progress,
    StateStore,
};
use forebay_retention::{
    Chunk, Error, Hold, Now, Options, Policy, PolicySet, Retention, Scope, Selector, TieBreak, TimeRange,
};

pub(crate) const S: i64 = 1_000_000_000;

/// A trusted instant, `s` seconds after the start.
pub(crate) fn at(s: i64) -> Now {
    Now::trusted(s * S, u64::try_from(s * S).unwrap())
}

pub(crate) fn chunk(tenant: &str, id: &str, app: &str, min_s: i64, max_s: i64) -> Chunk {
    Chunk {
        tenant: tenant.into(),
        id: id.into(),
        labels: vec![("app".into(), app.into())],
        range: TimeRange::covering(min_s * S, max_s * S),
        size_bytes: 10,
    }
}

pub(crate) fn keep(id: &str, selector: &str, seconds: u64) -> Policy {
    let retention = Retention::from_loki(Duration::from_secs(seconds));
    Policy::new(id, Scope::All, Selector::parse_loki(selector).unwrap(), retention)
}

pub(crate) fn hold(id: &str, selector: &str) -> Hold {
    Hold::new(id, Scope::All, Selector::parse_loki(selector).unwrap(), "case 7", "asked by the court", 0)
}

pub(crate) fn compiled(policies: &[Policy]) -> Arc<PolicySet> {
    Arc::new(PolicySet::compile(policies.iter().cloned(), TieBreak::Longest).unwrap())
}

/// Small pages and batches, no guard.
pub(crate) fn options(delay_s: u64) -> Options {
    Options {
        delete_delay: Duration::from_secs(delay_s),
        page: 3,
        batch: 2,
        max_delete_fraction: 1.0,
        guard_from_chunks: 0,
        ..Options::default()
    }
}

/// How a call to a store goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    CrashBefore,
    CrashAfter,
    ErrorBefore,
    ErrorAfter,
    /// For deletions: every second key fails. Other calls fail without effect.
    Partial,
}

type Watch = dyn Fn(&'static str, &[Chunk]) + Send + Sync;

/// What the two wrapped stores of one process share.
#[derive(Clone)]
pub(crate) struct Wire {
    calls: Arc<AtomicU64>,
    steps: Arc<AtomicU64>,
    crashed: Arc<AtomicBool>,
    fault: Option<(u64, Fault)>,
    yields: bool,
    watch: Arc<Watch>,
}

impl Wire {
    pub(crate) fn new(
        fault: Option<(u64, Fault)>,
        yields: bool,
        watch: impl Fn(&'static str, &[Chunk]) + Send + Sync + 'static,
    ) -> Self {
        Self {
            calls: Arc::default(),
            steps: Arc::default(),
            crashed: Arc::default(),
            fault,
            yields,
            watch: Arc::new(watch),
        }
    }

    pub(crate) fn faultless() -> Self {
        Self::new(None, false, |_, _| {})
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Anything that happened at all, so that a scheduler can tell waiting from working.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    pub(crate) fn crashed(&self) -> bool {
        self.crashed.load(Ordering::SeqCst)
    }

    async fn next_fault(&self) -> Option<Fault> {
        if self.yields {
            let mut yielded = false;
            poll_fn(|_| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending })
                .await;
        }
        self.steps.fetch_add(1, Ordering::SeqCst);
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        self.fault.filter(|&(at, _)| at == call).map(|(_, fault)| fault)
    }

    async fn die<T>(&self) -> T {
        self.crashed.store(true, Ordering::SeqCst);
        pending().await
    }

    async fn through<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let broken = || Error::unavailable("a call that a test breaks", "broken");
        match self.next_fault().await {
            None => {
                let answer = call.await;
                self.steps.fetch_add(1, Ordering::SeqCst);
                answer
            }
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::CrashAfter) => {
                let _ = call.await;
                self.die().await
            }
            Some(Fault::ErrorBefore | Fault::Partial) => Err(broken()),
            Some(Fault::ErrorAfter) => {
                let _ = call.await;
                Err(broken())
            }
        }
    }

    async fn each<T>(
        &self,
        chunks: &[Chunk],
        call: impl Fn(&[Chunk]) -> Vec<Result<T, Error>> + Send,
    ) -> Vec<Result<T, Error>> {
        let broken = || Error::unavailable("a key that a test breaks", "broken");
        match self.next_fault().await {
            None => call(chunks),
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::CrashAfter) => {
                // Dies in the middle: one key is done, the rest is not.
                let (first, _) = chunks.split_at(1.min(chunks.len()));
                call(first);
                self.die().await
            }
            Some(Fault::ErrorBefore) => chunks.iter().map(|_| Err(broken())).collect(),
            Some(Fault::ErrorAfter) => {
                call(chunks);
                chunks.iter().map(|_| Err(broken())).collect()
            }
            Some(Fault::Partial) => {
                let mut answers = Vec::new();
                for (n, chunk) in chunks.iter().enumerate() {
                    if n % 2 == 0 {
                        answers.push(Err(broken()))
                    } else {
                        answers.extend(call(std::slice::from_ref(chunk)))
                    }
                }
                answers
            }
        }
    }
}

/// [`MemoryChunks`] behind a [`Wire`].
#[derive(Clone)]
pub(crate) struct Chunks {
    pub(crate) inner: MemoryChunks,
    pub(crate) wire: Wire,
}

#[async_trait]
impl ChunkStore for Chunks {
    async fn list(&self, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<Chunk>, Error> {
        self.wire.through(self.inner.list(tenant, after, limit)).await
    }

    async fn drop_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        (self.wire.watch)("drop_refs", chunks);
        self.wire.through(self.inner.drop_refs(chunks)).await
    }

    async fn restore_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        (self.wire.watch)("restore_refs", chunks);
        self.wire.through(self.inner.restore_refs(chunks)).await
    }

    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>> {
        (self.wire.watch)("delete", chunks);
        // Looked at again when the request takes effect: nothing may have changed while it was under way.
        let call = |chunks: &[Chunk]| {
            (self.wire.watch)("delete", chunks);
            run(self.inner.delete(chunks)).unwrap()
        };
        self.wire.each(chunks, call).await
    }

    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>> {
        self.wire.each(chunks, |chunks: &[Chunk]| run(self.inner.head(chunks)).unwrap()).await
    }
}

/// [`MemoryState`] behind a [`Wire`]. The fence belongs to the process: a crash releases it.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) inner: MemoryState,
    pub(crate) wire: Wire,
}

#[async_trait]
impl StateStore for State {
    async fn fence(&self, access: Access) -> Result<FenceGuard, Error> {
        self.wire.through(self.inner.fence(access)).await
    }

    async fn commit(&self, changes: &[Change]) -> Result<Vec<u64>, Error> {
        self.wire.through(self.inner.commit(changes)).await
    }

    async fn hold_epoch(&self) -> Result<u64, Error> {
        self.wire.through(self.inner.hold_epoch()).await
    }

    async fn holds(&self) -> Result<Vec<Hold>, Error> {
        self.wire.through(self.inner.holds()).await
    }

    async fn marks(
        &self,
        tenant: &str,
        after: Option<&str>,
        through: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Mark>, Error> {
        self.wire.through(self.inner.marks(tenant, after, through, limit)).await
    }

    async fn open_intents(
        &self,
        tenant: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Intent>, Error> {
        self.wire.through(self.inner.open_intents(tenant, after, limit)).await
    }

    async fn journal(&self, after: u64, limit: usize) -> Result<Vec<Intent>, Error> {
        self.wire.through(self.inner.journal(after, limit)).await
    }

    async fn progress(&self, tenant: &str) -> Result<Option<Progress>, Error> {
        self.wire.through(self.inner.progress(tenant)).await
    }

    async fn watermark(&self) -> Result<Option<i64>, Error> {
        self.wire.through(self.inner.watermark()).await
    }
}

/// Runs a future that never really waits; `None` when it crashed, that is, will wait for ever.
pub(crate) fn run<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return Some(done);
        }
    }
    None
}

/// Polls the tasks in the order that `pick` gives, and every second time in turn so that none starves, until all
/// are done or the process crashes.
pub(crate) fn interleave(
    mut tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>,
    wire: &Wire,
    mut pick: impl FnMut(usize) -> usize,
) {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut idle, mut polls) = (0, 0);
    while !tasks.is_empty() && !wire.crashed() {
        let before = wire.steps();
        polls += 1;
        let turn = if polls % 2 == 0 { polls / 2 % tasks.len() } else { pick(tasks.len()) };
        let done = tasks[turn].as_mut().poll(&mut cx).is_ready();
        if done {
            drop(tasks.swap_remove(turn));
        }
        idle = if done || wire.steps() != before { 0 } else { idle + 1 };
        assert!(idle < 10_000, "the tasks wait for each other");
    }
}

/// Everything that outlives a process, in a form that can be compared.
pub(crate) type Remains = (Vec<(String, String)>, Vec<(String, String)>, Vec<Mark>, Vec<Intent>, Vec<Hold>);

pub(crate) fn remains(chunks: &MemoryChunks, state: &MemoryState, tenants: &[&str]) -> Remains {
    run(async {
        let mut marks = Vec::new();
        for tenant in tenants {
            marks.extend(state.marks(tenant, None, None, usize::MAX).await.unwrap());
        }
        let journal = state.journal(0, usize::MAX).await.unwrap();
        (chunks.refs(), chunks.objects(), marks, journal, state.holds().await.unwrap())
    })
    .unwrap()
}
