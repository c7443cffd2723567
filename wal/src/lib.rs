//! A segmented write-ahead log: appended, synced, replayed, every claim with a test that would fail without it.
