//! Sends two lines with `tracing-loki` to the server that the first argument names.

use std::error::Error;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use url::Url;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: forebay-clients URL")?;
    let builder = tracing_loki::builder().label("client", "tracing-loki")?;
    let (layer, controller, task) = builder.build_controller_url(Url::parse(&url)?)?;
    tracing_subscriber::registry().with(layer).init();
    let task = tokio::spawn(task);
    tracing::info!(number = 1, "first line");
    tracing::warn!("second line");
    controller.shutdown().await;
    Ok(task.await?)
}
