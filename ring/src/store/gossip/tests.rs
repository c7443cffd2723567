//! Nodes on the loopback, in paused time: it goes on as soon as no datagram is under way.

use std::net::{SocketAddr, UdpSocket};

use chitchat::{ChitchatId, DeletionStatus, VersionedValue};

use super::hearing::MARK;
use super::*;

fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

fn free_addr() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Starts a node, the first of a cluster until it answers; another process may be the first to take the port.
async fn node(id: &str, generation: u64, seed: Option<SocketAddr>) -> (GossipStore, SocketAddr) {
    for _ in 0..10 {
        let addr = free_addr();
        if let Some(store) = node_at(id, generation, addr, seed.as_slice()).await {
            if seed.is_none() {
                until("it answers", async || store.get("k").await.is_ok()).await;
            }
            return (store, addr);
        }
    }
    panic!("no free port in ten tries");
}

async fn node_at(id: &str, generation: u64, addr: SocketAddr, seeds: &[SocketAddr]) -> Option<GossipStore> {
    let seeds = seeds.iter().map(ToString::to_string).collect();
    let options = GossipOptions { seeds, ..GossipOptions::new("test", id, generation, addr) };
    GossipStore::start(options).await.ok()
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Waits for something that gossip brings, for ten minutes that pass at once.
async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if reached().await {
            return;
        }
        seconds(1).await;
    }
    panic!("{what}, in time");
}

async fn value(store: &GossipStore, key: &str) -> Option<Bytes> {
    store.get(key).await.unwrap().map(|record| record.value)
}

async fn heard(store: &GossipStore) {
    until("it has heard of the others", async || store.hearing().await == Hearing::Whole).await;
}

fn reason(error: &StoreError) -> &GossipError {
    let StoreError::Unreachable(source) = error else { panic!("{error:?}") };
    source.downcast_ref().unwrap()
}

#[test]
fn a_node_that_has_ceased_to_gossip_fails_every_call_and_watch() {
    paused(async {
        let (store, _) = node("a", 1, None).await;
        store.put_if("k", Bytes::new(), Expect::Any).await.unwrap();
        let mut watch = store.watch(Revision(0)).await.unwrap();
        watch.next().await.unwrap();
        store.node.handle.abort();
        let news = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
        let error = news.unwrap().unwrap_err();
        assert_eq!((reason(&error), store.hearing().await), (&GossipError::Ended, Hearing::Ended));
        let put = store.put_if("k", Bytes::new(), Expect::Any).await;
        assert!(matches!(put, Err(PutError::Store(StoreError::Unreachable(_)))), "{put:?}");
        let deleted = store.delete_if("k", Expect::Any).await;
        assert!(matches!(deleted, Err(PutError::Store(StoreError::Unreachable(_)))), "{deleted:?}");
        assert!(store.list().await.is_err() && store.get("k").await.is_err());
        assert!(store.watch(Revision(0)).await.is_err());
    });
}

#[test]
fn options_that_would_end_the_node_are_refused() {
    paused(async {
        let good = GossipOptions::new("test", "a", 1, free_addr());
        let (interval, keep_dead) = (good.interval, good.keep_dead);
        for (interval, keep_dead, what) in [
            (Duration::ZERO, keep_dead, "interval"),
            (Duration::MAX, keep_dead, "interval"),
            (interval, Duration::ZERO, "keep_dead"),
            (interval, Duration::MAX, "keep_dead"),
        ] {
            let error =
                GossipStore::start(GossipOptions { interval, keep_dead, ..good.clone() }).await.unwrap_err();
            assert!(
                matches!(reason(&error), GossipError::Refused { option, .. } if *option == what),
                "{error:?}"
            );
        }
        GossipStore::start(good).await.unwrap();
    });
}

#[test]
fn a_node_whose_seeds_do_not_answer_says_so_and_goes_on_alone_after_a_while() {
    paused(async {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (store, _) = node("a", 1, Some(silent.local_addr().unwrap())).await;
        seconds(29).await;
        let error = store.get("k").await.unwrap_err();
        let GossipError::Unheard { seeds, after, patience } = reason(&error) else { panic!("{error:?}") };
        assert_eq!(*seeds, [silent.local_addr().unwrap().to_string()]);
        assert!(*after >= Duration::from_secs(29) && *patience == Duration::from_secs(30));
        assert_eq!(store.hearing().await, Hearing::Waiting);
        assert!(store.watch(Revision(0)).await.is_err() && store.list().await.is_err());
        let put = store.put_if("k", Bytes::new(), Expect::Any).await;
        assert!(matches!(put, Err(PutError::Store(StoreError::Unreachable(_)))), "{put:?}");
        seconds(2).await;
        assert_eq!(store.get("k").await.unwrap(), None);
        assert_eq!(store.hearing().await, Hearing::Alone);
    });
}

