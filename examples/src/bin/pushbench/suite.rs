//! All that `BENCHMARKS.md` has, measured one after the other and printed as it comes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::ask::Ask;
use crate::load::{Plan, Until};
use crate::plot::Curve;
use crate::report::notes;
use crate::run::{Bench, Measured, Run};
use crate::scenario::Scenario;
use crate::watch::{Sample, csv};
use crate::{machine, markdown};

/// What is asked while lines are pushed, and the milliseconds that 99 of 100 answers may take.
const QUERIES: [(&str, f64); 2] = [
    (r#"15m {stream="s7"} |= "error""#, 100.0),
    (r#"5m sum by (app) (count_over_time({app=~".+"}[1m]))"#, 500.0),
];
/// Streams whose lines are compared in their cost, and how many copies are made of each.
const STREAMS: [u32; 4] = [1, 10, 100, 10_000];
const COPIES: [u8; 2] = [1, 3];

/// How long, and what is kept.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Of each load.
    pub(crate) each: Duration,
    /// Of the mixed load.
    pub(crate) mixed: Duration,
    /// Lines a second of the mixed load; by default half of what batches reached.
    pub(crate) rate: Option<u64>,
    pub(crate) keep: Keep,
}

/// Files for the curve of memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keep {
    pub(crate) csv: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

/// The three loads.
///
/// # Errors
/// As [`Bench::measure`].
pub(crate) async fn shapes(bench: &Bench, each: Duration) -> anyhow::Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for scenario in Scenario::ALL {
        let plan = Plan { shape: scenario.shape(), until: Until::Time(each), rate: None };
        measured.push(bench.measure(&Run { plan, copies: 1, asks: Vec::new() }).await?);
    }
    Ok(measured)
}

impl Suite {
    /// Everything.
    ///
    /// # Errors
    /// As [`Bench::measure`], and files that cannot be written.
    pub(crate) async fn run(&self, bench: &Bench) -> anyhow::Result<()> {
        println!("{}\n", machine::describe().await);
        let loads = shapes(bench, self.each).await?;
        print("The three loads", &markdown::shapes(&loads), &notes(&loads));

        let half = loads.first().map_or(0.0, Measured::lines_per_second) / 2.0;
        let mixed = [bench.measure(&self.mixed(half)?).await?];
        let aims = QUERIES.map(|(_, aim)| aim);
        let table = markdown::queries(&mixed[0], &aims);
        print(&format!("Queries meanwhile: {}", mixed[0].run), &table, &notes(&mixed));
        print("The same run", &markdown::shapes(&mixed), "");
        self.keep.write(&mixed[0].samples).await?;

        let mut costs = Vec::new();
        for copies in COPIES {
            for streams in STREAMS {
                let shape = Scenario::Batches.shape().with_streams(streams);
                let plan = Plan { shape, until: Until::Time(self.each / 3), rate: None };
                costs.push(bench.measure(&Run { plan, copies, asks: Vec::new() }).await?);
            }
        }
        print("What a line costs", &markdown::costs(&costs), &notes(&costs));
        println!("{}", machine::describe().await);
        Ok(())
    }

    fn mixed(&self, half: f64) -> anyhow::Result<Run> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates, and is above 0"
        )]
        let rate = self.rate.unwrap_or((half as u64).max(1));
        let plan =
            Plan { shape: Scenario::Batches.shape(), until: Until::Time(self.mixed), rate: Some(rate) };
        let asks = QUERIES.iter().map(|(text, _)| text.parse::<Ask>().map_err(anyhow::Error::msg));
        Ok(Run { plan, copies: 1, asks: asks.collect::<anyhow::Result<_>>()? })
    }
}

impl Keep {
    /// Writes what is wanted of `samples`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) async fn write(&self, samples: &[Sample]) -> anyhow::Result<()> {
        let minutes = samples.last().is_some_and(|last| last.elapsed >= Duration::from_secs(180));
        let (unit, x) = if minutes { (60.0, "minutes") } else { (1.0, "seconds") };
        let point = |s: &Sample| (s.elapsed.as_secs_f64() / unit, s.rss_bytes as f64 / 1e6);
        let curve = Curve {
            title: "Memory of all processes of the pipeline",
            x,
            y: "MB resident",
            points: samples.iter().map(point).collect(),
        };
        for (path, content) in [(&self.csv, csv(samples)), (&self.svg, curve.svg())] {
            let Some(path) = path else { continue };
            tokio::fs::write(path, content).await.with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn print(title: &str, table: &str, notes: &str) {
    println!("### {title}\n\n{table}");
    for note in notes.lines() {
        println!("- {note}");
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixed_load_is_half_of_what_was_reached_unless_it_is_said() {
        let suite = |rate| Suite {
            each: Duration::from_secs(60),
            mixed: Duration::from_secs(1_200),
            rate,
            keep: Keep::default(),
        };
        let run = suite(None).mixed(250_000.4).unwrap();
        assert_eq!((run.plan.rate, run.asks.len()), (Some(250_000), QUERIES.len()));
        assert_eq!(suite(Some(7)).mixed(250_000.0).unwrap().plan.rate, Some(7));
    }
}
