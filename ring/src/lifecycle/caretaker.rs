//! Looks after the records of those who are gone: makes the silent leave, and deletes what is left of those who left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::change::Wish;
use super::driver::{Driver, Status, apply};
use super::event::Written;
use super::follow::Ears;
use super::forget::{Forget, OwnView};
use super::home::Home;
use super::run::{LEAST_PERIOD, Report};
use super::watcher::Watcher;
use crate::codec::{RecordKey, RecordKind, decode_instance};
use crate::instance::State;
use crate::membership::Membership;
use crate::store::{Expect, PutError, Store, StoreError, Timed};

/// Who is gone, and for how long it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaretakerOptions {
    /// When to make the silent leave; default never.
    pub forget: Option<Forget>,
    /// How long the records of those who left are kept. Default 24 hours; see
    /// [`drop_tombstones`](Membership::drop_tombstones) for what is too short.
    pub keep_left: Duration,
    /// How often it looks. Default 30 s, at least 100 ms.
    pub period: Duration,
}

impl Default for CaretakerOptions {
    fn default() -> Self {
        let (keep_left, period) = (Duration::from_secs(24 * 60 * 60), Duration::from_secs(30));
        Self { forget: None, keep_left, period }
    }
}

/// Looks after the records of a ring in a task that ends when this is dropped. Each instance may have one: what two of
/// them do at once is done once.
#[derive(Debug)]
pub struct Caretaker {
    _task: JoinSet<()>,
}

impl Caretaker {
    /// Starts to look after the ring that `watcher` watches. With a driver, nobody is forgotten while its own
    /// heartbeats do not come through.
    pub fn spawn(home: Home, watcher: &Watcher, driver: Option<&Driver>, options: CaretakerOptions) -> Self {
        let store = Timed::new(Arc::clone(&home.store), home.time_out);
        let own = driver.map(|driver| (Arc::clone(driver.id()), driver.watch_status()));
        let (shared, members) = (Arc::clone(watcher.shared()), watcher.members());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let run = Run { home, store, own, options };
            loop {
                tokio::time::sleep(run.options.period.max(LEAST_PERIOD)).await;
                let (ears, known) = (shared.ears(), Arc::clone(&members.borrow()));
                run.forget_silent(ears, &known).await;
                let before_ns = (run.home.clock)().mono_ns.saturating_sub(nanos(run.options.keep_left));
                let expired = shared.expired(before_ns);
                run.delete(&expired).await;
            }
        });
        Self { _task: task }
    }
}

struct Run {
    home: Home,
    store: Timed,
    own: Option<(Arc<str>, watch::Receiver<Status>)>,
    options: CaretakerOptions,
}

impl Run {
    async fn forget_silent(&self, ears: Ears, members: &Membership) {
        let Some((forget, watching_since_ns)) = self.options.forget.as_ref().zip(ears.watching_since_ns)
        else {
            return;
        };
        let (id, heartbeat_ns) = match &self.own {
            // Before its first heartbeat it has none to show.
            Some((id, status)) => (Arc::clone(id), Some(status.borrow().heartbeat_ns.unwrap_or(0))),
            None => (Arc::from(""), None),
        };
        let own = OwnView { id, heartbeat_ns, watching_since_ns, store_failed_ns: ears.failed_ns };
        for (id, seen) in forget.due(members, &own, (self.home.clock)().mono_ns) {
            match apply(&self.home, &id, &Wish::Bury { seen }).await {
                Ok(Written::Done { .. }) => (self.home.reporter)(Report::Forgotten { id }),
                Ok(_) => {}
                Err(error) => (self.home.reporter)(Report::Write(error)),
            }
        }
    }

    async fn delete(&self, keys: &[String]) {
        for key in keys {
            match self.delete_left(key).await {
                // Whoever came back meanwhile keeps what it has.
                Ok(()) | Err(PutError::Lost { .. }) => {}
                Err(PutError::Store(error)) => (self.home.reporter)(Report::Write(error.into())),
            }
        }
    }

    /// Deletes a record of an instance whose own record is LEFT still.
    async fn delete_left(&self, key: &str) -> Result<(), PutError> {
        let Some(RecordKey { name, .. }) = RecordKey::parse(key) else { return Ok(()) };
        let Some(record) = self.store.get(key).await? else { return Ok(()) };
        if self.has_left(&name).await? {
            self.store.delete_if(key, Expect::Version(record.version)).await?;
        }
        Ok(())
    }

    async fn has_left(&self, id: &str) -> Result<bool, StoreError> {
        let record = self.store.get(&RecordKind::Instance.key(id)).await?;
        let record = record.and_then(|record| decode_instance(&record.value).ok());
        Ok(record.is_some_and(|record| record.instance.state == State::Left))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
