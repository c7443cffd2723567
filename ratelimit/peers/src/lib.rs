//! Nothing: the benches are the package.
