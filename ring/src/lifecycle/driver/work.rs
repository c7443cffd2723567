//! One thing at a time that is answered by an event: a read, a save, a write.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::Home;
use crate::codec::{InstanceRecord, RecordKind, TokensRecord, decode_instance, decode_tokens, encode_tokens};
use crate::lifecycle::change::{Decision, Wish};
use crate::lifecycle::event::{Action, Event, NotSaved, Written};
use crate::lifecycle::home::unencodable;
use crate::lifecycle::run::{Backoff, Report, Unsaved};
use crate::store::{Change, Record, StoreError, UpdateError};
use crate::token_file::{Loaded, TokenFile};

/// How something ended.
pub(super) enum Done {
    Loaded { file: Loaded, record: Option<InstanceRecord>, tokens: Option<TokensRecord> },
    Saved(Result<(), NotSaved>),
    Tokens(Written),
    Record(Written),
}

impl Done {
    /// Whether the store took the instance's record.
    pub(super) fn is_heartbeat(&self) -> bool {
        matches!(self, Done::Record(Written::Done { .. }))
    }

    pub(super) fn into_event(self) -> Event<'static> {
        match self {
            Done::Loaded { file, record, tokens } => Event::Loaded { file, record, tokens },
            Done::Saved(saved) => Event::Saved(saved),
            Done::Tokens(written) | Done::Record(written) => Event::Wrote(written),
        }
    }
}

pub(super) struct Work {
    home: Home,
    id: Arc<str>,
    /// Held by whoever reads or writes the file, who may have been given up.
    file: Arc<Mutex<()>>,
}

impl Work {
    pub(super) fn new(home: Home, id: Arc<str>) -> Self {
        Self { home, id, file: Arc::default() }
    }

    /// Begins what an action asks for; `None` if it asks for no answer.
    pub(super) fn begin(&self, action: Action) -> Option<Pin<Box<dyn Future<Output = Done> + Send>>> {
        let (home, id) = (self.home.clone(), Arc::clone(&self.id));
        Some(match action {
            Action::Load => Box::pin(load(home, Arc::clone(&self.file), id)),
            Action::SaveFile(file) => Box::pin(save(home, Arc::clone(&self.file), file)),
            Action::PutTokens(record) => {
                Box::pin(async move { Done::Tokens(put_tokens(&home, &record, false).await) })
            }
            Action::CheckTokens(record) => {
                Box::pin(async move { Done::Tokens(put_tokens(&home, &record, true).await) })
            }
            Action::Apply(wish) => Box::pin(async move {
                let written = apply(&home, &id, &wish).await;
                Done::Record(written.unwrap_or_else(|error| {
                    (home.reporter)(Report::Write(error));
                    Written::Unknown
                }))
            }),
            _ => return None,
        })
    }
}

/// Reads file and records, as often as it takes.
async fn load(home: Home, turn: Arc<Mutex<()>>, id: Arc<str>) -> Done {
    let mut backoff = Backoff::default();
    loop {
        match try_load(&home, &turn, &id).await {
            Ok(loaded) => return loaded,
            Err(report) => (home.reporter)(report),
        }
        tokio::time::sleep(backoff.next((home.clock)())).await;
    }
}

async fn try_load(home: &Home, turn: &Arc<Mutex<()>>, id: &Arc<str>) -> Result<Done, Report> {
    let (disk, path, own) = (Arc::clone(&home.disk), home.token_file.clone(), Arc::clone(id));
    let file = async {
        let turn = Arc::clone(turn).lock_owned().await;
        let file = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            TokenFile::load(&*disk, &path, &own)
        });
        file.await.map_err(std::io::Error::other).flatten()
    };
    let file = tokio::time::timeout(home.time_out, file).await;
    let file =
        file.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(Report::NotLoaded)?;
    let get = async |kind: RecordKind| {
        let key = kind.key(id);
        let read = tokio::time::timeout(home.time_out, home.store.get(&key)).await;
        read.unwrap_or(Err(StoreError::TimedOut { after: home.time_out })).map_err(Report::Watch)
    };
    let record = get(RecordKind::Instance).await?;
    let tokens = get(RecordKind::Tokens).await?;
    // What cannot be read, or is another's, is replaced as if it were not there; observers report it.
    let record = record.and_then(|record| decode_instance(&record.value).ok());
    let tokens = tokens.and_then(|record| decode_tokens(&record.value).ok());
    Ok(Done::Loaded {
        file,
        record: record.filter(|record| record.instance.id == *id),
        tokens: tokens.filter(|tokens| tokens.id == *id),
    })
}

/// Saves the file, or gives up on a disk that hangs; while it does, nothing else is written there.
async fn save(home: Home, turn: Arc<Mutex<()>>, file: TokenFile) -> Done {
    let (disk, path) = (Arc::clone(&home.disk), home.token_file.clone());
    let saved = async {
        let turn = turn.lock_owned().await;
        let saved = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            file.save(&*disk, &path)
        });
        saved.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    };
    let saved = tokio::time::timeout(home.time_out, saved).await;
    let saved =
        saved.map_or(Err(Unsaved::TimedOut { after: home.time_out }), |saved| saved.map_err(Unsaved::from));
    Done::Saved(saved.map_err(|error| {
        (home.reporter)(Report::NotSaved(error));
        NotSaved
    }))
}

/// With `keep`, what is there already stays as it is, in its version too.
async fn put_tokens(home: &Home, record: &TokensRecord, keep: bool) -> Written {
    let mut bytes = Vec::new();
    let written = match encode_tokens(record, &mut bytes) {
        Err(error) => Err(unencodable(error)),
        Ok(()) => {
            let bytes = Bytes::from(bytes);
            home.update(&RecordKind::Tokens.key(&record.id), |current| match current {
                Some(current) if keep && current.value == bytes => Change::Keep,
                _ => Change::Put(bytes.clone()),
            })
            .await
        }
    };
    match written {
        Ok(_) => Written::Done { anew: false },
        Err(error) => {
            (home.reporter)(Report::Write(error));
            Written::Unknown
        }
    }
}

/// Asks for a wish of the record of the instance `id`.
pub(in crate::lifecycle) async fn apply(home: &Home, id: &str, wish: &Wish) -> Result<Written, UpdateError> {
    let mut decided = Written::Unknown;
    let mut unwritten = None;
    let decide = |current: Option<&Record>| {
        // What cannot be read, or is another's, is replaced; observers report it.
        let current = current.and_then(|record| decode_instance(&record.value).ok());
        let current = current.filter(|record| *record.instance.id == *id);
        let mut bytes = Vec::new();
        let (written, change) = match wish.apply(current.as_ref()) {
            Decision::Put { record, anew } => match record.encode(&mut bytes) {
                Ok(()) => (Written::Done { anew }, Change::Put(bytes.into())),
                Err(error) => {
                    unwritten = Some(error);
                    (Written::Unknown, Change::Keep)
                }
            },
            Decision::Same => (Written::Done { anew: false }, Change::Keep),
            Decision::Refused(theirs) => (Written::Refused(theirs), Change::Keep),
        };
        decided = written;
        change
    };
    home.update(&RecordKind::Instance.key(id), decide).await?;
    match unwritten {
        Some(error) => Err(unencodable(error)),
        None => Ok(decided),
    }
}