#[test]
fn a_node_that_is_its_own_only_seed_waits_to_be_called_and_goes_on_alone() {
    paused(async {
        let addr = free_addr();
        let store = node_at("a", 1, addr, &[addr]).await.unwrap();
        seconds(9).await;
        let error = store.get("k").await.unwrap_err();
        let GossipError::Unheard { seeds, patience, .. } = reason(&error) else { panic!("{error:?}") };
        assert_eq!((seeds.len(), *patience), (0, Duration::from_secs(10)));
        seconds(2).await;
        assert_eq!((store.get("k").await.unwrap(), store.hearing().await), (None, Hearing::Alone));
    });
}

#[test]
fn a_node_that_nobody_calls_tells_that_it_waits_no_longer() {
    paused(async {
        let seed = free_addr();
        let _first = node_at("first", 1, seed, &[]).await.unwrap();
        let (second, _) = node("second", 1, Some(seed)).await;
        heard(&second).await;
    });
}

#[test]
fn the_only_seed_of_all_is_what_it_was_when_it_comes_back() {
    paused(async {
        let (first, seed) = node("first", 1, None).await;
        let (second, _) = node("second", 1, Some(seed)).await;
        first.put_if("k", Bytes::from_static(b"old"), Expect::Any).await.unwrap();
        heard(&second).await;
        until("the second hears it", async || value(&second, "k").await.is_some()).await;
        drop(first);
        let mut again = None;
        until("the port is free", async || {
            again = node_at("first", 2, seed, &[]).await;
            again.is_some()
        })
        .await;
        let again = again.unwrap();
        assert!(again.get("k").await.is_err());
        seconds(3).await;
        assert_eq!(value(&again, "k").await.as_deref(), Some(&b"old"[..]));
        assert_eq!(again.hearing().await, Hearing::Whole);
    });
}

#[test]
fn nodes_that_start_at_once_do_not_take_each_other_for_those_who_know() {
    paused(async {
        let (first, seed) = node("first", 1, None).await;
        first.put_if("k", Bytes::from_static(b"old"), Expect::Any).await.unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let quiet = silent.local_addr().unwrap();
        let (second, addr) = node("second", 1, Some(quiet)).await;
        let third = node_at("third", 1, free_addr(), &[addr, quiet]).await.unwrap();
        seconds(10).await;
        for store in [&second, &third] {
            let error = store.get("k").await.unwrap_err();
            assert!(matches!(reason(&error), GossipError::Unheard { .. }), "{error:?}");
            assert_eq!(store.node.handle.chitchat().lock().await.node_states().len(), 2);
        }
        // Whoever hears of a node tells it.
        let mut datagram = [0; 65_536];
        let (length, _) = silent.recv_from(&mut datagram).unwrap();
        silent.send_to(&datagram[..length], seed).unwrap();
        for store in [&second, &third] {
            heard(store).await;
            assert_eq!(value(store, "k").await.as_deref(), Some(&b"old"[..]));
        }
    });
}

#[test]
fn nodes_that_all_start_at_once_go_on_after_a_while() {
    paused(async {
        let (a, b) = (free_addr(), free_addr());
        let first = node_at("a", 1, a, &[b]).await.unwrap();
        let second = node_at("b", 1, b, &[a]).await.unwrap();
        seconds(29).await;
        assert_eq!((first.hearing().await, second.hearing().await), (Hearing::Waiting, Hearing::Waiting));
        seconds(2).await;
        assert!(first.get("k").await.is_ok() && second.get("k").await.is_ok());
        // They are heard of now, by each other too.
        let (third, _) = node("c", 1, Some(a)).await;
        for store in [&first, &second, &third] {
            heard(store).await;
        }
        assert_eq!(first.lives().await, 3);
    });
}

#[test]
fn a_node_that_knows_others_in_part_waits_for_the_rest_but_not_for_ever() {
    paused(async {
        let (first, seed) = node("first", 1, None).await;
        // Of whom only the beginning ever came: it died before it told the rest.
        bury(&first, "half", 1, 7, false).await;
        let (second, _) = node("second", 1, Some(seed)).await;
        let partial = GossipError::Partial { missing: 1, known: 2, patience: Duration::from_secs(30) };
        until("it has heard of both", async || reason(&second.get("k").await.unwrap_err()) == &partial).await;
        assert_eq!(second.hearing().await, Hearing::Waiting);
        seconds(30).await;
        assert!(second.get("k").await.is_ok());
        assert_eq!(second.hearing().await, Hearing::Partial);
    });
}

#[test]
fn a_node_of_which_nobody_ever_heard_a_word_is_not_waited_for_to_the_end() {
    paused(async {
        let (first, seed) = node("first", 1, None).await;
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (ghost, _) = node("ghost", 1, Some(silent.local_addr().unwrap())).await;
        seconds(1).await;
        drop(ghost);
        // It ends before it hears an answer to what it asked.
        let mut datagram = [0; 65_536];
        let (length, _) = silent.recv_from(&mut datagram).unwrap();
        silent.send_to(&datagram[..length], seed).unwrap();
        until("the first has heard of it", async || first.lives().await == 2).await;
        seconds(60).await;
        let (second, _) = node("second", 1, Some(seed)).await;
        let partial = GossipError::Partial { missing: 1, known: 2, patience: Duration::from_secs(30) };
        seconds(5).await;
        assert_eq!(reason(&second.get("k").await.unwrap_err()), &partial);
        seconds(10).await;
        assert_eq!((second.get("k").await.unwrap(), second.hearing().await), (None, Hearing::Whole));
    });
}

