//! A minute with the pipeline: makes log lines, pushes them as an agent would, asks for some of them, and shows in
//! tables what became of all.
//!
//! A line in a thousand is too old and one is too long, so that the pipeline has something to refuse. The demo fails
//! where fewer lines are found than were accepted.

mod ask;
mod load;
mod report;
mod scrape;

use anyhow::ensure;
use bytes::Bytes;
use forebay_agent::figures::grouped;
use forebay_agent::http_client::HttpClient;
use forebay_agent::ship::Shipped;
use http::HeaderMap;

pub use scrape::{Scrape, ScrapeError};

/// What the demo can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many lines it makes. Default 1,000,000.
    pub lines: u64,
    /// Decides the lines. Default 1.
    pub seed: u64,
    /// Sent as `X-Scope-OrgID`. Default none.
    pub tenant: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { lines: 1_000_000, seed: 1, tenant: None }
    }
}

/// Runs the demo against the server at `base_url`, such as `http://127.0.0.1:3100`, and prints as it goes.
///
/// # Errors
/// Where the server does not answer, refuses what is in order, or does not find what it accepted.
pub async fn run(base_url: &str, options: Options) -> anyhow::Result<()> {
    let mut client = HttpClient::new(base_url)?;
    if let Some(tenant) = &options.tenant {
        client = client.for_tenant(tenant)?;
    }
    let before = Scrape::fetch(&client).await?;
    let (lines, streams, connections) = (grouped(options.lines), load::STREAMS, load::CONNECTIONS);
    println!(
        "pushing {lines} lines of {streams} streams over {connections} connections to {}",
        client.base()
    );
    let sent = load::send(&client, &options).await?;
    client.post("/flush", "text/plain", &HeaderMap::new(), Bytes::new()).await?.success()?;
    let found = ask::lines(&client, &sent).await?;
    let counted = ask::count(&client, &sent).await?;
    let grown = Scrape::fetch(&client).await?.since(&before);

    println!("{}\n", report::sent(&sent, &grown));
    println!("{}\n", report::asked(&found, &counted, &sent));
    println!("{}", invitation(client.base(), options.tenant.as_deref()));
    ensure!(
        counted.count >= sent.matching,
        "lines are missing: {} match the query and were accepted, {} are found",
        sent.matching,
        counted.count,
    );
    Ok(())
}

/// The tables for what was `shipped`; `grown` is what the server's metrics [grew by](Scrape::since) meanwhile.
pub fn ship_table(shipped: &Shipped, grown: &Scrape) -> String {
    report::shipped(shipped, grown)
}

/// Where the server is, and what to ask it.
fn invitation(base: &str, tenant: Option<&str>) -> String {
    let tenant = tenant.map_or_else(String::new, |tenant| format!(" -H 'X-Scope-OrgID: {tenant}'"));
    let query = ask::lines_query();
    format!(
        "the pipeline is at {base}, try\n  \
         curl -sG{tenant} {base}/loki/api/v1/query_range --data-urlencode 'query={query}' -d limit=3\n  \
         curl -s{tenant} {base}/loki/api/v1/labels\n  \
         curl -s {base}/metrics | grep forebay_wal"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_to_try_name_server_tenant_and_query() {
        let text = invitation("http://127.0.0.1:3100", Some("acme"));
        let commands = text.lines().skip(1).collect::<Vec<_>>();
        assert_eq!(commands.len(), 3);
        assert_eq!(
            commands[0],
            "  curl -sG -H 'X-Scope-OrgID: acme' http://127.0.0.1:3100/loki/api/v1/query_range \
             --data-urlencode 'query={app=\"payments\"} |= \"upstream timeout\"' -d limit=3"
        );
        assert!(!invitation("http://x", None).contains("-H"));
    }
}
