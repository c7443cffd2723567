//! What it was measured on, as far as Linux says (`proc(5)`).

/// Cores, processor, kernel, and how busy it is.
pub(crate) async fn describe() -> String {
    let read = async |path: &str| tokio::fs::read_to_string(path).await.unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = model(&read("/proc/cpuinfo").await).unwrap_or("processor unknown").to_owned();
    let kernel = read("/proc/sys/kernel/osrelease").await;
    let load = loads(&read("/proc/loadavg").await).unwrap_or_else(|| "unknown".to_owned());
    format!(
        "{cores} cores, {processor}, Linux {}, load of the last 1, 5 and 15 minutes: {load}",
        kernel.trim()
    )
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

fn loads(loadavg: &str) -> Option<String> {
    let loads: Vec<&str> = loadavg.split_ascii_whitespace().take(3).collect();
    (loads.len() == 3).then(|| loads.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_and_load_are_found_where_linux_has_them() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Processor: 7\nprocessor\t: 1\n";
        assert_eq!(model(cpuinfo), Some("A Processor: 7"));
        assert_eq!(model(""), None);
        assert_eq!(loads("0.10 1.20 3.00 1/234 5678\n").unwrap(), "0.10, 1.20, 3.00");
        assert_eq!(loads(""), None);
    }
}
