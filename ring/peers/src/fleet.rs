//! Our ring, and the tokens it is made of for those who are given the same.

use std::collections::HashSet;

use forebay_ring::spread::{DEFAULT_SPREAD_TOKENS, Spread, in_zone};
use forebay_ring::{Instance, Membership, Options, Ring, State, TokenSet, random_tokens};

/// Where the tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// So many each, by chance.
    Random(usize),
    /// 512 each, that share the key space evenly.
    Spread,
}

/// Instances with tokens, in three zones or in none.
pub struct Fleet {
    pub members: Membership,
    /// Ascending; whose it is, by number.
    pub tokens: Vec<(u32, u16)>,
    /// The zone of each.
    pub zones: Vec<u8>,
}

impl Fleet {
    /// `instances` of them, in as many zones; 0 for a ring in which zones do not count.
    pub fn new(instances: u16, tokens: Tokens, zones: u8) -> Self {
        let mut fleet = Self { members: Membership::default(), tokens: Vec::new(), zones: Vec::new() };
        let mut taken = HashSet::new();
        let mut spread = Spread::new(DEFAULT_SPREAD_TOKENS);
        let mut of_ordinal = TokenSet::default();
        for number in 0..instances {
            let (id, zone) = (format!("ingester-{number:05}"), number.checked_rem(zones.into()).unwrap_or(0));
            let zone = u8::try_from(zone).expect("less than the number of zones");
            let name = if zones == 0 { String::new() } else { format!("zone-{zone}") };
            let set: TokenSet = match tokens {
                Tokens::Random(count) => {
                    let tokens =
                        random_tokens(&id, &name, 0, count, &TokenSet::default()).expect("few tokens");
                    // A token that two claim would belong to one of them, which not all rings here agree on.
                    tokens.iter().copied().filter(|&token| taken.insert(token)).collect()
                }
                Tokens::Spread => {
                    if zone == 0 {
                        of_ordinal = spread.join(std::num::NonZeroU8::MIN).expect("there is room");
                    }
                    in_zone(&of_ordinal, zone).expect("few zones")
                }
            };
            fleet.tokens.extend(set.iter().map(|&token| (token, number)));
            fleet.zones.push(zone);
            let instance = Instance {
                state: State::Active,
                zone: name.as_str().into(),
                tokens: set,
                ..Instance::new(id, "")
            };
            fleet.members.observe(instance, 0);
        }
        fleet.tokens.sort_unstable();
        fleet
    }

    /// Three replicas, in different zones if there are any.
    pub fn ring(&self) -> Ring {
        Ring::build(&options(self.zones.iter().any(|&zone| zone > 0)), &self.members, 0)
            .expect("within all limits")
    }
}

pub fn options(zone_awareness: bool) -> Options {
    Options { zone_awareness, ..Options::default() }
}

/// The number in an id.
pub fn number_of(id: &str) -> usize {
    id.rsplit('-').next().and_then(|digits| digits.parse().ok()).expect("ids end in their number")
}
