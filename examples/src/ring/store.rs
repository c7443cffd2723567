//! The store that the configuration names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::Clock;
use forebay_ring::disk::StdDisk;
use forebay_ring::store::{FileOptions, FileStore, GossipOptions, GossipStore, Hearing, MemoryStore, Store};

use super::{RingError, has_ingester};
use crate::config::{self, Config, Target};
use crate::members::Members;

const STORE: &str = "ingester.lifecycler.ring.kvstore.store";
/// Tokens that fit into a datagram of the nodes that gossip, at 4 bytes each.
const MOST_TOKENS: usize = 4_000;

/// Which store it is: the one that is named, or one that all who need it can see.
pub(crate) fn store_of(config: &Config, has_children: bool) -> config::Store {
    let alone = is_alone(config, has_children);
    let default = if alone { config::Store::Memory } else { config::Store::File };
    config.ingester.lifecycler.ring.kvstore.store.unwrap_or(default)
}

fn is_alone(config: &Config, has_children: bool) -> bool {
    config.target == Target::All && !has_children
}

/// How long the name of a seed may take to be looked up.
const NAME_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether the others were heard.
const LOOK: Duration = Duration::from_millis(10);

/// A node that gossips, which begins without a word of the others.
pub(super) struct Ears {
    store: GossipStore,
    /// Whether it asks somebody but itself.
    has_seeds: bool,
    /// How long those who know it may take to tell it of all.
    rounds: Duration,
}

impl Ears {
    pub(super) fn store(&self) -> &GossipStore {
        &self.store
    }

    /// Waits until the others were heard: all of them, as the store has it. One that none has answered waits for the
    /// first of them and some rounds more; one that asks nobody is asked by those who know it, if there are any.
    pub(super) async fn hear(self, members: Members) {
        let mut waited = Duration::ZERO;
        loop {
            match self.store.hearing().await {
                Hearing::Whole | Hearing::Partial => break,
                Hearing::Alone if waited >= self.rounds => break,
                Hearing::Alone if !self.has_seeds || members.ring().instances().nth(1).is_some() => {
                    waited += LOOK;
                }
                // Whoever has ceased to gossip never hears anybody: the process has to be started again.
                Hearing::Ended => return,
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
        }
        members.set_heard(true);
    }
}

/// Whether a seed is, or may be, somebody else.
async fn is_other(seed: &str, own: [SocketAddr; 2]) -> bool {
    match tokio::time::timeout(NAME_PATIENCE, tokio::net::lookup_host(seed)).await {
        Ok(Ok(mut found)) => found.any(|addr| !own.contains(&addr)),
        _ => true,
    }
}

/// Opens the store; `has_children` as in [`Cluster::open`](super::Cluster::open).
pub(super) async fn open(
    config: &Config,
    has_children: bool,
    clock: Clock,
) -> Result<(Arc<dyn Store>, Option<Ears>), RingError> {
    let kvstore = &config.ingester.lifecycler.ring.kvstore;
    let alone = is_alone(config, has_children);
    let refused = |value: &str, why: &str| setting(STORE, value, why);
    let store: Arc<dyn Store> = match store_of(config, has_children) {
        config::Store::Memory if alone => Arc::new(MemoryStore::default()),
        config::Store::Memory => {
            return Err(refused("memory", "other processes cannot see it, take file, etcd or gossip"));
        }
        config::Store::File => {
            let dir = kvstore.file.dir.clone().unwrap_or_else(|| config.common.path_prefix.join("ring"));
            Arc::new(FileStore::new(Arc::new(StdDisk), FileOptions::new(dir)))
        }
        config::Store::Etcd => etcd(kvstore).await?,
        config::Store::Gossip if has_children => {
            return Err(refused("gossip", "child processes would all listen at one port, take file or etcd"));
        }
        config::Store::Gossip => {
            let options = gossip(config, clock)?;
            let own = [options.listen, options.advertise];
            let rounds = (options.interval * 5).max(Duration::from_secs(1));
            let others = options.seeds.iter().map(|seed| is_other(seed, own));
            let has_seeds = futures_util::future::join_all(others).await.contains(&true);
            let store = GossipStore::start(options).await;
            let failed = |source| RingError::Store { store: config::Store::Gossip, source };
            let store = store.map_err(failed)?;
            return Ok((Arc::new(store.clone()), Some(Ears { store, has_seeds, rounds })));
        }
    };
    Ok((store, None))
}

fn setting(key: &'static str, value: impl Into<String>, why: impl Into<String>) -> RingError {
    RingError::Setting { key, value: value.into(), why: why.into() }
}

#[cfg(feature = "etcd")]
async fn etcd(kvstore: &config::KvStore) -> Result<Arc<dyn Store>, RingError> {
    use forebay_ring::store::{EtcdOptions, EtcdStore};
    let endpoints = &kvstore.etcd.endpoints;
    if endpoints.is_empty() {
        return Err(setting("ingester.lifecycler.ring.kvstore.etcd.endpoints", "[]", "etcd is nowhere then"));
    }
    let options = EtcdOptions { prefix: kvstore.prefix.clone(), ..EtcdOptions::new(endpoints) };
    let failed = |source| RingError::Store { store: config::Store::Etcd, source };
    Ok(Arc::new(EtcdStore::connect(&options).await.map_err(failed)?))
}

#[cfg(not(feature = "etcd"))]
async fn etcd(_: &config::KvStore) -> Result<Arc<dyn Store>, RingError> {
    Err(setting(STORE, "etcd", "this program was built without the feature etcd"))
}

fn gossip(config: &Config, clock: Clock) -> Result<GossipOptions, RingError> {
    let (memberlist, tokens) = (&config.memberlist, config.ingester.lifecycler.num_tokens);
    if tokens > MOST_TOKENS {
        let why = format!("gossip tells no more than {MOST_TOKENS}");
        return Err(setting("ingester.lifecycler.num_tokens", tokens.to_string(), why));
    }
    let bind: IpAddr = ip("memberlist.bind_addr", &memberlist.bind_addr)?;
    let advertise = match &*memberlist.advertise_addr {
        "" if bind.is_unspecified() => {
            let why = format!("others need the address at which they reach {bind}");
            return Err(setting("memberlist.advertise_addr", "empty", why));
        }
        "" => bind,
        address => ip("memberlist.advertise_addr", address)?,
    };
    let port = match memberlist.advertise_port {
        0 => memberlist.bind_port,
        port => port,
    };
    let advertise = SocketAddr::new(advertise, port);
    let id = match &*memberlist.node_name {
        "" if has_ingester(config, false) => config.common.instance_id.clone(),
        "" => format!("{:?}@{advertise}", config.target).to_lowercase(),
        name => name.to_owned(),
    };
    // It rises from start to start as the clock does.
    let generation = u64::try_from(clock.wall_ns() / 1_000_000).unwrap_or_default();
    let listen = SocketAddr::new(bind, memberlist.bind_port);
    Ok(GossipOptions {
        advertise,
        seeds: memberlist.join_members.iter().map(|seed| with_port(seed, memberlist.bind_port)).collect(),
        interval: memberlist.gossip_interval,
        ..GossipOptions::new(&*memberlist.cluster_label, id, generation, listen)
    })
}

/// `host:port`, with `port` where a seed has none.
fn with_port(seed: &str, port: u16) -> String {
    match seed.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) if seed.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
            seed.to_owned()
        }
        Err(_) => format!("{seed}:{port}"),
    }
}

