//! Limits that change while the pipeline runs: a file that is looked at again and again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_tenant::Overrides;

/// Reads the limits anew; whether any changed.
///
/// # Errors
/// A file that cannot be read, or says what makes no sense; nothing has changed then.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge: the runtime configuration is a file that the user names"
)]
pub(super) fn reload(overrides: &Overrides, file: &Path) -> anyhow::Result<bool> {
    let reloaded = overrides.reload(&std::fs::read_to_string(file)?)?;
    for warning in &reloaded.warnings {
        tracing::warn!(file = %file.display(), "{warning}");
    }
    Ok(reloaded.changed)
}

/// Looks at the file again and again; a bad one changes nothing.
pub(super) async fn watch_overrides(overrides: Arc<Overrides>, file: PathBuf, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        match reload(&overrides, &file) {
            Ok(true) => tracing::info!(file = %file.display(), "limits changed"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(file = %file.display(), error = %format_args!("{error:#}"), "limits kept")
            }
        }
    }
}