#[test]
fn the_words_of_an_earlier_life_are_there_when_a_node_answers_and_its_own_come_after_them() {
    paused(async {
        let (first, seed) = node("first", 1, None).await;
        let (second, _) = node("second", 1_000, Some(seed)).await;
        let (third, _) = node("third", 1, Some(seed)).await;
        heard(&second).await;
        for key in ["k", "l"] {
            second.put_if(key, Bytes::from_static(b"old"), Expect::Any).await.unwrap();
        }
        until("the first hears it", async || value(&first, "l").await.is_some()).await;
        drop(second);
        // With a clock that was set back.
        for (generation, word) in [(999, &b"new"[..]), (5, b"newer")] {
            let (again, _) = node("second", generation, Some(seed)).await;
            heard(&again).await;
            assert!(value(&again, "k").await.is_some());
            again.put_if("k", Bytes::from_static(word), Expect::Any).await.unwrap();
            for other in [&first, &third] {
                until("it is the last word", async || value(other, "k").await.as_deref() == Some(word)).await;
                assert_eq!(value(other, "l").await.as_deref(), Some(&b"old"[..]));
            }
        }
    });
}

/// Has a node know an earlier life of another that has ended after so many words, or all but the end of it.
async fn bury(store: &GossipStore, id: &str, generation: u64, words: u64, whole: bool) {
    let addr = SocketAddr::from(([10, 0, 0, u8::try_from(draw(generation, 256)).unwrap()], 7946));
    let life = ChitchatId::new(id, generation, addr);
    let word = Word { number: 1, value: Some(Bytes::from_static(b"what was said")) };
    let set = |value: String, version| VersionedValue { value, version, status: DeletionStatus::Set };
    let (word, last) = ((word::key_of(&format!("instances/{id}")), word.encode()), words + 1);
    let mut said = vec![(word.0, set(word.1, words))];
    if whole {
        said.push((MARK.into(), set(words.to_string(), last)));
    }
    let chitchat = store.node.handle.chitchat();
    let last = if whole { last } else { words };
    chitchat.lock().await.reset_node_state_if_update(&life, said.into_iter(), last, 0);
}

#[test]
fn a_life_that_has_ended_is_passed_on_until_no_node_has_started_for_half_of_the_time_it_is_kept() {
    let minutes = |count: u64| seconds(60 * count);
    let next = async |number: u64, seed: Option<SocketAddr>| {
        let addr = free_addr();
        let options = GossipOptions {
            keep_dead: Duration::from_secs(600),
            seeds: seed.iter().map(ToString::to_string).collect(),
            ..GossipOptions::new("test", format!("node-{number}"), 1, addr)
        };
        let store = GossipStore::start(options).await.unwrap();
        until("it answers", async || store.get("k").await.is_ok()).await;
        (store, addr)
    };
    paused(async {
        let (mut last, mut seed) = next(0, None).await;
        bury(&last, "dead", 1, 7, true).await;
        let knows = async |store: &GossipStore| value(store, "instances/dead").await.is_some();
        for number in 1..10 {
            minutes(4).await;
            let (store, addr) = next(number, Some(seed)).await;
            assert!(knows(&store).await, "{number}");
            (last, seed) = (store, addr);
        }
        minutes(6).await;
        let (store, _) = next(10, Some(seed)).await;
        assert!(!knows(&store).await);
        minutes(6).await;
        assert!(!knows(&store).await && !knows(&last).await);
    });
}

/// A number that looks like any other.
fn draw(number: u64, bound: u64) -> u64 {
    xxh3_64_with_seed(b"a life", number) % bound
}

/// What they tell each other of fits into a datagram, or they tell each other nothing.
#[test]
fn nodes_tell_each_other_of_as_many_lives_that_have_ended_as_the_limits_say() {
    const LIVES: u64 = 3_000;
    paused(async {
        let (first, seed) = node("first", 1, None).await;
        for life in 0..LIVES {
            let (id, began) = (format!("ingester-{}", life % 100), draw(life, 43_200_000_000_000));
            bury(&first, &id, 1_700_000_000_000_000_000 + began, 2 + draw(life, 10_000), true).await;
        }
        let (second, _) = node("second", 1, Some(seed)).await;
        heard(&second).await;
        second.put_if("k", Bytes::from_static(b"1"), Expect::Any).await.unwrap();
        until("the first hears it", async || value(&first, "k").await.is_some()).await;
        first.put_if("k", Bytes::from_static(b"2"), Expect::Any).await.unwrap();
        until("and the second", async || value(&second, "k").await.as_deref() == Some(&b"2"[..])).await;
    });
}
