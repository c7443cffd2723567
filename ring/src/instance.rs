//! One member of the ring as it announces itself, and the states it is meant to pass through. Who writes an
//! instance's own record keeps to them (`State::can_become`); who receives it takes the newest as it is, for
//! the records between two that were heard may have been missed.
//!
//! Invariant: of two records of an instance one always wins, and every observer picks the same one:
//! `Instance::precedence` is a total order over all that is replicated.
//!
//! ```text
//!            +------------+
//!            v            |
//! start -> PENDING -> JOINING -> ACTIVE <-> LEAVING
//!            |                     ^
//!            +---------------------+          any -> LEFT (unregistered, or forgotten)
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::ParseStateError;
use crate::features::Features;
use crate::token::TokenSet;

/// What an instance says about itself. A clone shares its texts and tokens.
///
/// ```
/// use forebay_ring::{Instance, State};
///
/// let instance = Instance {
///     zone: "zone-a".into(),
///     state: State::Active,
///     tokens: vec![30, 10, 20].into(),
///     ..Instance::new("ingester-0", "10.0.0.1:9095")
/// };
/// assert_eq!(*instance.tokens, [10, 20, 30]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Instance {
    /// Name that stays the same over restarts; what members are told apart by.
    pub id: Arc<str>,
    /// Where to reach it; the ring carries it and never looks at it.
    pub addr: Arc<str>,
    /// Failure domain; empty if it has none.
    pub zone: Arc<str>,
    /// What it may be asked to do.
    pub state: State,
    /// The ends of the key ranges it claims.
    pub tokens: TokenSet,
    /// How new this record is.
    pub version: Version,
    /// When it joined with these tokens in this zone; wall time, nanoseconds since 1970. Lookups ignore it: it is for
    /// those who ask which instances a time range may have data on, as shards with a lookback do.
    pub registered_at_ns: i64,
    /// Whether tenants may be placed on it anew. Lookups ignore it, shards pass it over.
    pub read_only: ReadOnly,
    /// What its software can do. Carried for those who wait until all can; the ring itself never looks at it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub features: Features,
}

impl Instance {
    /// A PENDING instance without zone and tokens, at the lowest version, registered at 0.
    pub fn new(id: impl Into<Arc<str>>, addr: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            addr: addr.into(),
            zone: Arc::from(""),
            state: State::Pending,
            tokens: TokenSet::default(),
            version: Version::default(),
            registered_at_ns: 0,
            read_only: ReadOnly::default(),
            features: Features::default(),
        }
    }

    /// Orders records of one instance: the newer version first of all. Equal versions with different
    /// content come from a broken or forged writer; then the later state wins, LEFT over all, so that
    /// even a record at the highest version can be buried, and after that the content in a fixed order.
    pub(crate) fn precedence(&self) -> impl Ord + '_ {
        let texts: (&str, &str) = (&self.addr, &self.zone);
        let placing = (self.registered_at_ns, self.read_only);
        (self.version, self.state, texts, &self.tokens, placing, &self.features)
    }
}

/// Age of a record, compared by incarnation, then by sequence.
///
/// Counters rather than times: clocks of different machines disagree, and two changes within one tick
/// would look the same.
///
/// Versions are believed, so records must come from authenticated peers: nothing outdoes a forged highest
/// version but a LEFT record at the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Version {
    /// One more at each start of the process.
    pub incarnation: u64,
    /// One more at each change and each heartbeat.
    pub sequence: u64,
}

impl Version {
    /// The version of the next change or heartbeat. The highest version there is stays as it is.
    pub const fn next(self) -> Self {
        match self.sequence.checked_add(1) {
            Some(sequence) => Self { sequence, ..self },
            None => self.restarted(),
        }
    }

    /// The first version after a restart; above all versions of the incarnation before it. The last
    /// incarnation there is goes on instead, and the highest version stays as it is.
    pub const fn restarted(self) -> Self {
        match self.incarnation.checked_add(1) {
            Some(incarnation) => Self { incarnation, sequence: 0 },
            None => Self { sequence: self.sequence.saturating_add(1), ..self },
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.sequence)
    }
}

