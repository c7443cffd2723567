use std::sync::Arc;

use super::*;
use crate::Durability::{Buffered, Synced, Written};
use crate::parker::Parker;

fn queue(policy: SyncPolicy) -> Queue {
    Queue::new((Intake::new(1, 512, 1 << 16), 1), 1000, policy)
}

/// Brings a record and waits for it.
fn append(queue: &mut Queue, len: usize, level: Durability) -> Arc<Parker<Outcome>> {
    let (lsns, _) = queue.push(&mut [vec![0; len].into()], (level, 0, 0), || 0).unwrap();
    let parker = Arc::<Parker<Outcome>>::default();
    queue.wait(level, lsns.end, true, Waiter::Thread(parker.clone()));
    parker
}

#[test]
fn one_leads_and_the_next_is_woken_when_it_leaves() {
    let mut queue = queue(SyncPolicy::Always);
    let first = append(&mut queue, 10, Synced);
    assert!(queue.may_lead());
    let mut taken = queue.take();
    assert_eq!(taken.frames.spans().len(), 1);
    assert!(!queue.may_lead(), "there is a leader");
    let second = append(&mut queue, 20, Synced);
    queue.landed(&mut taken.frames, 1 << 10);
    let mut answers = Vec::new();
    assert!(queue.reached((2, 1), &mut answers) && answers.is_empty());
    assert!(!queue.reached((2, 2), &mut answers), "the second is not even written");
    answers.into_iter().for_each(|(waiter, outcome)| waiter.answer(outcome));
    assert!(matches!(first.take(), Some(Ok(_))));
    queue.leave().wake();
    assert!(second.wait().is_none(), "it is offered the lead");
    assert!(queue.may_lead());
}

/// Where only as many were expected as the last sync served, two halves of the writers would take turns for ever.
#[test]
fn those_who_were_answered_and_those_who_came_meanwhile_are_expected() {
    let mut queue = queue(SyncPolicy::Always);
    let _first = append(&mut queue, 10, Synced);
    let mut taken = queue.take();
    queue.landed(&mut taken.frames, 1 << 10);
    queue.serves(1);
    let _meanwhile = [20, 30].map(|len| append(&mut queue, len, Synced));
    queue.reached((2, 2), &mut Vec::new());
    queue.served();
    assert_eq!(queue.waiting_for_sync(), (2, 3));
}

#[test]
fn bytes_in_flight_are_bounded_but_one_record_always_goes() {
    let mut queue = queue(SyncPolicy::Always);
    assert_eq!(queue.overfull(5000, Synced), None);
    append(&mut queue, 600, Synced);
    let inflight = 602 + WAITER_COST;
    assert_eq!(queue.overfull(500, Synced), Some((inflight, 1000)));
    assert_eq!(queue.overfull(398, Buffered), None, "only memory counts where nobody waits");
    let mut taken = queue.take();
    assert!(queue.overfull(500, Buffered).is_some());
    queue.landed(&mut taken.frames, 0);
    assert_eq!(queue.overfull(500, Buffered), None);
    assert!(queue.overfull(500, Synced).is_some(), "until its sync");
}

#[test]
fn nothing_is_taken_after_a_close_or_a_failure() {
    let mut queue = queue(SyncPolicy::Always);
    let failure = Failure::new("testing", std::io::Error::other("x"));
    let taken = append(&mut queue, 1, Synced);
    queue.take();
    let untouched = append(&mut queue, 1, Written);
    let mut answers = Vec::new();
    queue.fail(&failure, None, &mut answers);
    assert_eq!(answers.len(), 1, "the leader answers for what it took");
    queue.fail(&failure, Some(2), &mut answers);
    answers.into_iter().for_each(|(waiter, outcome)| waiter.answer(outcome));
    assert!(matches!(untouched.take(), Some(Err(AppendError::Rejected(Reject::Poisoned)))));
    assert!(matches!(taken.take(), Some(Err(AppendError::Indeterminate(_)))));
    assert_eq!(queue.refusal(false), Some(Reject::Poisoned));
    let mut queue = self::queue(SyncPolicy::Always);
    let waiter = || Waiter::Thread(Arc::default());
    assert!(queue.ask(Work::Close, waiter()).is_ok());
    assert!(matches!(queue.ask(Work::Rotate, waiter()), Err((_, Reject::Closed))));
}

#[test]
fn a_leader_that_gathers_hears_of_the_last_it_waits_for_and_of_requests() {
    let mut queue = queue(SyncPolicy::Always);
    queue.gather(Some(2));
    let mut wait = |end| queue.wait(Synced, end, false, Waiter::Thread(Arc::default()));
    assert_eq!([wait(2), wait(2), wait(2)], [false, true, true]);
    assert!(!queue.is_asked());
    assert!(matches!(queue.ask(Work::Rotate, Waiter::Thread(Arc::default())), Ok(true)));
    assert!(queue.is_asked());
    queue.take();
    assert!(!queue.wait(Synced, 2, false, Waiter::Thread(Arc::default())));
    assert!(matches!(queue.ask(Work::Rotate, Waiter::Thread(Arc::default())), Ok(false)));
}

#[test]
fn bytes_that_are_due_are_work() {
    let mut queue = queue(SyncPolicy::Bytes(300));
    queue.push(&mut [vec![0; 200].into()], (Buffered, 0, 0), || 0).unwrap();
    assert!(!queue.may_lead());
    queue.push(&mut [vec![0; 100].into()], (Buffered, 0, 0), || 0).unwrap();
    assert!(queue.may_lead());
    let mut taken = queue.take();
    queue.landed(&mut taken.frames, 0);
    queue.synced_but(340);
    assert!(queue.reached((3, 1), &mut Vec::new()), "a sync is due");
    queue.synced_but(0);
    assert!(!queue.reached((3, 3), &mut Vec::new()));
}
