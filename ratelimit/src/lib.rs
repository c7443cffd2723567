//! May this pass now, and if not, when: exact token buckets whose quotas change while they run.
