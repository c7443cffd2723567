//! A store with revisions, of which nothing is lost but what the simulation takes.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Store {
    records: BTreeMap<String, Vec<u8>>,
    /// The key of each change so far; a watch is a place in it.
    log: Vec<String>,
    /// The place in the log at which everything was lost last.
    lost_at: usize,
    /// Answers nothing while it stalls.
    pub(crate) stalled: bool,
}

/// What a watch has to hear since it last asked.
pub(crate) enum News {
    Changes(Vec<(String, Option<Vec<u8>>)>),
    Resync(Vec<(String, Vec<u8>)>),
}

impl Store {
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key).map(Vec::as_slice)
    }

    pub(crate) fn put(&mut self, key: &str, value: Vec<u8>) {
        self.records.insert(key.to_owned(), value);
        self.log.push(key.to_owned());
    }

    pub(crate) fn lose_everything(&mut self) {
        self.records.clear();
        self.log.push(String::new());
        self.lost_at = self.log.len();
    }

    /// All since the place `seen`, which moves on.
    pub(crate) fn news(&self, seen: &mut Option<usize>) -> News {
        let since = seen.replace(self.log.len());
        match since.filter(|&since| since >= self.lost_at) {
            None => {
                News::Resync(self.records.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            Some(since) => {
                // As a store may: the last state of each key, however often it changed.
                let mut keys = self.log[since..].to_vec();
                keys.sort_unstable();
                keys.dedup();
                News::Changes(
                    keys.into_iter().map(|key| (key.clone(), self.records.get(&key).cloned())).collect(),
                )
            }
        }
    }
}
