//! Owns: what should become true, from facts; pure functions over values.
//! May not: know a clock, dice, I/O, JSON or how anything is stored.

pub mod mask;
pub mod persona;
pub mod render;
pub mod speech;
