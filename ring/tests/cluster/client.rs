//! A writer and reader: a watcher that keeps its ring, batches that write by it, reads of all that it shows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use forebay_ring::disk::MemoryDisk;
use forebay_ring::lifecycle::{Watcher, WatcherOptions};
use forebay_ring::quorum::{
    Ask, BatchOptions, Family, ReadOptions, ReplicaResult, Targets, do_batch, do_until_quorum,
};
use forebay_ring::{Instance, Operation, Options, Ring};

use super::chance::Chance;
use super::link::{Line, Turns};
use super::node::{Node, Peer, Place};

pub(crate) fn watching(place: &Place) -> WatcherOptions {
    let ring = Options {
        zone_awareness: place.zones,
        heartbeat_timeout: Duration::from_secs(4),
        ..Options::default()
    };
    let (refresh, silence) = (Duration::from_millis(500), Duration::from_secs(10));
    let gather = Duration::from_millis(400);
    WatcherOptions { ring, refresh, gather, silence, ..WatcherOptions::default() }
}

pub(crate) struct Client {
    watcher: Watcher,
    pub(crate) line: Arc<Line>,
    turns: Turns,
    targets: Targets,
    chance: Chance,
}

/// Whether calls fail that could come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Rough,
    Fair,
}

/// What a read found.
pub(crate) enum Found {
    Nothing,
    /// All that those who answered had taken.
    Writes(BTreeSet<u32>),
}

impl Client {
    pub(crate) fn new(place: &Place, number: usize, most_nodes: usize) -> Self {
        let mut chance = Chance::of(place.seed, ("client", number, place.began.elapsed()));
        let line = Arc::<Line>::default();
        let clock = place.clock(900 + chance.below(201), 0);
        let turn = most_nodes * Node::TASKS + number * 2;
        let home = place.home(turn, &line, &MemoryDisk::default(), clock);
        let watcher = Watcher::spawn(&home, watching(place)).unwrap();
        let turns = Turns::new(place.began, turn + 1);
        Self { watcher, line, turns, targets: Targets::default(), chance }
    }

    pub(crate) fn ring(&self) -> Arc<Ring> {
        self.watcher.ring().load()
    }

    pub(crate) fn knows(&self, id: &str) -> bool {
        self.watcher.members().borrow().member(id).is_some()
    }

    /// Sends writes to their replicas; those that are acknowledged.
    pub(crate) async fn write(&mut self, peers: &[Arc<Peer>], writes: &[u32], weather: Weather) -> Vec<u32> {
        let keys: Vec<u32> = writes.iter().map(|_| self.chance.key()).collect();
        let options = BatchOptions {
            deadline: Duration::from_secs(2),
            ..BatchOptions::new(self.targets.clone(), |_: &&str| Family::Server)
        };
        let (ring, turns, chance) = (self.ring(), self.turns, &mut self.chance);
        let call = |instance: &Instance, items: forebay_ring::quorum::Items| {
            let peer = Arc::clone(&peers[instance.addr.parse::<usize>().unwrap()]);
            let mut carried: Vec<u32> = items.iter().map(|&item| writes[item]).collect();
            let (there, back) = (1 + chance.below(4), 1 + chance.below(4));
            let refused = chance.index(items.len());
            let fate = if weather == Weather::Fair { 9 } else { chance.below(16) };
            async move {
                turns.pass(there).await;
                if fate < 2 {
                    return ReplicaResult::Err("the call did not arrive");
                }
                if fate == 2 {
                    carried.remove(refused);
                }
                if !peer.take(&carried) {
                    return ReplicaResult::Err("it does not serve");
                }
                turns.pass(back).await;
                match fate {
                    2 => ReplicaResult::PerItem(vec![(items[refused], "refused")]),
                    3 => ReplicaResult::Err("the answer did not arrive"),
                    4 => std::future::pending().await,
                    _ => ReplicaResult::Ok,
                }
            }
        };
        let outcome = do_batch(&ring, Operation::WRITE, &keys, call, &options).await;
        let is_ok = outcome.items.iter().map(|item| item.verdict.is_ok());
        writes.iter().zip(is_ok).filter_map(|(&write, is_ok)| is_ok.then_some(write)).collect()
    }

    /// Reads all there is. In rough weather as many units fail, of those that could answer, as the set tolerates, or
    /// fewer.
    pub(crate) async fn read(&mut self, peers: &[Arc<Peer>], weather: Weather) -> Found {
        let (ring, turns, chance) = (self.ring(), self.turns, &mut self.chance);
        let Ok(set) = ring.replication_set_for(Operation::READ) else { return Found::Nothing };
        let mut units: Vec<Vec<&str>> =
            set.units().map(|unit| unit.map(|instance| &*instance.id).collect()).collect();
        let most = if weather == Weather::Fair { 0 } else { set.max_unavailable() };
        let mut fails = BTreeSet::new();
        for _ in 0..chance.index(most + 1) {
            fails.extend(units.swap_remove(chance.index(units.len())));
        }
        let few = Ask::Few { seed: chance.below(u64::MAX), prefer: Vec::new() };
        let ask = if chance.one_in(2) { few } else { Ask::All };
        let options = ReadOptions { ask, deadline: Duration::from_secs(2), ..ReadOptions::default() };
        let call = |instance: &Arc<Instance>, _cancel| {
            let peer = Arc::clone(&peers[instance.addr.parse::<usize>().unwrap()]);
            let fails = fails.contains(&*instance.id);
            let (there, back) = (1 + chance.below(4), 1 + chance.below(4));
            async move {
                turns.pass(there).await;
                let stored = peer.stored().filter(|_| !fails);
                turns.pass(back).await;
                stored.ok_or("it does not answer")
            }
        };
        match do_until_quorum(&set, &options, call, |_, _| {}).await {
            Ok(answers) => Found::Writes(answers.into_iter().flat_map(|(_, stored)| stored).collect()),
            Err(_) => Found::Nothing,
        }
    }
}
