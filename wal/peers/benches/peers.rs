//! The comparison: `cargo bench --bench peers -- --help`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use forebay_wal_peers::Outcome;
use forebay_wal_peers::args::{Args, CHILD, HELP};
use forebay_wal_peers::child::{self, Kind};
use forebay_wal_peers::rounds::Row;
use forebay_wal_peers::{goals, machine, table};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [first, task] = args.as_slice()
        && first == CHILD
    {
        return answer(child::run(task));
    }
    let command = args.join(" ");
    match Args::parse(args) {
        Ok(None) => print!("{HELP}"),
        Ok(Some(args)) if args.list => args.cells.iter().for_each(|cell| println!("{}", cell.id())),
        Ok(Some(args)) => return answer(compare(&args, &command)),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn answer(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "says how long it takes")]
fn compare(args: &Args, command: &str) -> Outcome<()> {
    let begun = Instant::now();
    let scale = &args.scale;
    let machine = machine::describe(&scale.dir);
    let sync = machine::sync_time(&scale.dir)?;
    if machine::file_system(&scale.dir).is_some_and(|kind| kind == "tmpfs") {
        eprintln!(
            "warning: {} is in memory, where a sync does nothing; choose another with --dir",
            scale.dir.display()
        );
    }
    // Criterion prints where the tables go.
    let output = rustix::io::dup(rustix::stdio::stdout())?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    let mut criterion = Criterion::default().with_output_color(false);
    let mut rows = Vec::new();
    for (n, cell) in args.cells.iter().enumerate() {
        eprint!("{} of {}, {:.0?} so far: {} ", n + 1, args.cells.len(), begun.elapsed(), cell.id());
        let row = Row::measure(cell.clone(), &args.contenders, scale)?;
        eprintln!("{}", if row.failures.is_empty() { "done" } else { "done, not by all" });
        report(&mut criterion, &row, scale.rounds);
        rows.push(row);
    }
    rustix::stdio::dup2_stdout(output)?;

    println!(
        "`cargo bench --bench peers -- {command}`, {:.0} minutes.",
        begun.elapsed().as_secs_f64() / 60.0
    );
    println!("{machine}. A sync of 4 KiB took {sync:.0?} there.");
    println!(
        "{} rounds, samples of {:?}; ratios are ours to theirs, above 1 where ours is better.\n",
        scale.rounds, scale.time
    );
    println!("### Aims\n\n{}", goals::render(&rows));
    print!("{}", table::render(&rows, &args.contenders));
    Ok(())
}

/// Hands the samples, which were taken in turn, to criterion: its statistics, and what changed since its last run.
fn report(criterion: &mut Criterion, row: &Row, rounds: usize) {
    if matches!(row.cell.kind, Kind::Calls | Kind::Fill | Kind::Abandon) || rounds < 10 {
        return;
    }
    let mut group = criterion.benchmark_group(row.cell.id());
    group.sampling_mode(SamplingMode::Flat).sample_size(rounds);
    // It is to ask once for each sample, and once more before them.
    group.warm_up_time(Duration::from_nanos(1));
    if row.cell.kind == Kind::Append {
        group.throughput(Throughput::Elements(1));
    }
    for (who, samples) in &row.samples {
        let nanoseconds = |at: usize| samples.get(at).map_or(1.0, |sample| table::value(&row.cell, sample));
        let all: f64 = (0..samples.len()).map(nanoseconds).sum();
        group.measurement_time(Duration::from_secs_f64(2.0 * all / 1e9));
        let mut asked = 0_usize;
        group.bench_function(who.name(), |bencher| {
            bencher.iter_custom(|times| {
                let at = asked.saturating_sub(1);
                asked += 1;
                Duration::from_secs_f64(nanoseconds(at) * times as f64 / 1e9)
            });
        });
    }
    group.finish();
}
