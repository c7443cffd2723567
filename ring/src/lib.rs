//! Who owns this key, given who is alive: a consistent hash ring with instance states, zones, replica
//! sets, quorum writes and reads, and shards of it for tenants.
//!
//! A write path that is spread over many instances has to agree, without asking anyone, on which
//! instances hold a key; keep agreeing while some start, leave or stop answering; and know when enough
//! copies exist to tell the client so. This crate answers the two questions in it: who owns the key, and
//! did enough of them acknowledge. Where writes go to a log instead, `partition` answers the first for the
//! partitions of the log.
//!
//! It does *not* keep connections to instances, move data when owners change, or decide when one is up: it is
//! told by records and heartbeats. Bring them from wherever you keep them, or have them kept: with the feature
//! `store`, `lifecycle` runs an instance on a `store` in memory, in files, on etcd or by gossip, and keeps the
//! ring that the store shows; `partition` does both for partitions and their owners, on the same store or another.
//!
//! ```
//! use forebay_ring::{Instance, Membership, Operation, Options, Ring, State};
//! use forebay_ring::{random_tokens, token_for};
//!
//! // What was heard of the instances, and when, on this observer's clock.
//! let mut members = Membership::default();
//! for (id, zone) in [("ingester-0", "a"), ("ingester-1", "b"), ("ingester-2", "c")] {
//!     let tokens = random_tokens(id, zone, 0, 128, &members.tokens())?;
//!     let instance = Instance { state: State::Active, zone: zone.into(), tokens, ..Instance::new(id, id) };
//!     members.observe(instance, 1_000);
//! }
//!
//! let options = Options { replication_factor: 3, zone_awareness: true, ..Options::default() };
//! let ring = Ring::build(&options, &members, 2_000)?;
//!
//! let key = token_for("team-a", br#"{app="api"}"#);
//! let replicas = ring.get(key, Operation::WRITE)?;
//! assert_eq!(replicas.len(), 3);
//! assert_eq!(replicas.max_errors(), 1);
//!
//! // A minute without heartbeats later nobody counts as alive; the topology is shared, not rebuilt.
//! let later = ring.with_health(61_000_000_000);
//! assert!(later.get(key, Operation::WRITE).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! - R1: a key belongs to the instance with the first token strictly greater than it, wrapping; at both
//!   ends of the key space too.
//! - R2: a replica set names no instance twice and, if zones count, no zone twice, unless the operation
//!   extends past a member; its members come in the order a walk from the key meets them.
//! - R3: an instance that joins takes keys from others and moves none between them; one that leaves
//!   gives keys to others and moves none between them.
//! - R4: the answers are those of the ring that runs below Loki and Mimir, checked against recorded
//!   ones: which instances are selected, which serve, and how many errors are tolerated.
//! - R5: merging memberships is commutative, associative and idempotent until one is full. No clock but the observer's
//!   decides who is alive, so no forged or skewed time keeps a dead instance in the ring. A forged
//!   version would: records must come from authenticated peers.
//! - R6: a token claimed twice has one owner for every observer of the same records, and no record is
//!   changed to get there.
//! - Q1: a batch has an outcome for each item; one bad item, or one that cannot be placed, fails alone.
//! - Q2: no copy is given up because enough others exist or because the caller went away: calls end by
//!   themselves or by their deadline.
//! - Q3: what is in flight to an instance, and in total, never exceeds the bounds in calls and bytes.
//! - Q4: whether an item succeeded does not depend on the order of answers. Nor does the family of its
//!   failure while one more error than is tolerated is at least what success needs, as in a healthy
//!   quorum of 3 or 5; otherwise two families may each suffice, and the first to do so is named.
//! - Q5: a read returns answers of instances or zones that answered whole, as many as its set needs; whatever else was
//!   answered is handed back, once.
//!
//! # Limits
//!
//! At most 65,534 instances, 67,108,864 tokens, 255 replicas and 10,000 partitions. A token costs 18 to 20 bytes at 3 or
//! 4 replicas, 14 to 16 at fewer, and 10 to 12 and 2 for each replica at more, the 4 of the record included; 4 more while any
//! token is claimed twice. Replica sets are precomputed up to 16 replicas and 512 MiB, so the largest ring takes 1.5 GB.
//! A lookup allocates only if more than 8 members are selected. It is O(1) expected where replica sets are
//! precomputed and no state both serves and extends the operation, and at worst O(instances · log tokens): with
//! more than 64 replicas, when nearly all of a zone extends, or all of it does what it serves too, as PENDING does
//! for `READ`. A snapshot with new health costs O(instances), one with new
//! tokens O(tokens · (log tokens + replicas)).
//!
//! Whoever reads asks by the ring it has. One that is older than an instance was JOINING
//! (`LifecyclerOptions::observe`) may not know of one that takes writes already: let that last longer than the store's
//! news are on their way, or at one replica a read misses what the new instance alone took.
//!
//! By gossip a node fails calls until it has heard what the others know, for 30 s at most, or ten intervals without other
//! seeds: if nobody answers for so long that does not wait itself, it goes on as a cluster of its own, and an instance that
//! restarts then joins anew. Nodes tell each other of every life of a node, restarts included, that goes on or has ended, in
//! one datagram: let there be no more than 3,000, or nobody hears of anybody. One that has ended is passed on for as long
//! as a node starts at least every 12 hours, so count them (`GossipStore::lives`).
//!
//! # Time, chance, disk and the network
//!
//! Time is an argument, `now_ns`: monotonic nanoseconds since an origin of your choice. Random tokens
//! are a pure function of who asks. `quorum` takes the call to an instance as a closure and its
//! deadlines from tokio's timer, which tests can pause; what runs an instance is given a clock beside it.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `tokio`: the module `quorum`, writes to replica sets and reads of them.
//! - `store`: the module `store`, records in memory and in files, and what runs on them: `lifecycle::Driver`,
//!   `Watcher` and `Caretaker`, `partition::PartitionDriver` and `PartitionWatcher`.
//! - `etcd`: a store on etcd. Its build runs `protoc` (Debian: `protobuf-compiler` and `libprotobuf-dev`).
//! - `gossip`: a store without a server, by `chitchat`.
//! - `conformance`: what stores and disks of your own have to pass.
//! - `serde`: `Serialize` and `Deserialize` for options and the records of instances.

