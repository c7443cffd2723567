//! Tasks that work as long as the process does. One that panics leaves a process that looks well and no longer does its
//! work: it is logged, counted, and in the way of `/ready` until the process is started anew.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use tokio::task::JoinHandle;

/// Spawns such tasks, and knows whether one has panicked. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Background {
    failure: Arc<OnceLock<String>>,
}

impl Background {
    /// Spawns `work`, which metrics and log lines call `task`.
    pub fn spawn(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let failure = Arc::clone(&self.failure);
        tokio::spawn(async move {
            let Err(panic) = AssertUnwindSafe(work).catch_unwind().await else { return };
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let said = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            tracing::error!(
                task,
                panic = said,
                "a background task is gone until the process is started anew"
            );
            metrics::counter!("forebay_background_panics_total", "task" => task).increment(1);
            // The first is told; the others are in the log.
            let _ = failure.set(format!("background task {task} panicked: {said}"));
        })
    }

    /// What the first task that panicked said.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told_and_one_that_ends_is_not() {
        let background = Background::default();
        background.spawn("short", async {}).await.unwrap();
        assert_eq!(background.failure(), None);
        background.spawn("metrics", async { panic!("number {}", 1) }).await.unwrap();
        background.spawn("ring", async { panic!("later") }).await.unwrap();
        assert_eq!(background.clone().failure(), Some("background task metrics panicked: number 1"));
    }
}
