//! The life of this process's ingester in the ring: it joins when its log is replayed, leaves when it stops, and gets
//! no writes while its log takes none.
//!
//! Invariant: it is LEFT, and nobody asks it any more, only after the store has all that it held.

use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use forebay_agent::clock::Deadline;
use forebay_ring::lifecycle::{
    Drain, Driver, Lifecycler, LifecyclerOptions, OptionsError, Phase, Status, Tokens,
};
use forebay_wal::fs::Fs;
use tokio::sync::watch;

use super::{Cluster, RingError};
use crate::config::{Config, Target};
use crate::excerpt::Excerpt;
use crate::ingester::Ingester;

/// How often the log is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether it may join.
const LOOK_AT_START: Duration = Duration::from_millis(10);
/// How long the store is given to take that the ingester has left, once it lingers no more.
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);

/// The life of an ingester in the ring. It ends, as in a crash, when the last clone is dropped.
#[derive(Debug)]
pub struct Life<F: Fs> {
    driver: Arc<Driver>,
    hold: Arc<Hold<F>>,
    unregister: bool,
    join_after: Duration,
    final_sleep: Duration,
}

impl<F: Fs> Clone for Life<F> {
    fn clone(&self) -> Self {
        let (driver, hold) = (Arc::clone(&self.driver), Arc::clone(&self.hold));
        Self { driver, hold, ..*self }
    }
}

/// What an ingester holds that is about to leave.
#[derive(Debug)]
struct Hold<F: Fs> {
    /// Once its log is replayed.
    ingester: OnceLock<Ingester<F>>,
    /// By when the process is to stop.
    stop: watch::Sender<Option<Deadline>>,
    /// Whether all is stored.
    stored: watch::Sender<Option<Result<(), String>>>,
}

#[async_trait]
impl<F: Fs> Drain for Hold<F> {
    /// Waits for the stop of the process: an ingester whose log failed holds its lines until then.
    async fn drain(&self) {
        let Some(ingester) = self.ingester.get() else { return };
        let mut stop = self.stop.subscribe();
        // The sender is in here.
        let deadline =
            stop.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline).unwrap_or_default();
        let stored = ingester.drain(deadline.left() / 4 * 3).await;
        let is_stored = stored.is_ok();
        self.stored.send_replace(Some(stored.map_err(|error| format!("{error:#}"))));
        if !is_stored {
            // Its log has lines that nobody else may have: it stays in the ring until it is back.
            pending::<()>().await;
        }
    }
}

/// The setting that no ingester can have.
fn refused(config: &Config, addr: &str, error: OptionsError) -> RingError {
    let (key, value) = match error {
        OptionsError::TooLong { what: "id", .. } => ("common.instance_id", &*config.common.instance_id),
        OptionsError::TooLong { what: "zone", .. } => {
            ("common.instance_availability_zone", &*config.common.instance_availability_zone)
        }
        OptionsError::TooLong { .. } => ("ingester.lifecycler.address", addr),
        error => return error.into(),
    };
    RingError::Setting { key, value: format!("{:?}", Excerpt(value)), why: error.to_string() }
}

impl<F: Fs> Life<F> {
    /// Begins to live in the ring, at `addr`, and to say so. It is PENDING until [`recovered`](Self::recovered).
    ///
    /// # Errors
    /// A configuration that no ingester can have.
    pub fn begin(cluster: &Cluster, config: &Config, addr: &str) -> Result<Self, RingError> {
        let lifecycler = &config.ingester.lifecycler;
        let count = NonZeroUsize::new(lifecycler.num_tokens).unwrap_or(NonZeroUsize::MIN);
        let alone = config.target == Target::All;
        let options = LifecyclerOptions {
            zone: config.common.instance_availability_zone.as_str().into(),
            tokens: Tokens::Random { count },
            heartbeat_period: lifecycler.heartbeat_period,
            observe: lifecycler.observe_period,
            // It is for those that are restarted one after another.
            min_ready: if alone { Duration::ZERO } else { lifecycler.min_ready_duration },
            unregister: lifecycler.unregister_on_shutdown,
            final_wait: lifecycler.final_sleep,
            ..LifecyclerOptions::new(config.common.instance_id.as_str(), addr)
        };
        let life = Lifecycler::new(options).map_err(|error| refused(config, addr, error))?;
        let (stop, stored) = (watch::Sender::new(None), watch::Sender::new(None));
        let hold = Arc::new(Hold { ingester: OnceLock::new(), stop, stored });
        let view = cluster.shared.watcher.members();
        let drain = Arc::clone(&hold) as Arc<dyn Drain>;
        let driver = Arc::new(Driver::spawn(life, cluster.shared.home.clone(), view, Some(drain)));
        let (unregister, join_after) = (lifecycler.unregister_on_shutdown, lifecycler.join_after);
        Ok(Self { driver, hold, unregister, join_after, final_sleep: lifecycler.final_sleep })
    }