pub mod codec;
pub mod disk;
mod error;
mod features;
mod generate;
mod instance;
pub mod lifecycle;
mod membership;
mod operation;
pub mod partition;
#[cfg(feature = "tokio")]
pub mod quorum;
mod replication;
mod ring;
pub mod shard;
mod shared;
pub mod spread;
#[cfg(feature = "store")]
pub mod store;
mod token;
pub mod token_file;

pub use error::{BuildError, Error, GenerateError, ParseStateError};
pub use features::{Features, TooManyFeatures};
pub use generate::{DEFAULT_TOKENS, MAX_TOKENS_PER_INSTANCE, random_tokens};
pub use instance::{Instance, ReadOnly, State, Version};
pub use membership::{Member, Membership, MembershipFull};
pub use operation::Operation;
pub use replication::{GetOptions, ParseRequireError, QuorumBase, ReplicationSet, Require};
pub use ring::{
    BatchPlan, Changed, Counts, Explanation, FromTo, Imbalance, Move, Need, Options, RangeDiff, RangeError,
    ReadSet, Ring, Step, TokenRanges, Trial, TrialError, Verdict,
};
pub use shared::SharedRing;
pub use token::{KeyHash, Token, TokenSet, fnv1_32, token_for};

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_is_the_front_page() {
        let docs = include_str!("lib.rs").lines().map_while(|line| line.strip_prefix("//!"));
        let page: Vec<&str> = docs.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        // Headings are a level deeper below the title; code blocks name their language.
        let readme = include_str!("../README.md").strip_prefix("# forebay-ring\n\n").unwrap();
        let expected = page.join("\n").replace("\n# ", "\n## ").replacen("```\n", "```rust\n", 1);
        let without_hidden = expected.replace("## Ok::<(), Box<dyn std::error::Error>>(())\n", "");
        assert_eq!(readme.trim_end(), without_hidden);
    }
}
