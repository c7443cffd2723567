//! The metrics of child processes with those of their parent: one text, the children's samples told apart by the label
//! `instance`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use forebay_agent::http_client::{HttpClient, HttpError};

/// How long a child may take to show its metrics.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The children that run, by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Children {
    clients: Arc<Mutex<BTreeMap<String, HttpClient>>>,
}

impl Children {
    /// Notes that child `id` serves HTTP at `url`.
    ///
    /// # Errors
    /// A `url` that is none.
    pub fn insert(&self, id: &str, url: &str) -> Result<(), HttpError> {
        let client = HttpClient::with_timeout(url, TIMEOUT)?;
        self.clients.lock().insert(id.to_owned(), client);
        Ok(())
    }

    /// Notes that child `id` is gone.
    pub fn remove(&self, id: &str) {
        self.clients.lock().remove(id);
    }

    /// `own`, which is in Prometheus' text format, with the metrics of every child that answers.
    pub async fn with_metrics(&self, own: &str) -> String {
        let clients = self.clients.lock().clone();
        let asked = clients.into_iter().map(|(id, client)| async move {
            let answer = client.get("/metrics").await.and_then(|answer| answer.success());
            (id, answer.map(|answer| answer.text()))
        });
        let mut families = Families::default();
        families.add(own, None);
        let mut silent = String::new();
        for (id, answer) in futures_util::future::join_all(asked).await {
            match answer {
                Ok(text) => families.add(&text, Some(&id)),
                Err(error) => silent.push_str(&format!("# {id} does not show its metrics: {error}\n")),
            }
        }
        families.text() + &silent
    }
}

/// Metrics by name. The format wants all samples of a name together, below one description.
#[derive(Debug, Default)]
struct Families(BTreeMap<String, Family>);

#[derive(Debug, Default)]
struct Family {
    description: String,
    samples: String,
}

impl Families {
    fn add(&mut self, text: &str, instance: Option<&str>) {
        let mut name = String::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let described = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP "));
            if let Some(described) = described {
                name = described.split(' ').next().unwrap_or_default().to_owned();
                let family = self.0.entry(name.clone()).or_default();
                if !family.description.contains(line) {
                    family.description.push_str(line);
                    family.description.push('\n');
                }
            } else if !line.starts_with('#') {
                let samples = &mut self.0.entry(name.clone()).or_default().samples;
                match instance {
                    Some(instance) => push_labelled(samples, line, instance),
                    None => samples.push_str(line),
                }
                samples.push('\n');
            }
        }
    }

    fn text(&self) -> String {
        self.0.values().map(|family| format!("{}{}\n", family.description, family.samples)).collect()
    }
}

/// `name{a="b"} 1` becomes `name{instance="…",a="b"} 1`.
fn push_labelled(out: &mut String, sample: &str, instance: &str) {
    let end = sample.find(['{', ' ']).unwrap_or(sample.len());
    let (name, rest) = sample.split_at(end);
    out.push_str(&format!("{name}{{instance=\"{instance}\""));
    match rest.strip_prefix('{') {
        Some(labels) => {
            out.push(',');
            out.push_str(labels);
        }
        None => {
            out.push('}');
            out.push_str(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_stand_together_and_say_whose_they_are() {
        let mut families = Families::default();
        families.add("# TYPE b counter\nb{x=\"{ }\"} 1\n\n# TYPE a gauge\na 2.5\n", None);
        families.add(
            "# TYPE a gauge\na 3\n\n# TYPE c histogram\nc_sum 1\nc_bucket{le=\"+Inf\"} 4\n",
            Some("one"),
        );
        let expected = "\
# TYPE a gauge
a 2.5
a{instance=\"one\"} 3

# TYPE b counter
b{x=\"{ }\"} 1

# TYPE c histogram
c_sum{instance=\"one\"} 1
c_bucket{instance=\"one\",le=\"+Inf\"} 4

";
        assert_eq!(families.text(), expected);
    }

    #[tokio::test]
    async fn a_child_that_does_not_answer_is_named_and_takes_nothing_away() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let children = Children::default();
        children.insert("ingester-7", &format!("http://{free}")).unwrap();
        let text = children.with_metrics("# TYPE a gauge\na 1\n").await;
        assert!(
            text.starts_with("# TYPE a gauge\na 1\n\n# ingester-7 does not show its metrics: "),
            "{text}"
        );
        children.remove("ingester-7");
        assert_eq!(children.with_metrics("# TYPE a gauge\na 1\n").await, "# TYPE a gauge\na 1\n\n");
    }
}
