//! Owns: `/`, the status as a page for people.
use crate::types::status::Status;
/// The page.
pub(super) fn render(_status: &Status) -> String {
    String::new()
}
