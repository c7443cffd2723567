//! A hierarchy of limits, such as stream → policy → tenant → process: a request passes all of its branch, or it
//! takes nothing from any of it.
//!
//! T1: no time is ever handed out and no tokens are reserved, so what a refused request gives back is exactly
//! what it took: no phantom debt.
//! T2: the refusal names the most specific bound that is exceeded, and its wait suffices for all of them.
//! T3: a key that is new is stored only after everything above it has admitted the request.

use std::array;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use crate::decision::Denied;
use crate::keyed::{Intent, Interned, Keyed, Lookup, Source, Wanted};
use crate::limiter::Limiter;
use crate::multi::Multi;
use crate::permit::{Permit, Release};
use crate::quota::Quota;

/// The levels of a hierarchy by name, from the most specific to the root. The limits are limiters and tables
/// that live on their own; a request says which of them make up its branch.
///
/// Levels are charged one after the other, from the most specific on, each with its own lock or word. So a
/// request that the root is about to refuse may for a moment keep another one from what it holds further down,
/// but never lets anything through that should not pass.
///
/// ```
/// use forebay_ratelimit::{Keyed, Limiter, Name, Quota, Rate, Tree};
///
/// const TREE: Tree<3> = Tree::new(["stream", "tenant", "process"]);
/// let process = Limiter::new(Quota::new(Rate::per_second(1_000), 1_000));
/// let tenants: Keyed<Name> = Keyed::new(Default::default());
/// let streams: Keyed<(u32, u64)> = Keyed::new(Default::default());
/// let (per_tenant, per_stream) = (Quota::new(Rate::per_second(100), 100), Quota::new(Rate::per_second(10), 80));
///
/// let stream = streams.node(&(7, 0xfeed), per_stream);
/// let tenant = tenants.node("blue", per_tenant);
/// let permit = TREE.try_acquire([&stream, &tenant, &process], 60)?;
/// permit.keep();
///
/// let other = streams.node(&(7, 0xbeef), per_stream);
/// let exceeded = TREE.try_acquire([&other, &tenant, &process], 60).unwrap_err();
/// assert_eq!(exceeded.name, "tenant");
/// assert!(streams.peek(&(7, 0xbeef)).is_none(), "a stream that its tenant refuses is not even stored");
/// # Ok::<(), forebay_ratelimit::Exceeded>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tree<const N: usize> {
    names: [&'static str; N],
}

/// A refusal by one level of a [`Tree`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exceeded {
    /// The most specific level that is exceeded, counted from zero.
    pub level: usize,
    /// Its name.
    pub name: &'static str,
    /// What it said, but with the longest wait of all levels that are exceeded: after it the request passes, if
    /// nobody comes in between.
    pub denied: Denied,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.denied)
    }
}

impl std::error::Error for Exceeded {}

/// A limit on a branch of a [`Tree`]: a [`Limiter`], a [`Multi`], a [key](Keyed::node) or an
/// [id](Interned::node). Levels are shared between threads, so that a permit can be held across an `.await`.
pub trait Node: sealed::Node {}

impl<T: sealed::Node> Node for T {}

mod sealed {
    use super::{Denied, Source};

    /// What [`Tree`](super::Tree) asks of a limit.
    pub trait Node {
        /// Takes, but stores no new key.
        fn hold(&self, tokens: u64) -> Result<Held, Denied>;
        /// Takes for a key that was not stored, and stores it.
        fn store(&self, tokens: u64) -> Result<Held, Denied>;
        fn put_back(&self, tokens: u64, held: Held);
        /// Whether `tokens` would pass; takes nothing.
        fn ask(&self, tokens: u64) -> Result<(), Denied>;
    }

    /// Where the tokens of a level came from.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Held {
        pub(super) source: Source,
        /// Which bandwidths of a [`Multi`](crate::Multi) gave any, from the lowest bit on.
        pub(super) bandwidths: u64,
    }

    impl From<Source> for Held {
        fn from(source: Source) -> Self {
            Self { source, bandwidths: 0 }
        }
    }
}

