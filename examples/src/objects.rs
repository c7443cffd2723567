//! Objects as files of a directory that several processes share. Invariant: an object that was put is on disk, and so is
//! every name above it, whoever made that directory.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_wal::fs::StdFs;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::data_dir::Names;
use crate::offload::offload;

/// The objects of a directory.
#[derive(Debug)]
pub struct Directory {
    files: LocalFileSystem,
    names: Arc<Names<StdFs>>,
}

impl Directory {
    /// Those in `dir`, which is there and has a durable name.
    ///
    /// # Errors
    /// A directory that cannot be found.
    pub fn open(dir: &FilePath) -> Result<Self> {
        let files = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
        Ok(Self { files, names: Arc::new(Names::new(StdFs, dir.to_owned())) })
    }

    /// Makes the names of the directories above an object durable, those that others have made too: the store syncs
    /// those alone that it makes itself.
    async fn make_way(&self, object: &Path) -> Result<()> {
        let Some((dir, _)) = object.as_ref().rsplit_once('/') else { return Ok(()) };
        if self.names.are_known(dir) {
            return Ok(());
        }
        let (names, dir) = (Arc::clone(&self.names), dir.to_owned());
        let made = offload(move || names.make(&dir)).await;
        made.map_err(|source| Error::Generic { store: "directory", source: source.into() })
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Directory {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.make_way(at).await?;
        self.files.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.make_way(at).await?;
        self.files.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(at, options).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.make_way(to).await?;
        self.files.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn an_object_is_where_its_name_says_below_directories_that_were_made_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Directory::open(dir.path()).unwrap();
        for name in ["tenant/stream/1:2:3", "tenant/stream/2:3:4", "alone"] {
            let at = Path::parse(name).unwrap();
            objects.put(&at, PutPayload::from_static(b"x")).await.unwrap();
            assert!(dir.path().join(name).is_file(), "{name}");
            assert_eq!(&objects.get(&at).await.unwrap().bytes().await.unwrap()[..], b"x");
        }
        assert!(objects.names.are_known("tenant/stream"));
    }
}
