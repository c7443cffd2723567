//! What can be held across an `.await` of a task that moves between threads, or be shared by them.

use forebay_ratelimit::bucket::{Bucket, Decision, Segment};
use forebay_ratelimit::{
    Bound, Branch, Demand, Denied, Exceeded, Inherit, Interned, InternedNode, InternedOptions,
    InternedPermit, Keyed, KeyedNode, KeyedOptions, KeyedPermit, LeaseOptions, Leased, Limiter, Multi,
    MultiDenied, MultiPermit, Name, Observed, OfId, OfKey, OverCap, Oversize, OwnedKey, OwnedKeyedPermit,
    ParseError, Permit, Quota, Rate, RateError, Reservation, RetryAfter, Share, ShareDenied, ShareError,
    ShareOptions, Snapshot, Strategy, Tree, TreePermit,
};

fn moves_and_is_shared<T: Send + Sync>() {}

#[test]
fn every_type_goes_from_thread_to_thread() {
    moves_and_is_shared::<(
        Bucket,
        Decision,
        Segment,
        Quota,
        Rate,
        RateError,
        ParseError,
        Oversize,
        Inherit,
        Name,
    )>();
    moves_and_is_shared::<(Bound, Denied, RetryAfter, Snapshot, MultiDenied, Exceeded)>();
    moves_and_is_shared::<(Share, ShareDenied, ShareError, ShareOptions, Strategy, Demand)>();
    moves_and_is_shared::<(InternedOptions, KeyedOptions, OverCap, LeaseOptions)>();
    moves_and_is_shared::<(Limiter, Leased, Multi<2>, Tree<2>, Interned, Keyed<String>)>();
    moves_and_is_shared::<Observed<Limiter, ()>>();
    moves_and_is_shared::<(
        Permit<&Limiter>,
        Permit<std::sync::Arc<Limiter>>,
        Reservation<'_>,
        MultiPermit<'_, 2>,
        TreePermit<'_, 2>,
    )>();
    moves_and_is_shared::<(InternedPermit<'_>, InternedNode<'_, fn() -> u64>)>();
    moves_and_is_shared::<KeyedNode<'_, String, str, fn() -> u64, std::hash::RandomState>>();
    moves_and_is_shared::<(KeyedPermit<'_, String, str>, OwnedKeyedPermit<String>, OfId<&Interned>)>();
    moves_and_is_shared::<(Branch<'_, 2>, OfKey<&Keyed<u64>, &u64>, OwnedKey<u64>)>();
}

#[test]
#[cfg(feature = "tokio")]
fn a_queue_and_those_who_wait_go_from_thread_to_thread() {
    use forebay_ratelimit::{Queue, QueueOptions, QueuePermit, Wait};
    moves_and_is_shared::<(Queue, QueueOptions, QueuePermit<'_>, Permit<Queue>, Wait<'_>)>();
}

#[test]
#[cfg(feature = "tower")]
fn a_layer_and_its_service_go_from_thread_to_thread() {
    use forebay_ratelimit::{Ask, RateLimit, RateLimitFuture, RateLimitLayer};
    type Layer = RateLimitLayer<Ask<fn()>, fn(&()) -> u64, fn(Denied)>;
    moves_and_is_shared::<(Layer, RateLimit<(), Ask<fn()>, fn(&()) -> u64, fn(Denied)>)>();
    moves_and_is_shared::<RateLimitFuture<std::future::Ready<()>, (), ()>>();
}
