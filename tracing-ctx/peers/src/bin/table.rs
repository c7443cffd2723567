//! Prints what `cargo bench` has measured as a table. Of each saved run it takes the median of the samples, and of
//! these the lowest and the highest.
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
    for run in runs(&criterion_home())? {
        let read = |name| Ok::<Value, Box<dyn Error>>(serde_json::from_slice(&fs::read(run.join(name))?)?);
        let (about, sample) = (read("benchmark.json")?, read("sample.json")?);
        let operations = about["throughput"]["Elements"].as_f64().unwrap_or(1.0);
        let (Some(group), Some(library)) = (about["group_id"].as_str(), about["function_id"].as_str()) else {
            continue;
        };
        let numbers = |name: &str| sample[name].as_array().into_iter().flatten().filter_map(Value::as_f64);
        let mut samples: Vec<_> =
            numbers("times").zip(numbers("iters")).map(|(time, iters)| time / iters / operations).collect();
        samples.sort_by(f64::total_cmp);
        let median = *samples.get(samples.len() / 2).ok_or("a run without samples")?;
        groups.entry(group.into()).or_default().entry(library.into()).or_default().push(median);
    }
    println!("| operation | library | ns | to, ns | times ours |\n|---|---|---|---|---|");
    for (group, libraries) in &mut groups {
        libraries.values_mut().for_each(|runs| runs.sort_by(f64::total_cmp));
        let ours = libraries.get("forebay").map(|runs| runs[0]);
        for (library, runs) in &*libraries {
            let (least, most) = (runs[0], runs[runs.len() - 1]);
            let times = ours.map(|ours| format!("{:.1}", least / ours)).unwrap_or_default();
            println!("| {group} | {library} | {least:.1} | {most:.1} | {times} |");
        }
    }
    Ok(())
}

/// Where criterion writes.
fn criterion_home() -> PathBuf {
    let target = || env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    env::var_os("CRITERION_HOME").map_or_else(|| target().join("criterion"), PathBuf::from)
}

/// The directories of runs that were saved.
fn runs(home: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut directories = vec![home.to_owned()];
    while let Some(directory) = directories.pop() {
        let name = directory.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with("run")) {
            found.push(directory);
            continue;
        }
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(found)
}