use sealed::Held;

const NOTHING: Held = Held { source: Source::Nothing, bandwidths: 0 };

impl<const N: usize> Tree<N> {
    /// A tree with levels of these names, the most specific first.
    pub const fn new(names: [&'static str; N]) -> Self {
        Self { names }
    }

    /// The names of the levels, the most specific first.
    pub fn names(&self) -> [&'static str; N] {
        self.names
    }

    /// Takes `tokens` from every node of `branch`, the most specific first, or from none. A level without limit
    /// is a node with [`Quota::UNLIMITED`]. Dropping the permit keeps them taken.
    ///
    /// # Errors
    /// [`Exceeded`], which names the most specific level that refused; nothing was taken.
    pub fn try_acquire<'a>(
        &self,
        branch: [&'a (dyn Node + Sync); N],
        tokens: u64,
    ) -> Result<TreePermit<'a, N>, Exceeded> {
        let mut taken = Branch { nodes: branch, held: [NOTHING; N] };
        for (level, node) in branch.iter().enumerate() {
            match node.hold(tokens) {
                Ok(held) => taken.set(level, held),
                Err(denied) => return Err(self.refuse(&taken, tokens, level, denied)),
            }
        }
        // All admit it: now keys that are new may be stored, parents before children (T3).
        for (level, node) in branch.iter().enumerate().rev() {
            if taken.held.get(level).is_some_and(|held| held.source == Source::Unstored) {
                match node.store(tokens) {
                    Ok(held) => taken.set(level, held),
                    Err(denied) => return Err(self.refuse(&taken, tokens, level, denied)),
                }
            }
        }
        Ok(Permit::new(taken, tokens, tokens))
    }

    /// [`try_acquire`](Self::try_acquire) for those who neither give tokens back nor want to know why not.
    pub fn allow(&self, branch: [&(dyn Node + Sync); N], tokens: u64) -> bool {
        self.try_acquire(branch, tokens).is_ok()
    }

    #[cold]
    fn refuse(&self, taken: &Branch<'_, N>, tokens: u64, level: usize, mut denied: Denied) -> Exceeded {
        taken.give_back(tokens);
        for node in taken.nodes.iter().skip(level + 1) {
            if let Err(above) = node.ask(tokens) {
                denied.retry_after = denied.retry_after.max(above.retry_after);
            }
        }
        Exceeded { level, name: self.names.get(level).copied().unwrap_or_default(), denied }
    }
}

/// Tokens taken from every level of a branch that is limited.
pub type TreePermit<'a, const N: usize> = Permit<Branch<'a, N>>;

/// The nodes that a request was charged to.
pub struct Branch<'a, const N: usize> {
    nodes: [&'a (dyn Node + Sync); N],
    held: [Held; N],
}

impl<const N: usize> Branch<'_, N> {
    fn set(&mut self, level: usize, held: Held) {
        *self.held.get_mut(level).expect("a level of the branch") = held;
    }
}

impl<const N: usize> fmt::Debug for Branch<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branch").field("held", &self.held).finish_non_exhaustive()
    }
}

impl<const N: usize> Release for Branch<'_, N> {
    type Tokens = u64;

    /// The root first: it is what most of the others wait for.
    fn give_back(&self, tokens: u64) {
        for (node, &held) in self.nodes.iter().zip(&self.held).rev() {
            if !matches!(held.source, Source::Nothing | Source::Unstored) {
                node.put_back(tokens, held);
            }
        }
    }
}

impl<C: Fn() -> u64> sealed::Node for Limiter<C> {
    fn hold(&self, tokens: u64) -> Result<Held, Denied> {
        let permit = self.try_acquire(tokens)?;
        Ok(if permit.tokens() == 0 { Source::Nothing } else { Source::Own }.into())
    }

    fn store(&self, tokens: u64) -> Result<Held, Denied> {
        self.hold(tokens)
    }

    fn put_back(&self, tokens: u64, _: Held) {
        self.release(tokens);
    }

