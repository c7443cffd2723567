//! From random keys to the next tokens.

use super::{Chosen, Sharder, Standing, Zone};
use crate::generate::Draws;
use crate::token::Token;

/// Draws a key for each wanted member and takes the owner of the first token after it that is of the zone and not
/// chosen yet. Chances are as the tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenWalk;

/// Tokens looked at one by one for a draw; beyond these the nearest of the members is looked for instead.
const MAX_STEPS: usize = 128;

impl Sharder for TokenWalk {
    fn choose(&self, zone: &Zone<'_>, seed: u64, want: usize, chosen: &mut Chosen) {
        for draw in Draws::from_seed(seed).take(want) {
            if !near(zone, Token(draw), chosen) && !far(zone, Token(draw), chosen) {
                return;
            }
        }
    }
}

/// Goes from token to token until one is found that counts; whether it was.
fn near(zone: &Zone<'_>, key: Token, chosen: &mut Chosen) -> bool {
    for member in zone.owners_after(key, MAX_STEPS) {
        if !zone.is_mine(member) || chosen.contains(member) {
            continue;
        }
        let standing = zone.standing(member);
        if standing != Standing::Out {
            chosen.add(member);
        }
        if standing == Standing::Counts {
            return true;
        }
    }
    false
}

/// The same by looking at every member; whether there was one left that counts.
fn far(zone: &Zone<'_>, key: Token, chosen: &mut Chosen) -> bool {
    let open = |member: &u16, chosen: &Chosen| !chosen.contains(*member);
    let counting = zone.members().iter().copied().filter(|&member| zone.standing(member) == Standing::Counts);
    let nearest = counting
        .filter(|member| open(member, chosen))
        .filter_map(|member| Some((zone.distance(key, member)?, member)))
        .min();
    for &member in zone.members() {
        let comes_before = || match (zone.distance(key, member), nearest) {
            (Some(distance), Some((limit, _))) => distance < limit,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if zone.standing(member) == Standing::Beside && open(&member, chosen) && comes_before() {
            chosen.add(member);
        }
    }
    nearest.is_some_and(|(_, member)| {
        chosen.add(member);
        true
    })
}
