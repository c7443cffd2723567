//! In-memory twins of both stores: for tests, and for a pipeline whose data does not outlive its process.
//! Clones share their contents, so a test can drop everything that works on them and look at what is left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Access, Change, ChunkStore, Deletion, Fence, FenceGuard, Intent, Mark, Progress, StateStore};
use crate::chunk::Chunk;
use crate::error::Error;
use crate::hold::Hold;

/// (tenant, chunk id)
type Key = (String, String);

fn key(chunk: &Chunk) -> Key {
    (chunk.tenant.clone(), chunk.id.clone())
}

/// Where the keys of `tenant` start that come after the chunk `after`.
fn start_after(tenant: &str, after: Option<&str>) -> Bound<Key> {
    match after {
        Some(after) => Bound::Excluded((tenant.to_owned(), after.to_owned())),
        None => Bound::Included((tenant.to_owned(), String::new())),
    }
}

/// An index and object store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryChunks {
    inner: Arc<Mutex<Chunks>>,
}

#[derive(Debug, Default)]
struct Chunks {
    refs: BTreeMap<Key, Chunk>,
    objects: BTreeSet<Key>,
}

impl MemoryChunks {
    /// A store without chunks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a chunk: its object, and the reference to it.
    pub fn insert(&self, chunk: Chunk) {
        let mut inner = self.inner.lock();
        inner.objects.insert(key(&chunk));
        inner.refs.insert(key(&chunk), chunk);
    }

    /// The (tenant, chunk id) of every object, ascending.
    pub fn objects(&self) -> Vec<(String, String)> {
        self.inner.lock().objects.iter().cloned().collect()
    }

    /// The (tenant, chunk id) of every chunk that the index refers to, ascending.
    pub fn refs(&self) -> Vec<(String, String)> {
        self.inner.lock().refs.keys().cloned().collect()
    }
}

#[async_trait]
impl ChunkStore for MemoryChunks {
    async fn list(&self, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<Chunk>, Error> {
        let inner = self.inner.lock();
        let found = inner.refs.range((start_after(tenant, after), Bound::Unbounded)).map(|(_, chunk)| chunk);
        Ok(found.take_while(|chunk| chunk.tenant == tenant).take(limit).cloned().collect())
    }

    async fn drop_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        for chunk in chunks {
            inner.refs.remove(&key(chunk));
        }
        Ok(())
    }

    async fn restore_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.refs.extend(chunks.iter().map(|chunk| (key(chunk), chunk.clone())));
        Ok(())
    }

    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>> {
        let mut inner = self.inner.lock();
        let mut delete =
            |chunk| if inner.objects.remove(&key(chunk)) { Deletion::Deleted } else { Deletion::Missing };
        chunks.iter().map(|chunk| Ok(delete(chunk))).collect()
    }

    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>> {
        let inner = self.inner.lock();
        chunks.iter().map(|chunk| Ok(inner.objects.contains(&key(chunk)))).collect()
    }
}

/// Retention's state in memory. "Durable" here means that it outlives the sweeper, not the process.
#[derive(Debug, Clone, Default)]
pub struct MemoryState {
    inner: Arc<Mutex<State>>,
    fence: Fence,
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    holds: BTreeMap<String, Hold>,
    marks: BTreeMap<Key, Mark>,
    journal: BTreeMap<u64, Intent>,
    open: BTreeMap<Key, u64>,
    progress: BTreeMap<String, Progress>,
    watermark: Option<i64>,
}

impl MemoryState {
    /// A state without holds, marks or journal.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The open intents as the changes of a commit find them, one after the other.
struct Open<'s> {
    before: &'s BTreeMap<Key, u64>,
    now: HashMap<Key, Option<u64>>,
}

impl Open<'_> {
    fn seq(&self, key: &Key) -> Option<u64> {
        self.now.get(key).copied().unwrap_or_else(|| self.before.get(key).copied())
    }
}

impl State {
    fn last_seq(&self) -> u64 {
        self.journal.last_key_value().map_or(0, |(&last, _)| last)
    }

