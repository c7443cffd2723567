//! Lines as they come, from all ingesters at once.
//!
//! Each line comes once: ingesters are listened to before what is there is read, so that none is missed in between, and
//! the last lines that came are remembered, so that none comes again, from there, from another replica or because it
//! was pushed again. An ingester that goes away and comes back is listened to again within a second; what came to it
//! alone meanwhile is for a query to find.

mod held;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_agent::clock::monotonic_ns;
use forebay_chunk::Direction;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::merge::{Holds, Section};
use super::{Answered, ExecuteError, LogQuery, Querier, Split};
use crate::client::{IngesterClient, ReadFailed, Tailing};
use crate::index::Span;
use crate::labels::Labels;
use crate::logql::Logs;
use crate::record::Record;
use crate::wire::{self, Filter, LabelMatcher, Tailed};

use held::Held;

/// How often is looked for ingesters that are new, or back.
const LOOK: Duration = Duration::from_secs(1);

/// The lines that somebody wants to follow.
#[derive(Debug, Clone)]
pub struct TailQuery {
    /// Which.
    pub logs: Logs,
    /// Of what is there already: when, inclusive.
    pub span: Span,
    /// Of what is there already, the newest so many.
    pub limit: usize,
    /// How long a line is held, so that what comes late finds its place.
    pub delay: Duration,
    /// Most bytes that may be read of what is there already.
    pub max_bytes: u64,
    /// In what parts that is read.
    pub split: Split,
}

/// Lines that came.
#[derive(Debug, Default)]
pub struct Batch {
    /// Labels of the streams.
    pub streams: Vec<Labels>,
    /// In order of time.
    pub entries: Vec<Answered>,
    /// The labels and times of lines that came too fast to be sent.
    pub dropped: Vec<(Labels, i64)>,
}

/// Lines as they come. Whoever drops it is told nothing any more.
pub struct Tail {
    querier: Querier,
    tail: wire::Tail,
    /// With the number under which each is followed.
    followed: Vec<(u64, Arc<dyn IngesterClient>)>,
    follows: u64,
    events: SelectAll<BoxStream<'static, Event>>,
    held: Held,
    look_ns: u64,
}