/// A flag beside the state: a read-only instance serves what it has and takes no new tenants.
///
/// The time of the last change is kept in both directions: who looks for data written an hour ago must
/// also ask an instance that became writable, or ceased to be, half an hour ago. Lookups ignore the flag:
/// it is for the code that chooses instances for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ReadOnly {
    /// Whether it is read-only now.
    pub enabled: bool,
    /// When that last changed; wall time, nanoseconds since 1970; 0 if it never did.
    pub changed_at_ns: i64,
}

/// Where an instance is in its life; ordered so that LEFT, which merging relies on, is the greatest. What
/// each state may serve is said by an [`Operation`](crate::Operation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "UPPERCASE"))]
#[repr(u8)]
pub enum State {
    /// Registered, not yet taking part.
    Pending = 0,
    /// Has tokens and makes sure that nobody else does.
    Joining = 1,
    /// Serves everything.
    Active = 2,
    /// About to stop: still readable, no longer written to.
    Leaving = 3,
    /// Gone. The record is a tombstone that keeps older ones from coming back.
    Left = 4,
}

impl State {
    /// All states, in the order of a life.
    pub const ALL: [State; 5] = [State::Pending, State::Joining, State::Active, State::Leaving, State::Left];

    /// Whether an instance may go from this state to `next` within one incarnation. Staying is not a
    /// step; LEFT is final, a restart begins a new incarnation.
    ///
    /// For the one process that writes the record, to ask before it announces a change, be it of its own
    /// or an operator's wish. Nothing here asks it: a received record may be several steps ahead.
    pub const fn can_become(self, next: State) -> bool {
        use State::{Active, Joining, Leaving, Left, Pending};
        matches!(
            (self, next),
            (Pending, Joining | Active)
                | (Joining, Pending | Active)
                | (Active, Leaving)
                | (Leaving, Active)
                | (Pending | Joining | Active | Leaving, Left)
        )
    }

    /// Upper-case name, as printed and parsed.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Joining => "JOINING",
            State::Active => "ACTIVE",
            State::Leaving => "LEAVING",
            State::Left => "LEFT",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = ParseStateError;

    fn from_str(text: &str) -> Result<Self, ParseStateError> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(ParseStateError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_parsed_from_what_it_prints() {
        for state in State::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert_eq!("active".parse::<State>(), Err(ParseStateError));
    }

    #[test]
    fn nothing_comes_after_left_and_everything_may_end_there() {
        for state in State::ALL {
            assert!(!State::Left.can_become(state));
            assert!(!state.can_become(state));
            assert_eq!(state.can_become(State::Left), state != State::Left);
        }
        assert!(!State::Pending.can_become(State::Leaving));
        assert!(!State::Active.can_become(State::Joining));
    }

    #[test]
    fn a_restart_is_newer_than_any_heartbeat_before_it() {
        let last = Version { incarnation: 3, sequence: u64::MAX };
        assert!(last.next() > last);
        assert!(last.restarted() > last);
        assert_eq!(last.restarted().to_string(), "4.0");
        let highest = Version { incarnation: u64::MAX, sequence: 9 };
        assert!(highest.next() > highest);
        assert!(highest.restarted() > highest, "the last incarnation is never left, but goes on");
    }

    #[test]
    fn no_version_is_followed_by_an_older_one() {
        let edges = [0, 1, u64::MAX - 1, u64::MAX];
        for (incarnation, sequence) in edges.into_iter().flat_map(|i| edges.map(|s| (i, s))) {
            let version = Version { incarnation, sequence };
            let last = (incarnation, sequence) == (u64::MAX, u64::MAX);
            for next in [version.next(), version.restarted()] {
                assert!(next > version || (last && next == version), "{version} is followed by {next}");
            }
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_record_survives_serde_and_hostile_tokens_are_put_in_order() {
        let instance = Instance { tokens: vec![1, 2].into(), ..Instance::new("a", "b") };
        let text = serde_json::to_string(&instance).unwrap();
        assert!(text.contains(r#""state":"PENDING""#), "{text}");
        assert_eq!(serde_json::from_str::<Instance>(&text).unwrap(), instance);

        let earlier = text.replace(r#","features":[]"#, "");
        assert_ne!(earlier, text);
        assert_eq!(
            serde_json::from_str::<Instance>(&earlier).unwrap(),
            instance,
            "written before there were any"
        );

        let shuffled = text.replace("[1,2]", "[2,1,2]");
        assert_eq!(serde_json::from_str::<Instance>(&shuffled).unwrap(), instance);
    }
}
