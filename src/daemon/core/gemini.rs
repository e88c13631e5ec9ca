//! Owns: since when Gemini as a whole gives no answers, and the lines that say so.
//! May not: judge keys, models or questions: the pool and `engine::settle` do.

use super::State;
use crate::daemon::logging::Trouble;
use crate::store::status::fact;
use crate::store::{Db, Result, meta};
use crate::types::Now;
use crate::types::model::ModelFailure;

/// Calls in a row that fail alike before it is more than one bad reply of many.
const FAILURES_TOLD: u32 = 3;

/// How the calls of late went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gemini {
    failures: u32,
    trouble: Trouble,
}

impl State {
    /// After each call to Gemini: what is nobody's fault here is told once it lasts, ever more rarely while
    /// it does, and once when it is over.
    ///
    /// # Errors
    /// As SQLite says.
    pub(super) fn heard_gemini(
        &mut self,
        db: &Db,
        failure: Option<&ModelFailure>,
        now: Now,
    ) -> Result<()> {
        let why = match failure {
            Some(ModelFailure::Network { why, .. }) => why.as_str(),
            Some(ModelFailure::Overloaded) => "its models are overloaded (503)",
            Some(ModelFailure::Internal) => "it has trouble of its own (500)",
            // It was not asked.
            Some(ModelFailure::Media(_)) => return Ok(()),
            // Whatever else it says, it is there.
            Some(_) | None => return self.gemini_is_there(db, now),
        };
        let gemini = &mut self.live.gemini;
        gemini.failures = gemini.failures.saturating_add(1);
        if gemini.failures < FAILURES_TOLD {
            return Ok(());
        }
        if let Some(failing) = gemini.trouble.failed(now.unix_ms) {
            log::warn!(target: "gemini.failed", times = gemini.failures; "gemini: no answers: {why}");
            // The page lists what began; that it lasts is said by the fact.
            if failing.times == 1 {
                meta::trouble(db, now.unix_ms, "gemini", why)?;
            }
            meta::set(db, fact::GEMINI_ERROR, why)?;
        }
        Ok(())
    }

    fn gemini_is_there(&mut self, db: &Db, now: Now) -> Result<()> {
        let gemini = &mut self.live.gemini;
        let times = std::mem::take(&mut gemini.failures);
        if let Some(ended) = gemini.trouble.worked(now.unix_ms) {
            let lasted_ms = ended.lasted_ms;
            log::info!(target: "gemini.recovered", times, lasted_ms; "gemini answers again");
            meta::set(db, fact::GEMINI_ERROR, "")?;
        }
        Ok(())
    }
}
