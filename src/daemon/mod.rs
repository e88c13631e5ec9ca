//! Owns: wiring, the event loop, shutdown.
//! May not: hold SQL text or JSON.
pub mod clock;
pub mod http;
pub mod lock;
pub mod logging;
pub mod look;
pub mod memory;
pub mod metrics;
pub mod notify;
pub mod pool;
pub mod process;
pub mod quoting;
pub mod snapshot;
