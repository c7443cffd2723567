//! What may go, when, and proof that nothing else did: policies, legal holds, a pure plan and a careful sweep.

pub mod selector;

pub use selector::{Selector, SelectorError};
