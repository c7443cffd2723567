//! What the agent does, against a server over real connections: in this process on a clock that passes by waiting
//! only, and as a program that is killed.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "logs are files of the operating system, and these are tests that the lint does not know for such"
)]

mod delivering;
mod following;
mod program;
mod server;

use std::path::Path;

use forebay_agent::ship::pace::SteppedPace;
use forebay_agent::ship::{Agent, Board, Options, ShipError, Shipped, Stop};
use forebay_wal::fs::StdFs;

/// An agent that sends `sources` to `url`.
fn options(url: &str, sources: &[&Path]) -> Options {
    let mut options = Options {
        urls: vec![url.to_owned()],
        sources: sources.iter().map(|path| path.display().to_string()).collect(),
        seed: 1,
        ..Options::default()
    };
    options.label("host", "test").unwrap();
    options
}

fn agent(options: Options, pace: &SteppedPace) -> (Agent<StdFs, SteppedPace>, Stop, Board) {
    let board = Board::default();
    let (agent, stop) = Agent::new(options, StdFs, pace.clone(), &b""[..], board.clone()).unwrap();
    (agent, stop, board)
}

/// Ships until there is no more.
async fn ship(options: Options) -> Result<Shipped, ShipError> {
    let (agent, _stop, _) = agent(options, &SteppedPace::default());
    agent.run().await
}
