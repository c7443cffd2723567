//! The same work for many, so many at a time. Invariants: no more run at once than are allowed, and none when the
//! results are there or nobody waits for them.

use std::any::Any;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::{Id, JoinSet};

/// What the first failure does to the other jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorMode {
    /// It cancels those under way, and keeps the rest from beginning.
    #[default]
    FirstError,
    /// Nothing: every job has a result of its own.
    CollectAll,
}

/// Why a job has no value.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError<E> {
    /// It failed.
    #[error("{0}")]
    Failed(E),
    /// It panicked, which is a bug of the job.
    #[error("job panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// It was under way when another one failed first, or the runtime shut down.
    #[error("job was cancelled")]
    Cancelled,
}

/// Runs `work` for each of `jobs`, at most `concurrency` of them at once, and returns what became of each, in the order
/// of the jobs.
///
/// Jobs are drawn when there is room for them: of an endless iterator no more are made than can run, and with
/// [`ErrorMode::FirstError`] those behind the first failure are never made and have no result. Each runs in a task of
/// its own; one that panics has failed alone. Dropping the future cancels all of them: what must not be given up half
/// done belongs into [`do_batch`](super::do_batch).
///
/// # Panics
///
/// Outside of a tokio runtime, unless there are no jobs.
pub async fn for_each_bounded<J, T, E, F, Fut>(
    jobs: impl IntoIterator<Item = J>,
    concurrency: NonZeroUsize,
    mode: ErrorMode,
    mut work: F,
) -> Vec<Result<T, JobError<E>>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnMut(J) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut jobs = jobs.into_iter().fuse();
    // A job has none while it runs.
    let mut results: Vec<Option<Result<T, JobError<E>>>> = Vec::new();
    let mut tasks = JoinSet::new();
    let mut running: HashMap<Id, usize> = HashMap::new();
    let mut is_over = false;
    loop {
        while !is_over && tasks.len() < concurrency.get() {
            let Some(job) = jobs.next() else { break };
            match catch_unwind(AssertUnwindSafe(|| work(job))) {
                Ok(future) => {
                    running.insert(tasks.spawn(future).id(), results.len());
                    results.push(None);
                }
                Err(panic) => {
                    results.push(Some(Err(panicked(&*panic))));
                    is_over = mode == ErrorMode::FirstError;
                }
            }
        }
        if is_over {
            tasks.abort_all();
        }
        let (id, result) = match tasks.join_next_with_id().await {
            None => break,
            Some(Ok((id, result))) => (id, result.map_err(JobError::Failed)),
            Some(Err(error)) => {
                let id = error.id();
                let panic = error.try_into_panic();
                (id, Err(panic.map_or(JobError::Cancelled, |panic| panicked(&*panic))))
            }
        };
        is_over |= result.is_err() && mode == ErrorMode::FirstError;
        let job = running.remove(&id).expect("every task is of a job");
        results[job] = Some(result);
    }
    results.into_iter().map(|result| result.unwrap_or(Err(JobError::Cancelled))).collect()
}

fn panicked<E>(panic: &(dyn Any + Send)) -> JobError<E> {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    JobError::Panicked { message: text.unwrap_or("not with a text").to_owned() }
}
