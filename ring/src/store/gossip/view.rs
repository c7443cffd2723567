//! The records that the words of all nodes make.

use std::collections::BTreeMap;
use std::sync::Arc;

use chitchat::{Chitchat, ChitchatId};

use super::word::{Word, key_of, meant_by, number_of};
use crate::store::{Listing, Record, Revision};

/// The last word on a key.
pub(super) fn record(chitchat: &Chitchat, key: &str) -> Option<Record> {
    let name = key_of(key);
    let words = chitchat.node_states().iter().filter_map(|(node, state)| {
        let word = Word::decode(state.get(&name)?)?;
        Some((word.number, node, word))
    });
    let (.., Word { number, value }) = words.max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)))?;
    Some(Record { key: key.into(), value: value?, version: Revision(number) })
}

/// The last words on all keys.
pub(super) fn listing(chitchat: &Chitchat) -> Listing {
    let mut last: BTreeMap<&str, (u64, &ChitchatId, Word)> = BTreeMap::new();
    let mut highest = 0;
    for (node, state) in chitchat.node_states() {
        for (key, text) in state.key_values() {
            let Some((key, word)) = meant_by(key).zip(Word::decode(text)) else { continue };
            highest = highest.max(word.number);
            let is_later =
                last.get(key).is_none_or(|(number, other, _)| (*number, *other) < (word.number, node));
            if is_later {
                last.insert(key, (word.number, node, word));
            }
        }
    }
    let record = |(key, (number, _, word)): (&str, (u64, &ChitchatId, Word))| {
        Some(Record { key: Arc::from(key), value: word.value?, version: Revision(number) })
    };
    Listing { records: last.into_iter().filter_map(record).collect(), revision: Revision(highest) }
}

/// The highest number that was heard of.
pub(super) fn highest(chitchat: &Chitchat) -> u64 {
    let words = chitchat.node_states().values().flat_map(|state| state.key_values());
    let numbers = words.filter(|(key, _)| meant_by(key).is_some()).filter_map(|(_, text)| number_of(text));
    numbers.max().unwrap_or(0)
}
