//! Owns: Gemini's JSON, both ways (api-reference B).
//! May not: decide policy, or know which key is used.

mod error;
mod reader;
mod request;

pub use error::classify;
pub use reader::Reader;
pub use request::{GenerateArgs, generate, generate_around_media, get_model, list_models};
