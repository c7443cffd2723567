//! Work that would hold up a runtime thread goes to another one.

/// Runs `work` on a thread for blocking work; on a single-threaded runtime, as simulations use, in place, so that
/// nothing depends on how the machine schedules threads.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
