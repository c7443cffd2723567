//! Forgetting an ingester that will not come back. Invariant: nobody who lives is forgotten, as far as this process can
//! tell, and nobody at all by one that does not hear.

use std::time::Duration;

use forebay_agent::clock::monotonic_ns;
use forebay_ring::State;
use forebay_ring::store::UpdateError;

use super::Cluster;
use super::show::answer;
use crate::excerpt::Excerpt;

/// How long is waited until the ring shows what was done.
const SHOWN: Duration = Duration::from_secs(2);

/// Why an ingester was not forgotten.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// There is none of that name, or it has left.
    #[error("no ingester {:?} is in the ring", Excerpt(.0))]
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
    /// It lives, and cannot write to the store.
    #[error("{0} is silent in the ring but answers: stop it, or see why it cannot write to the ring's store")]
    Answers(String),
    /// Look at the store, wait, or ask another process.
    #[error(
        "the ring's store was not heard for {0:?} without a break, so that nobody can be said to be silent"
    )]
    Deaf(Duration),
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
        let timeout = self.shared.heartbeat_timeout;
        let since_ns = watcher.ears().watching_since_ns.ok_or(ForgetError::Deaf(timeout))?;
        let known = watcher.members().borrow().member(id).cloned();
        let member = known.filter(|member| member.instance.state != State::Left);
        let member = member.ok_or_else(|| ForgetError::Unknown(id.to_owned()))?;
        let ago = Duration::from_nanos(monotonic_ns().saturating_sub(member.heard_ns));
        if ago <= timeout {
            let (id, state) = (id.to_owned(), member.instance.state);
            return Err(ForgetError::Alive { id, state, ago, timeout });
        }
        // What it wrote while nobody looked is not there yet.
        if Duration::from_nanos(monotonic_ns().saturating_sub(since_ns)) <= timeout {
            return Err(ForgetError::Deaf(timeout));
        }
        if answer(self.members(), &member).await.is_ok() {
            return Err(ForgetError::Answers(id.to_owned()));
        }
        if !watcher.forget(id, member.instance.version).await? {
            return Err(ForgetError::Heard(id.to_owned()));
        }
        tracing::warn!(id, silent = ?ago, "forgotten, as somebody asked for");
        self.until(SHOWN, |ring| ring.instance(id).is_none()).await;
        Ok(())
    }
}
