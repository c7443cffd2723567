//! A store on etcd. Invariant: versions are revisions of the whole store, which rise over deletion and creation anew; a
//! key's own version, which begins again at 1, is looked at nowhere.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, EventType, GetOptions, GetResponse, KeyValue, Txn, TxnOp,
    TxnOpResponse, TxnResponse, WatchOptions, WatchStream,
};

use super::{
    Expect, Listing, MAX_VALUE_BYTES, News, PutError, Record, Revision, Store, StoreError, Watch, check_value,
};

/// A listing of more is refused: the limits of a ring keep far below it.
const MAX_LISTING_BYTES: usize = 1 << 30;

/// How often an idle connection is asked for a sign of life, and how long that may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Where etcd is and which of its keys are the ring's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// As `http://10.0.0.1:2379`; one that answers is enough.
    pub endpoints: Vec<String>,
    /// What all keys begin with. Default `forebay/ring/`. Rings of different names are apart if none is the beginning
    /// of another.
    pub prefix: String,
}

impl EtcdOptions {
    /// The defaults at these endpoints.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: "forebay/ring/".to_owned(),
        }
    }
}

/// A [`Store`] on etcd, 3.4 or later; a clone shares the connection. Calls wait for as long as etcd does: put it into
/// [`Timed`](super::Timed).
#[derive(Clone)]
pub struct EtcdStore {
    client: Client,
    prefix: Arc<str>,
}

impl EtcdStore {
    /// Prepares to connect, which happens with the first call.
    ///
    /// # Errors
    ///
    /// If an endpoint is none.
    pub async fn connect(options: &EtcdOptions) -> Result<Self, StoreError> {
        let connect = ConnectOptions::new()
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        let client =
            Client::connect(&options.endpoints, Some(connect)).await.map_err(StoreError::unreachable)?;
        Ok(Self { client, prefix: options.prefix.as_str().into() })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// `None` for what lies under a key that is no text, and so is not of a ring.
    fn record(&self, pair: KeyValue) -> Result<Option<Record>, StoreError> {
        let version = revision(pair.mod_revision())?;
        let (key, value) = pair.into_key_value();
        Ok(self.own_key(&key).map(|key| Record { key, value: Bytes::from(value), version }))
    }

    fn own_key(&self, key: &[u8]) -> Option<Arc<str>> {
        let own = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(&*self.prefix));
        own.map(Arc::from)
    }

    fn first(&self, mut response: GetResponse) -> Result<Option<Record>, StoreError> {
        response.take_kvs().into_iter().next().map_or(Ok(None), |pair| self.record(pair))
    }

    /// Does one thing if what is there is as expected, and otherwise tells what is there.
    async fn write(&self, key: &str, write: TxnOp, expect: Expect) -> Result<TxnResponse, PutError> {
        let key = self.key(key);
        let expected = match expect {
            Expect::Absent => Some(0),
            Expect::Version(version) => Some(i64::try_from(version.0).unwrap_or(i64::MAX)),
            Expect::Any => None,
        };
        let compare =
            expected.map(|revision| Compare::mod_revision(key.as_str(), CompareOp::Equal, revision));
        let txn = Txn::new()
            .when(compare.into_iter().collect::<Vec<_>>())
            .and_then([write])
            .or_else([TxnOp::get(key, None)]);
        let mut kv = self.client.kv_client();
        let response = kv.txn(txn).await.map_err(StoreError::unreachable)?;
        if response.succeeded() {
            return Ok(response);
        }
        let current = match response.op_responses().pop() {
            Some(TxnOpResponse::Get(response)) => self.first(response)?,
            _ => return Err(broken("no answer to a read").into()),
        };
        Err(PutError::Lost { current })
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn list(&self) -> Result<Listing, StoreError> {
        let mut kv = self.client.kv_client().max_decoding_message_size(MAX_LISTING_BYTES);
        let options = GetOptions::new().with_prefix();
        let mut response = kv.get(&*self.prefix, Some(options)).await.map_err(StoreError::unreachable)?;
        let revision = revision_of(response.header())?;
        let mut records = Vec::new();
        for pair in response.take_kvs() {
            records.extend(self.record(pair)?);
        }
        records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(Listing { records, revision })
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let mut kv = self.client.kv_client();
        let response = kv.get(self.key(key), None).await.map_err(StoreError::unreachable)?;
        self.first(response)
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        check_value(&value, MAX_VALUE_BYTES)?;
        let put = TxnOp::put(self.key(key), value, None);
        let response = self.write(key, put, expect).await?;
        Ok(revision_of(response.header())?)
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        let delete = TxnOp::delete(self.key(key), None);
        self.write(key, delete, expect).await.map(drop)
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let stream = self.stream(after).await?;
        Ok(Box::new(EtcdWatch { store: self.clone(), stream, news: VecDeque::new() }))
    }
}

impl EtcdStore {
    async fn stream(&self, after: Revision) -> Result<WatchStream, StoreError> {
        // From 0 would be from now.
        let from = i64::try_from(after.0).unwrap_or(i64::MAX).saturating_add(1);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let mut client = self.client.watch_client();
        client.watch(&*self.prefix, Some(options)).await.map_err(StoreError::unreachable)
    }
}

struct EtcdWatch {
    store: EtcdStore,
    stream: WatchStream,
    news: VecDeque<News>,
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<News, StoreError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            let message = self.stream.message().await.map_err(StoreError::unreachable)?;
            let Some(response) = message else { return Err(StoreError::unreachable("the watch has ended")) };
            if response.canceled() {
                if response.compact_revision() == 0 {
                    return Err(StoreError::unreachable(response.cancel_reason().to_owned()));
                }
                // What happened since is not kept any more.
                let listing = self.store.list().await?;
                self.stream = self.store.stream(listing.revision).await?;
                return Ok(News::Resync(listing));
            }
            for event in response.events() {
                let pair = event.kv().ok_or_else(|| broken("an event of nothing"))?;
                self.news.extend(match event.event_type() {
                    EventType::Put => self.store.record(pair.clone())?.map(News::Put),
                    EventType::Delete => self.store.own_key(pair.key()).map(|key| News::Delete { key }),
                });
            }
        }
    }
}

fn revision(number: i64) -> Result<Revision, StoreError> {
    u64::try_from(number).map(Revision).map_err(|_| broken(format!("revision {number}")))
}

fn revision_of(header: Option<&etcd_client::ResponseHeader>) -> Result<Revision, StoreError> {
    revision(header.ok_or_else(|| broken("an answer without a header"))?.revision())
}

fn broken(what: impl Into<String>) -> StoreError {
    StoreError::Broken { what: what.into() }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