    /// Refuses before anything is touched, so that applying cannot stop half-way.
    fn check(&self, changes: &[Change]) -> Result<(), Error> {
        let (mut created, mut released) = (HashSet::new(), HashMap::new());
        let (mut intended, mut open) = (HashMap::new(), Open { before: &self.open, now: HashMap::new() });
        let mut next_seq = self.last_seq() + 1;
        for change in changes {
            match change {
                Change::CreateHold(Hold { id, .. }) => {
                    if self.holds.contains_key(id) || !created.insert(id) {
                        return Err(Error::HoldExists { id: id.clone() });
                    }
                }
                Change::ReleaseHold { id, release } => {
                    let known = self.holds.get(id);
                    if known.is_none() && !created.contains(id) {
                        return Err(Error::HoldUnknown { id: id.clone() });
                    }
                    let before = known.and_then(|hold| hold.released.as_ref()).map(|release| release.at_ns);
                    if let Some(at_ns) = before.or(released.insert(id, release.at_ns)) {
                        return Err(Error::HoldReleased { id: id.clone(), at_ns });
                    }
                }
                Change::Intend(doomed) => {
                    let key = key(&doomed.chunk);
                    if let Some(seq) = open.seq(&key) {
                        return Err(Error::IntentOpen { tenant: key.0, chunk: key.1, seq });
                    }
                    intended.insert(next_seq, key.clone());
                    open.now.insert(key, Some(next_seq));
                    next_seq += 1;
                }
                Change::Close { seq, .. } => {
                    let before = || self.journal.get(seq).map(|intent| key(&intent.chunk));
                    match intended.get(seq).cloned().or_else(before) {
                        Some(key) if open.seq(&key) == Some(*seq) => drop(open.now.insert(key, None)),
                        _ => return Err(Error::IntentNotOpen { seq: *seq }),
                    }
                }
                Change::PutMark(_) | Change::RemoveMark { .. } => {}
                Change::SetProgress { .. } | Change::SetWatermark(_) => {}
            }
        }
        Ok(())
    }

    /// Applies a checked change; answers the sequence number of an intent.
    fn apply(&mut self, change: &Change) -> Option<u64> {
        match change {
            Change::CreateHold(hold) => {
                self.epoch += 1;
                self.holds.insert(hold.id.clone(), hold.clone());
            }
            Change::ReleaseHold { id, release } => {
                self.epoch += 1;
                if let Some(hold) = self.holds.get_mut(id) {
                    hold.released = Some(release.clone());
                }
            }
            Change::PutMark(mark) => {
                self.marks.insert(key(&mark.chunk), mark.clone());
            }
            Change::RemoveMark { tenant, chunk } => {
                self.marks.remove(&(tenant.clone(), chunk.clone()));
            }
            Change::Intend(doomed) => {
                let seq = self.last_seq() + 1;
                self.open.insert(key(&doomed.chunk), seq);
                self.journal.insert(seq, Intent::open(seq, doomed.clone()));
                return Some(seq);
            }
            Change::Close { seq, closed } => {
                if let Some(intent) = self.journal.get_mut(seq) {
                    intent.closed = Some(closed.clone());
                    self.open.remove(&key(&intent.chunk));
                }
            }
            Change::SetProgress { tenant, progress } => {
                self.progress.insert(tenant.clone(), progress.clone());
            }
            Change::SetWatermark(at_ns) => self.watermark = Some(*at_ns),
        }
        None
    }
}

#[async_trait]
impl StateStore for MemoryState {
    async fn fence(&self, access: Access) -> Result<FenceGuard, Error> {
        Ok(self.fence.acquire(access).await)
    }

    async fn commit(&self, changes: &[Change]) -> Result<Vec<u64>, Error> {
        let mut inner = self.inner.lock();
        inner.check(changes)?;
        Ok(changes.iter().filter_map(|change| inner.apply(change)).collect())
    }

    async fn hold_epoch(&self) -> Result<u64, Error> {
        Ok(self.inner.lock().epoch)
    }

    async fn holds(&self) -> Result<Vec<Hold>, Error> {
        Ok(self.inner.lock().holds.values().cloned().collect())
    }

    async fn marks(
        &self,
        tenant: &str,
        after: Option<&str>,
        through: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Mark>, Error> {
        let inner = self.inner.lock();
        let found = inner.marks.range((start_after(tenant, after), Bound::Unbounded)).map(|(_, mark)| mark);
        let within = |mark: &&Mark| {
            mark.chunk.tenant == tenant && through.is_none_or(|through| mark.chunk.id.as_str() <= through)
        };
        Ok(found.take_while(within).take(limit).cloned().collect())
    }

    async fn open_intents(
        &self,
        tenant: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Intent>, Error> {
        let inner = self.inner.lock();
        let start = match (tenant, after) {
            (_, Some((owner, chunk))) if tenant.is_none_or(|tenant| owner >= tenant) => {
                start_after(owner, Some(chunk))
            }
            (Some(tenant), _) => start_after(tenant, None),
            (None, _) => Bound::Unbounded,
        };
        let of_tenant = inner.open.range((start, Bound::Unbounded));
        let of_tenant = of_tenant.take_while(|((owner, _), _)| tenant.is_none_or(|tenant| owner == tenant));
        let found = of_tenant.filter_map(|(_, seq)| inner.journal.get(seq));
        Ok(found.take(limit).cloned().collect())
    }

    async fn journal(&self, after: u64, limit: usize) -> Result<Vec<Intent>, Error> {
        let inner = self.inner.lock();
        let found = inner.journal.range((Bound::Excluded(after), Bound::Unbounded));
        Ok(found.map(|(_, intent)| intent).take(limit).cloned().collect())
    }

    async fn progress(&self, tenant: &str) -> Result<Option<Progress>, Error> {
        Ok(self.inner.lock().progress.get(tenant).cloned())
    }

    async fn watermark(&self) -> Result<Option<i64>, Error> {
        Ok(self.inner.lock().watermark)
    }
}
