//! Stop calling what is down, probe until it is up, never wedge: a circuit breaker with permits and generations.
