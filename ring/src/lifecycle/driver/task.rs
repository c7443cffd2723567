//! The task of a life: takes what happens, one at a time, and begins what is to be done about it.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::work::{Done, Work};
use super::{Command, Drain, Home, Status};
use crate::lifecycle::event::{Action, Event, Phase};
use crate::lifecycle::machine::Lifecycler;
use crate::lifecycle::run::{Report, sleep_until};
use crate::membership::Membership;

pub(super) struct Run {
    life: Lifecycler,
    home: Home,
    work: Work,
    drain: Option<Arc<dyn Drain>>,
    status: watch::Sender<Status>,
    wake_at_ns: Option<u64>,
    drains: JoinSet<u64>,
    /// What is to be answered by an event.
    out: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
}

impl Run {
    pub(super) fn new(
        life: Lifecycler,
        home: Home,
        drain: Option<Arc<dyn Drain>>,
        status: watch::Sender<Status>,
    ) -> Self {
        let work = Work::new(home.clone(), Arc::clone(life.id()));
        Self { life, home, work, drain, status, wake_at_ns: None, drains: JoinSet::new(), out: None }
    }

    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        mut view: watch::Receiver<Arc<Membership>>,
    ) {
        self.on(Event::Start);
        let mut watched = true;
        while self.life.phase() != Phase::Stopped {
            let Self { out, drains, home, wake_at_ns, .. } = &mut self;
            // In this order, so that what happens again happens alike.
            tokio::select! {
                biased;
                command = inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                done = answer(out) => self.done(done),
                Some(drained) = drains.join_next() => self.drained(drained),
                changed = view.changed(), if watched => {
                    watched = changed.is_ok();
                    let members = Arc::clone(&view.borrow_and_update());
                    self.on(Event::View(&members));
                }
                () = sleep_until(&home.clock, *wake_at_ns) => self.on(Event::Tick),
            }
        }
    }

    fn on(&mut self, event: Event<'_>) {
        let now = (self.home.clock)();
        if matches!(event, Event::Tick) {
            self.wake_at_ns = None;
        }
        for action in self.life.on(event, now) {
            match action {
                Action::WakeAt(at_ns) => self.wake_at_ns = Some(at_ns),
                Action::Ready(_) | Action::Stopped => {}
                Action::Drain(number) => self.begin_drain(number),
                Action::Report(notice) => (self.home.reporter)(Report::Notice(notice)),
                action => self.out = self.work.begin(action),
            }
        }
        let (phase, ready, returning) = (self.life.phase(), self.life.is_ready(), self.life.is_returning());
        self.status.send_if_modified(|status| {
            let before = *status;
            *status = Status { phase, ready, returning, ..before };
            *status != before
        });
    }

    fn command(&mut self, command: Command) {
        let cancels = matches!(command, Command::CancelShutdown);
        self.on(match command {
            Command::Recovered => Event::Recovered,
            Command::Shutdown(unregister) => Event::Shutdown { unregister },
            Command::CancelShutdown => Event::CancelShutdown,
            Command::ReadOnly(enabled) => Event::ReadOnly(enabled),
        });
        if cancels && !matches!(self.life.phase(), Phase::Leaving | Phase::Lingering) {
            self.drains.abort_all();
        }
    }

    fn done(&mut self, done: Done) {
        self.out = None;
        if done.is_heartbeat() {
            let now_ns = (self.home.clock)().mono_ns;
            self.status.send_modify(|status| status.heartbeat_ns = Some(now_ns));
        }
        self.on(done.into_event());
    }

    fn begin_drain(&mut self, number: u64) {
        let drain = self.drain.clone();
        let mut called_off = std::mem::take(&mut self.drains);
        self.drains.spawn(async move {
            called_off.shutdown().await;
            if let Some(drain) = drain {
                drain.drain().await;
            }
            number
        });
    }

    /// One that panicked has not drained: the instance stays LEAVING, with what it holds, until somebody looks.
    fn drained(&mut self, drained: Result<u64, JoinError>) {
        match drained {
            Ok(number) => self.on(Event::Drained(number)),
            Err(error) if error.is_panic() => (self.home.reporter)(Report::DrainLost),
            Err(_) => {}
        }
    }
}

async fn answer(out: &mut Option<Pin<Box<dyn Future<Output = Done> + Send>>>) -> Done {
    match out {
        Some(out) => out.await,
        None => std::future::pending().await,
    }
}
