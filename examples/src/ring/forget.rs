//! Forgetting an ingester that will not come back. Invariant: nobody who lives is forgotten, as far as this process can
//! tell, and nobody at all by one that does not hear.

use std::time::Duration;

use forebay_agent::clock::monotonic_ns;
use forebay_ring::State;
use forebay_ring::store::UpdateError;

use super::Cluster;

/// How long is waited until the ring shows what was done.
const SHOWN: Duration = Duration::from_secs(2);

/// Why an ingester was not forgotten.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// There is none of that name, or it has left.
    #[error("no ingester {0:?} is in the ring")]
    Unknown(String),
    /// It lives.
    #[error(
        "{id} is {state} and was heard of {ago:?} ago: stop it, and wait until it is silent for {timeout:?}"
    )]
    Alive {
        /// Its name.
        id: String,
        /// Its state.
        state: State,
        /// How long ago it said so.
        ago: Duration,
        /// For how long it would have to be silent.
        timeout: Duration,
    },
    /// Look at the store, or ask another process.
    #[error("the ring's store is not heard, so that nobody can be said to be silent")]
    Deaf,
    /// It was heard of meanwhile.
    #[error("{0} was heard of just now")]
    Heard(String),
    /// It may be forgotten or not.
    #[error("the ring's store was not written")]
    Store(#[from] UpdateError),
}

impl Cluster {
    /// Has ingester `id`, which is silent, forgotten: its keys go to others, and reads ask it for nothing. What only it
    /// held is missing until it is back.
    ///
    /// # Errors
    /// [`ForgetError`].
    pub async fn forget(&self, id: &str) -> Result<(), ForgetError> {
        let watcher = &self.shared.watcher;
        if !self.is_watching() {
            return Err(ForgetError::Deaf);
        }
        let known = watcher.members().borrow().member(id).cloned();
        let member = known.filter(|member| member.instance.state != State::Left);
        let member = member.ok_or_else(|| ForgetError::Unknown(id.to_owned()))?;
        let ago = Duration::from_nanos(monotonic_ns().saturating_sub(member.heard_ns));
        let timeout = self.shared.heartbeat_timeout;
        if ago <= timeout {
            let (id, state) = (id.to_owned(), member.instance.state);
            return Err(ForgetError::Alive { id, state, ago, timeout });
        }
        if !watcher.forget(id).await? {
            return Err(ForgetError::Heard(id.to_owned()));
        }
        tracing::warn!(id, silent = ?ago, "forgotten, as somebody asked for");
        self.until(SHOWN, |ring| ring.instance(id).is_none()).await;
        Ok(())
    }
}
