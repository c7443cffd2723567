//! The store as one ingester sees it: calls fail, before or after they took effect, and the ingester's life may end
//! at any of them. A dead ingester reaches nothing any more, whatever its tasks still try.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use forebay_examples::index::{ChunkRef, Index, IndexError, MemoryIndex, Span};
use forebay_examples::logql::Matcher;
use forebay_wal::fs::sim::SimFs;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

/// What all ingesters share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) objects: InMemory,
    pub(crate) index: MemoryIndex,
}

/// The life of one ingester, from a start to a crash.
#[derive(Debug)]
pub(crate) struct Life {
    disk: SimFs,
    /// Calls that change the store until the one at which it dies.
    calls_left: AtomicU64,
    last_takes_effect: AtomicBool,
    dead: AtomicBool,
    fail_before: AtomicU64,
    fail_after: AtomicU64,
}

/// How a call that changes the store ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    FailsBefore,
    FailsAfter,
}

impl Life {
    pub(crate) fn new(disk: SimFs) -> Arc<Self> {
        Arc::new(Self {
            disk,
            calls_left: AtomicU64::new(u64::MAX),
            last_takes_effect: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            fail_before: AtomicU64::new(0),
            fail_after: AtomicU64::new(0),
        })
    }

    /// Lets it die at the call behind the next `calls`; whether that one still takes effect.
    pub(crate) fn die_after(&self, calls: u64, last_takes_effect: bool) {
        self.last_takes_effect.store(last_takes_effect, Ordering::Relaxed);
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    /// Lets the next calls fail.
    pub(crate) fn fail(&self, before: u64, after: u64) {
        self.fail_before.store(before, Ordering::Relaxed);
        self.fail_after.store(after, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.disk.crash_at(self.disk.op_count());
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    fn fate(&self) -> Fate {
        let take = |count: &AtomicU64| {
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        };
        if self.is_dead() {
            return Fate::FailsBefore;
        }
        if !take(&self.calls_left) {
            self.end();
            let last = self.last_takes_effect.load(Ordering::Relaxed);
            return if last { Fate::FailsAfter } else { Fate::FailsBefore };
        }
        match (take(&self.fail_before), take(&self.fail_after)) {
            (true, _) => Fate::FailsBefore,
            (false, true) => Fate::FailsAfter,
            (false, false) => Fate::Works,
        }
    }
}

/// The index as one ingester reaches it.
#[derive(Debug)]
pub(crate) struct NodeIndex {
    pub(crate) shared: Arc<Shared>,
    pub(crate) life: Arc<Life>,
}

#[async_trait]
impl Index for NodeIndex {
    async fn append(&self, tenant: &str, chunks: &[ChunkRef]) -> Result<(), IndexError> {
        let fate = self.life.fate();
        if fate != Fate::FailsBefore {
            self.shared.index.append(tenant, chunks).await?;
        }
        if fate == Fate::Works { Ok(()) } else { Err(IndexError::Unavailable("simulated".into())) }
    }
    async fn chunks(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        self.shared.index.chunks(tenant, matchers, span).await
    }
    async fn label_values(
        &self,
        tenant: &str,
        name: Option<&str>,
        span: Span,
    ) -> Result<BTreeSet<String>, IndexError> {
        self.shared.index.label_values(tenant, name, span).await
    }
    async fn scan(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        self.shared.index.scan(tenant, after, limit).await
    }
    async fn contains(&self, tenant: &str, keys: &[String]) -> Result<Vec<bool>, IndexError> {
        self.shared.index.contains(tenant, keys).await
    }
    async fn drop_refs(&self, tenant: &str, keys: &[String]) -> Result<(), IndexError> {
        self.shared.index.drop_refs(tenant, keys).await
    }
    async fn tenants(&self) -> Result<Vec<String>, IndexError> {
        self.shared.index.tenants().await
    }
}

/// The objects as one ingester reaches them.
#[derive(Debug)]
pub(crate) struct NodeObjects {
    pub(crate) shared: Arc<Shared>,
    pub(crate) life: Arc<Life>,
}

impl fmt::Display for NodeObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated objects")
    }
}

#[async_trait]
impl ObjectStore for NodeObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        let failed = || Err(object_store::Error::Generic { store: "simulated", source: "simulated".into() });
        let fate = self.life.fate();
        if fate == Fate::FailsBefore {
            return failed();
        }
        let put = self.shared.objects.put_opts(location, payload, opts).await;
        if fate == Fate::Works { put } else { failed() }
    }
    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.shared.objects.put_multipart_opts(location, opts).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.shared.objects.get_opts(location, options).await
    }
    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.shared.objects.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.shared.objects.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.shared.objects.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.shared.objects.copy_opts(from, to, options).await
    }
}
