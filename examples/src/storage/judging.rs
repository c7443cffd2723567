//! For tests: a store that judges each put before it does it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A store in memory that does what its judge lets pass.
pub(crate) struct Judging<J> {
    judge: J,
    rest: InMemory,
}

impl<J: Fn(&str) -> Result<()>> Judging<J> {
    /// One whose `judge` is given the key of each put.
    pub(crate) fn new(judge: J) -> Self {
        Self { judge, rest: InMemory::new() }
    }
}

impl<J> fmt::Debug for Judging<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judging")
    }
}

impl<J> fmt::Display for Judging<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("judging")
    }
}

#[async_trait]
impl<J: Fn(&str) -> Result<()> + Send + Sync + 'static> ObjectStore for Judging<J> {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        (self.judge)(at.as_ref())?;
        // As stores do, it takes its time.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.rest.put_opts(at, payload, options).await
    }
    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.rest.put_multipart_opts(at, options).await
    }
    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.rest.get_opts(at, options).await
    }
    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.rest.delete_stream(at)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.rest.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.rest.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.rest.copy_opts(from, to, options).await
    }
}
