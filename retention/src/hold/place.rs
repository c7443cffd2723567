//! Placing and releasing. R1: once [`place`] has returned, no request to delete a matching chunk is sent. It waits
//! for the batches in flight by taking the fence exclusively, and every batch reads the holds again under the
//! shared fence before it sends anything.

use super::{Hold, Holds, Release};
use crate::chunk::Chunk;
use crate::error::Error;
use crate::plan::Tally;
use crate::policy::Scope;
use crate::store::{Access, Change, Intent, Outcome, StateStore};

/// The longest id, case, reason or tenant of a hold, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;
/// How many chunks a [`Placed`] names.
pub const MAX_NAMED: usize = 1000;
const PAGE: usize = 1000;

/// What a hold met when it was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Placed {
    /// The hold, now in force.
    pub hold: Hold,
    /// Matching chunks with an intent but no outcome yet: an earlier deletion was interrupted and may or may not
    /// have reached the object store. No further request is sent; the next sweep finds out which.
    pub in_flight: Vec<Chunk>,
    /// Matching chunks that were deleted before, as far as the journal goes back.
    pub deleted: Tally,
    /// The first [`MAX_NAMED`] of those.
    pub deleted_chunks: Vec<Chunk>,
}

/// Puts `hold` in force, waiting for deletions in flight, at most one batch of each sweeper. Placing the same hold
/// again changes nothing and answers the same, so an answer that got lost can be asked for again.
///
/// Reads the journal from its start, after the hold is in force and the sweepers are let go on.
///
/// # Errors
/// [`Error::HoldExists`] when the id is taken by another hold or a released one, [`Error::Invalid`] for empty or
/// oversized texts, or the store's own. After an error the hold may or may not be in force.
pub async fn place(state: &dyn StateStore, hold: Hold) -> Result<Placed, Error> {
    check(&hold)?;
    if let Some(Release { at_ns, .. }) = hold.released {
        return Err(Error::HoldReleased { id: hold.id, at_ns });
    }
    let holds = Holds::new([hold.clone()]);
    let fence = state.fence(Access::Exclusive).await?;
    match state.holds().await?.into_iter().find(|known| known.id == hold.id) {
        Some(known) if known == hold => {}
        Some(known) => return Err(Error::HoldExists { id: known.id }),
        None => {
            state.commit(&[Change::CreateHold(hold.clone())]).await?;
        }
    }
    let in_flight = in_flight(state, &holds).await?;
    // From here on nothing is deleted that matches, so what the journal says about the past stays true.
    drop(fence);
    let (deleted, deleted_chunks) = deleted(state, &holds).await?;
    Ok(Placed { hold, in_flight, deleted, deleted_chunks })
}

/// Ends the hold `id`. What it alone held is marked at the next sweep and goes after the usual delay; its age
/// counts on as if it had never been held.
///
/// # Errors
/// [`Error::HoldUnknown`], [`Error::HoldReleased`] when it was released before, [`Error::Invalid`] without a
/// reason, or the store's own.
pub async fn release(state: &dyn StateStore, id: &str, release: Release) -> Result<(), Error> {
    check_text("release reason", &release.reason)?;
    state.commit(&[Change::ReleaseHold { id: id.to_owned(), release }]).await?;
    Ok(())
}

fn is_matched(holds: &Holds, intent: &Intent) -> bool {
    intent.chunk.with_meta(|meta| holds.first_match(meta).is_some())
}

async fn in_flight(state: &dyn StateStore, holds: &Holds) -> Result<Vec<Chunk>, Error> {
    let mut found = Vec::new();
    let mut after: Option<(String, String)> = None;
    loop {
        let from = after.as_ref().map(|(tenant, chunk)| (tenant.as_str(), chunk.as_str()));
        let page = state.open_intents(None, from, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some((last.chunk.tenant.clone(), last.chunk.id.clone()));
        found.extend(page.into_iter().filter(|intent| is_matched(holds, intent)).map(|intent| intent.chunk));
    }
}

async fn deleted(state: &dyn StateStore, holds: &Holds) -> Result<(Tally, Vec<Chunk>), Error> {
    let mut tally = Tally::default();
    let mut named = Vec::new();
    let mut after = 0;
    loop {
        let page = state.journal(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok((tally, named)) };
        after = last.seq;
        let gone = |intent: &Intent| {
            let outcome = intent.closed.as_ref().map(|closed| &closed.outcome);
            matches!(outcome, Some(Outcome::Deleted | Outcome::AlreadyGone))
        };
        for intent in page.into_iter().filter(|intent| gone(intent) && is_matched(holds, intent)) {
            tally.add(intent.chunk.range, intent.chunk.size_bytes);
            if named.len() < MAX_NAMED {
                named.push(intent.chunk);
            }
        }
    }
}

fn check(hold: &Hold) -> Result<(), Error> {
    check_text("hold id", &hold.id)?;
    check_text("hold case", &hold.case)?;
    check_text("hold reason", &hold.reason)?;
    match &hold.scope {
        Scope::Tenant(tenant) => check_text("hold tenant", tenant),
        Scope::All => Ok(()),
    }
}

fn check_text(what: &'static str, text: &str) -> Result<(), Error> {
    let found = text.len();
    if (1..=MAX_TEXT_BYTES).contains(&found) {
        Ok(())
    } else {
        Err(Error::Invalid { what, found, limit: MAX_TEXT_BYTES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Selector;

    #[test]
    fn ids_cases_and_reasons_are_mandatory_and_bounded() {
        let tenant = |tenant: &str| Scope::Tenant(tenant.to_owned());
        let of = |id: &str, scope, case: &str, reason: &str| {
            check(&Hold::new(id, scope, Selector::everything(), case, reason, 0))
        };
        assert!(of("h", tenant("t"), "case 7", "court").is_ok());
        assert!(matches!(
            of("", Scope::All, "c", "r"),
            Err(Error::Invalid { what: "hold id", found: 0, .. })
        ));
        assert!(matches!(of("h", tenant(""), "c", "r"), Err(Error::Invalid { what: "hold tenant", .. })));
        assert!(matches!(of("h", Scope::All, "", "r"), Err(Error::Invalid { what: "hold case", .. })));
        assert!(matches!(of("h", Scope::All, "c", ""), Err(Error::Invalid { what: "hold reason", .. })));
        assert!(of(&"h".repeat(4096), Scope::All, "c", "r").is_ok());
        assert!(of(&"h".repeat(4097), Scope::All, "c", "r").is_err());
    }
}
