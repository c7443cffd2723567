//! Prints what `cargo bench` has measured as a table: the median over all saved runs, and between which
//! bounds the medians of the runs lie.
//!
//! ```sh
//! for run in 1 2 3; do cargo bench --bench peers -- --save-baseline run$run; done
//! cargo run --release --bin table
//! ```

#![expect(clippy::disallowed_methods, reason = "a tool that reads the files of another")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    // Nanoseconds an operation took: by group, by library, one for each run.
    let mut groups: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for estimates in estimates(&criterion_home())? {
        let beside: Value = serde_json::from_slice(&fs::read(estimates.with_file_name("benchmark.json"))?)?;
        let measured: Value = serde_json::from_slice(&fs::read(&estimates)?)?;
        let median = measured["median"]["point_estimate"].as_f64().ok_or("no median")?;
        let operations = beside["throughput"]["Elements"].as_f64().unwrap_or(1.0);
        let (Some(group), Some(library)) = (beside["group_id"].as_str(), beside["function_id"].as_str())
        else {
            continue;
        };
        groups.entry(group.into()).or_default().entry(library.into()).or_default().push(median / operations);
    }
    println!("| operation | library | median, ns | runs, ns | times ours |\n|---|---|---|---|---|");
    for (group, libraries) in &mut groups {
        libraries.values_mut().for_each(|runs| runs.sort_by(f64::total_cmp));
        let middle = |runs: &[f64]| runs[runs.len() / 2];
        let ours = libraries.get("forebay").map(|runs| middle(runs));
        for (library, runs) in &*libraries {
            let times = ours.map(|ours| format!("{:.1}", middle(runs) / ours)).unwrap_or_default();
            let (least, most) = (runs[0], runs[runs.len() - 1]);
            println!("| {group} | {library} | {:.2} | {least:.2} to {most:.2} | {times} |", middle(runs));
        }
    }
    Ok(())
}

/// Where criterion writes.
fn criterion_home() -> PathBuf {
    let target = || env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    env::var_os("CRITERION_HOME").map_or_else(|| target().join("criterion"), PathBuf::from)
}

/// The files with the figures of runs that were saved.
fn estimates(home: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut directories = vec![home.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.ends_with("estimates.json")
                && path
                    .parent()
                    .and_then(Path::file_name)
                    .is_some_and(|name| name.to_str().is_some_and(|name| name.starts_with("run")))
            {
                found.push(path);
            }
        }
    }
    Ok(found)
}