enum Event {
    Tailed(Tailed),
    Ended(u64, Option<ReadFailed>),
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl Querier {
    /// Follows the lines that `query` asks for.
    ///
    /// # Errors
    /// [`ExecuteError`]
    pub async fn tail(&self, tenant: &str, query: TailQuery) -> Result<Tail, ExecuteError> {
        let TailQuery { logs, span, limit, delay, max_bytes, split } = query;
        let tail = wire::Tail {
            tenant: tenant.to_owned(),
            matchers: logs.matchers.iter().map(LabelMatcher::from).collect(),
            filters: logs.filters.iter().map(Filter::from).collect(),
        };
        let ask = |client: Arc<dyn IngesterClient>| {
            let tail = tail.clone();
            async move { Ok((client.tail(tail).await?, client)) }
        };
        let (begun, _) = self.begin(tenant, ask).await?;
        let mut all = Tail {
            querier: self.clone(),
            tail,
            followed: Vec::new(),
            follows: 0,
            events: SelectAll::new(),
            held: Held::new(delay),
            look_ns: monotonic_ns() + nanoseconds(LOOK),
        };
        for (_, (lines, client)) in begun {
            all.follow(client, lines);
        }
        let query = LogQuery { logs, span, direction: Direction::Backward, limit, max_bytes, split };
        let there = self.lines(tenant, query).await?;
        for Answered { stream, found } in there.entries.into_iter().rev() {
            all.held.add_due(there.streams[stream].clone(), found);
        }
        Ok(all)
    }
}

impl Tail {
    /// The next lines, as soon as there are any whose time has come. Nothing is lost where this is dropped.
    pub async fn next(&mut self) -> Batch {
        loop {
            let now_ns = monotonic_ns();
            if let Some(batch) = self.held.take(now_ns) {
                return batch;
            }
            if now_ns >= self.look_ns {
                self.look();
                self.look_ns = now_ns + nanoseconds(LOOK);
            }
            let wake_ns = self.held.due_ns().map_or(self.look_ns, |due| due.min(self.look_ns));
            tokio::select! {
                Some(event) = self.events.next() => self.take(event),
                () = tokio::time::sleep(Duration::from_nanos(wake_ns.saturating_sub(now_ns))) => {}
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Tailed(tailed) => {
                if let Err(error) = self.held.hear(tailed, monotonic_ns()) {
                    tracing::warn!(%error, "what an ingester sent of a tail makes no sense");
                }
            }
            Event::Ended(number, error) => {
                self.followed.retain(|(other, _)| *other != number);
                if let Some(ReadFailed(error)) = error {
                    tracing::debug!(error, "an ingester is not listened to any more");
                }
            }
        }
    }

    /// Listens to ingesters that it does not listen to.
    fn look(&mut self) {
        for client in self.querier.members.clients().into_iter().flatten() {
            if !self.followed.iter().any(|(_, other)| Arc::ptr_eq(other, &client)) {
                let (tail, asked) = (self.tail.clone(), Arc::clone(&client));
                let begun = stream::once(async move { asked.tail(tail).await });
                self.follow(client, begun.try_flatten().boxed());
            }
        }
    }

    fn follow(&mut self, client: Arc<dyn IngesterClient>, lines: Tailing) {
        let number = self.follows;
        self.follows += 1;
        self.followed.push((number, client));
        // After a failure comes the end as well, when the same ingester may be followed anew.
        let events = lines.map(move |tailed| match tailed {
            Ok(tailed) => Event::Tailed(tailed),
            Err(error) => Event::Ended(number, Some(error)),
        });
        let end = stream::once(async move { Event::Ended(number, None) });
        self.events.push(events.chain(end).boxed());
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Held {
    /// Takes in what an ingester sent.
    fn hear(&mut self, tailed: Tailed, now_ns: u64) -> anyhow::Result<()> {
        if !tailed.record.is_empty() {
            let record = Record::parse(tailed.record)?;
            for (labels, entries) in record.owned_sections() {
                let mut section = Section::new(entries, Holds::Lines);
                while let Some(mut found) = section.found(0)? {
                    // A line that waits must not keep the whole record.
                    found.line = Bytes::copy_from_slice(&found.line);
                    self.add(labels.clone(), found, now_ns);
                }
            }
        }
        for dropped in tailed.dropped {
            self.miss(wire::labels(&dropped.labels)?, dropped.timestamp_ns, now_ns);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::tests::{Answers, querier};
    use super::*;
    use crate::logql::Query;

    /// The end that follows a failure ended what was followed meanwhile, and it was followed twice.
    #[tokio::test]
    async fn an_ingester_that_fails_is_followed_once() {
        let client = Answers::default();
        let listened = Arc::clone(&client.listened);
        let querier = querier(1, vec![Arc::new(client)]);
        let Query::Logs(logs) = Query::parse(r#"{app="a"}"#).unwrap() else {
            unreachable!("it asks for lines")
        };
        let (span, max_bytes, split) = (Span::ALL, u64::MAX, Split::default());
        let query = TailQuery { logs, span, limit: 1, delay: Duration::ZERO, max_bytes, split };
        let mut tail = querier.tail("t", query).await.unwrap();
        let failure = tail.events.next().await.unwrap();
        tail.take(failure);
        assert_eq!(tail.followed.len(), 0);
        tail.look();
        // The end of the first; that of the second is still to come.
        let end = tail.events.next().await.unwrap();
        assert!(matches!(end, Event::Ended(0, None)));
        tail.take(end);
        assert_eq!((tail.followed.len(), listened.load(Ordering::Relaxed)), (1, 1));
    }
}