fn ip(key: &'static str, address: &str) -> Result<IpAddr, RingError> {
    address.parse().map_err(|_| setting(key, format!("{address:?}"), "it is no IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Store as Kind;

    fn config(target: Target, store: Kind) -> Config {
        let mut config = Config { target, ..Config::default() };
        config.ingester.lifecycler.ring.kvstore.store = Some(store);
        config
    }

    async fn refusal(config: &Config, has_children: bool) -> String {
        open(config, has_children, Clock::simulated(1)).await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_names_its_setting_and_value() {
        let told = refusal(&config(Target::Querier, Kind::Memory), false).await;
        assert!(told.contains("kvstore.store is memory: other processes"), "{told}");
        let told = refusal(&config(Target::All, Kind::Gossip), true).await;
        assert!(told.contains("kvstore.store is gossip: child processes"), "{told}");
        let told = refusal(&config(Target::All, Kind::Etcd), false).await;
        assert!(told.contains("etcd.endpoints is []") || told.contains("without the feature"), "{told}");
        let mut gossip = config(Target::All, Kind::Gossip);
        gossip.memberlist.bind_addr = "localhost".to_owned();
        let told = refusal(&gossip, false).await;
        assert_eq!(told, "memberlist.bind_addr is \"localhost\": it is no IP address");
        gossip.ingester.lifecycler.num_tokens = 5_000;
        let told = refusal(&gossip, false).await;
        assert_eq!(told, "ingester.lifecycler.num_tokens is 5000: gossip tells no more than 4000");
        gossip.ingester.lifecycler.num_tokens = 128;
        gossip.memberlist.bind_addr = "0.0.0.0".to_owned();
        let told = refusal(&gossip, false).await;
        assert!(told.contains("memberlist.advertise_addr is empty"), "{told}");
    }

    #[test]
    fn a_node_that_gossips_is_called_as_its_ingester_or_as_its_part_and_place() {
        let id = |target| gossip(&config(target, Kind::Gossip), Clock::simulated(1)).unwrap().id;
        assert_eq!(&*id(Target::Ingester), "ingester-0");
        assert_eq!(&*id(Target::Querier), "querier@127.0.0.1:7946");
    }

    #[test]
    fn a_seed_without_a_port_is_at_the_port_that_nodes_listen_at() {
        let mut config = config(Target::All, Kind::Gossip);
        config.memberlist.bind_port = 7;
        config.memberlist.join_members =
            ["read", "read:8", "10.0.0.1", "10.0.0.1:8", "::1", "[::1]:8"].map(str::to_owned).to_vec();
        let seeds = gossip(&config, Clock::simulated(1)).unwrap().seeds;
        assert_eq!(seeds, ["read:7", "read:8", "10.0.0.1:7", "10.0.0.1:8", "[::1]:7", "[::1]:8"]);
    }
}
