//! The members that score highest for a tenant (Thaler and Ravishankar, 1998).

use smallvec::SmallVec;

use super::{Chosen, Sharder, Standing, Zone};

/// Gives every member a score for the tenant and takes the highest. Chances are equal, whatever the tokens;
/// O(members of the zone).
#[derive(Debug, Clone, Copy, Default)]
pub struct Rendezvous;

/// Up to so many are kept in order while all are looked at; more are sorted.
const FEW: usize = 16;

impl Sharder for Rendezvous {
    fn choose(&self, zone: &Zone<'_>, seed: u64, want: usize, chosen: &mut Chosen) {
        let counting =
            zone.members().iter().copied().filter(|&member| zone.standing(member) == Standing::Counts);
        let scored = counting.map(|member| (score(seed, zone.id_hash(member)), member));
        let lowest = if want <= FEW {
            let mut best: SmallVec<[(u64, u16); FEW + 1]> = SmallVec::new();
            for entry in scored {
                if best.len() < want || best.last().is_some_and(|last| precedes(entry, *last)) {
                    let at = best.partition_point(|other| precedes(*other, entry));
                    best.insert(at, entry);
                    best.truncate(want);
                }
            }
            take(&best, want, chosen)
        } else {
            let mut all: Vec<(u64, u16)> = scored.collect();
            all.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(want);
            take(&all, want, chosen)
        };
        for &member in zone.members() {
            let entry = (score(seed, zone.id_hash(member)), member);
            let comes_before = lowest.is_none_or(|lowest| precedes(entry, lowest));
            if comes_before && zone.standing(member) == Standing::Beside {
                chosen.add(member);
            }
        }
    }
}

/// Chooses these; the last of them if they are as many as wanted.
fn take(best: &[(u64, u16)], want: usize, chosen: &mut Chosen) -> Option<(u64, u16)> {
    best.iter().for_each(|&(_, member)| chosen.add(member));
    best.last().copied().filter(|_| best.len() == want)
}

/// Higher scores first; of equal ones the lower id, since members are numbered by id.
fn precedes(a: (u64, u16), b: (u64, u16)) -> bool {
    a.0 > b.0 || (a.0 == b.0 && a.1 < b.1)
}

/// The finaliser of SplitMix64, in which every bit of the score depends on every bit of both.
fn score(seed: u64, id_hash: u64) -> u64 {
    let mut word = seed ^ id_hash;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
