//! Changing the rules of a source that runs.

use super::Rule;
use std::sync::{Arc, Mutex, PoisonError};

/// Hands rules to a source that another task has: they are in force from its next generation on.
#[derive(Clone, Debug, Default)]
pub struct RulesHandle(Arc<Mutex<Option<Vec<Rule>>>>);

impl RulesHandle {
    /// Replaces all rules; what was set before and is not in force yet never will be.
    pub fn set(&self, rules: Vec<Rule>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rules);
    }

    pub(crate) fn take(&self) -> Option<Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