    /// The log is replayed: it is back, or joins, after a while if it is to wait before that.
    pub fn recovered(&self, ingester: Ingester<F>) {
        // Told a second time it is the same one.
        let _ = self.hold.ingester.set(ingester);
        if self.join_after.is_zero() {
            return self.driver.recovered();
        }
        // Whoever holds the driver keeps it alive.
        let (driver, wait) = (Arc::downgrade(&self.driver), self.join_after);
        tokio::spawn(async move {
            let mut waited = Duration::ZERO;
            while let Some(driver) = driver.upgrade() {
                let Status { phase, returning, .. } = driver.status();
                let is_loaded = !matches!(phase, Phase::New | Phase::Loading);
                if is_loaded && (returning || waited >= wait) {
                    return driver.recovered();
                }
                drop(driver);
                tokio::time::sleep(LOOK_AT_START).await;
                waited += LOOK_AT_START;
            }
        });
    }

    /// Where it is.
    pub fn status(&self) -> Status {
        self.driver.status()
    }

    /// What lives.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Leaves by `deadline`: takes no pushes any more, stores what it holds, and unregisters, where that is configured.
    ///
    /// # Errors
    /// Where the store did not take everything in time. It stays LEAVING in the ring then, and its log keeps the rest.
    pub async fn leave(&self, deadline: Deadline) -> anyhow::Result<()> {
        let mut stored = self.hold.stored.subscribe();
        if self.hold.ingester.get().is_some() {
            // It may still wait to join: it has all that it had, and can leave.
            self.driver.recovered();
        }
        self.hold.stop.send_replace(Some(deadline));
        self.driver.shut_down(Some(self.unregister));
        let told = async {
            tokio::select! {
                told = stored.wait_for(Option::is_some) => told.ok().and_then(|told| told.clone()),
                // A life that had not begun ends at once.
                () = self.driver.stopped() => None,
            }
        };
        // The drain may have panicked.
        let told = tokio::time::timeout(deadline.left(), told)
            .await
            .context("the ingester did not say in time that all is stored; its log keeps the rest")?;
        match (told.or_else(|| self.hold.stored.borrow().clone()), self.hold.ingester.get()) {
            (Some(stored), _) => stored.map_err(anyhow::Error::msg)?,
            (None, Some(ingester)) => ingester.drain(deadline.left() / 4 * 3).await?,
            (None, None) => {}
        }
        let patience = (self.final_sleep + LEAVE_PATIENCE).min(deadline.left() / 4 * 3);
        if tokio::time::timeout(patience, self.driver.stopped()).await.is_err() {
            tracing::warn!("the ring was not told in time that this ingester has stopped");
        }
        Ok(())
    }

    /// Waits until the log fails, and then sees to it that there are no more writes.
    pub async fn mind_log(self) {
        loop {
            if let Some(failure) = self.hold.ingester.get().and_then(Ingester::log_failure) {
                tracing::error!(failure, "no more writes until the log is opened again");
                return self.driver.shut_down(Some(false));
            }
            if self.status().phase == Phase::Stopped {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_ring::store::MemoryStore;
    use forebay_wal::fs::sim::SimFs;

    use super::*;
    use crate::ring::tests::{HERE, MINUTE, cluster};

    struct Panics;

    #[async_trait]
    impl Drain for Panics {
        async fn drain(&self) {
            panic!("as a drain with a fault does");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_in_time_although_the_drain_panicked() {
        let cluster = cluster(&MemoryStore::default());
        let (home, view) = (cluster.shared.home.clone(), cluster.shared.watcher.members());
        let life = Lifecycler::new(LifecyclerOptions::new("a", HERE)).unwrap();
        let driver = Arc::new(Driver::spawn(life, home, view, Some(Arc::new(Panics))));
        let (stop, stored) = (watch::Sender::new(None), watch::Sender::new(None));
        let hold: Arc<Hold<SimFs>> = Arc::new(Hold { ingester: OnceLock::new(), stop, stored });
        let wait = Duration::ZERO;
        let life = Life { driver, hold, unregister: true, join_after: wait, final_sleep: wait };
        life.driver.recovered();
        assert!(cluster.until_active("a", None, MINUTE).await);
        let left = tokio::time::timeout(MINUTE * 2, life.leave(Deadline::after(MINUTE))).await.unwrap();
        assert!(left.unwrap_err().to_string().contains("did not say in time"));
    }
}
