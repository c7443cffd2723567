//! W3C trace context across process borders, strict to the byte.
