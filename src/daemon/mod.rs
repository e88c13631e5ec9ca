//! Owns: wiring, the event loop, shutdown.
//! May not: hold SQL text or JSON.
pub mod clock;
