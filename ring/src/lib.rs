//! Who owns this key, given who is alive: a consistent hash ring with states, zones, replica sets and quorum writes.
