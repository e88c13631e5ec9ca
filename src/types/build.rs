//! Owns: which program this is.
//! May not: do anything.

/// As in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What it was built for, as Rust names its targets: `cross/build.sh` says it, since the compiler does not tell
/// one 32-bit ARM from another; any other build says what it sees.
pub const TARGET: &str = if let Some(named) = option_env!("SVS_BOT_TARGET") { named } else { SEEN };

const SEEN: &str = if cfg!(all(target_arch = "x86_64", target_env = "musl")) {
    "x86_64-unknown-linux-musl"
} else if cfg!(target_arch = "x86_64") {
    "x86_64-unknown-linux-gnu"
} else if cfg!(all(target_arch = "aarch64", target_env = "musl")) {
    "aarch64-unknown-linux-musl"
} else if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else if cfg!(all(target_arch = "arm", target_abi = "eabihf")) {
    "arm-unknown-linux-musleabihf"
} else {
    "unknown"
};