    fn ask(&self, tokens: u64) -> Result<(), Denied> {
        self.check(tokens)
    }
}

impl<const M: usize, C: Fn() -> u64> sealed::Node for Multi<M, C> {
    fn hold(&self, tokens: u64) -> Result<Held, Denied> {
        const { assert!(M <= 64, "a level of a tree has up to 64 bandwidths") };
        let taken = self.take([tokens; M]).map_err(|refusal| refusal.denied)?;
        let bandwidths = taken.iter().rev().fold(0, |bits, &taken| bits << 1 | u64::from(taken > 0));
        Ok(Held { source: Source::Own, bandwidths })
    }

    fn store(&self, tokens: u64) -> Result<Held, Denied> {
        self.hold(tokens)
    }

    fn put_back(&self, tokens: u64, Held { bandwidths, .. }: Held) {
        self.release_each(array::from_fn(|place| tokens * (bandwidths >> place & 1)));
    }

    fn ask(&self, tokens: u64) -> Result<(), Denied> {
        self.check(tokens).map_err(|refusal| refusal.denied)
    }
}

/// A key of a [`Keyed`] table as a level of a [`Tree`].
#[derive(Debug)]
pub struct KeyedNode<'a, K, Q: ?Sized, C, S> {
    keyed: &'a Keyed<K, C, S>,
    key: &'a Q,
    quota: Quota,
}

impl<K: Eq + Hash, C: Fn() -> u64, S: BuildHasher> Keyed<K, C, S> {
    /// `key` under `quota` as a level of a [`Tree`].
    pub fn node<'a, Q: Lookup<K> + ?Sized>(&'a self, key: &'a Q, quota: Quota) -> KeyedNode<'a, K, Q, C, S> {
        KeyedNode { keyed: self, key, quota }
    }
}

impl<K, Q, C, S> sealed::Node for KeyedNode<'_, K, Q, C, S>
where
    K: Eq + Hash,
    Q: Lookup<K> + ?Sized,
    C: Fn() -> u64,
    S: BuildHasher,
{
    fn hold(&self, tokens: u64) -> Result<Held, Denied> {
        self.keyed
            .take(self.key, Wanted::all(tokens), self.quota, Intent::TakeIfHeld)
            .map(|taken| taken.source.into())
    }

    fn store(&self, tokens: u64) -> Result<Held, Denied> {
        self.keyed
            .take(self.key, Wanted::all(tokens), self.quota, Intent::Take)
            .map(|taken| taken.source.into())
    }

    fn put_back(&self, tokens: u64, Held { source, .. }: Held) {
        self.keyed.put_back(self.key, tokens, source);
    }

    fn ask(&self, tokens: u64) -> Result<(), Denied> {
        self.keyed.check(self.key, tokens, self.quota)
    }
}

/// An id of an [`Interned`] table as a level of a [`Tree`].
#[derive(Debug)]
pub struct InternedNode<'a, C> {
    interned: &'a Interned<C>,
    id: u32,
    quota: Quota,
}

impl<C: Fn() -> u64> Interned<C> {
    /// `id` under `quota` as a level of a [`Tree`].
    pub fn node(&self, id: u32, quota: Quota) -> InternedNode<'_, C> {
        InternedNode { interned: self, id, quota }
    }
}

impl<C: Fn() -> u64> sealed::Node for InternedNode<'_, C> {
    fn hold(&self, tokens: u64) -> Result<Held, Denied> {
        self.interned
            .take(self.id, Wanted::all(tokens), self.quota, Intent::TakeIfHeld)
            .map(|taken| taken.source.into())
    }

    fn store(&self, tokens: u64) -> Result<Held, Denied> {
        self.interned
            .take(self.id, Wanted::all(tokens), self.quota, Intent::Take)
            .map(|taken| taken.source.into())
    }

    fn put_back(&self, tokens: u64, _: Held) {
        self.interned.release(self.id, tokens);
    }

    fn ask(&self, tokens: u64) -> Result<(), Denied> {
        self.interned.check(self.id, tokens, self.quota)
    }
}
