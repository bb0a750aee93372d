//! Plug-ins by name: typed, explicit lists. A third party adds its own to the list that it hands to the engine.

use std::fmt;
use std::sync::Arc;

/// Plug-ins of one kind, in the order in which they were added.
pub struct Registry<T: ?Sized> {
    kind: &'static str,
    entries: Vec<(&'static str, Arc<T>)>,
}

/// No plug-in of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {kind} is called `{name}`: there are {}", known.join(", "))]
pub struct UnknownName {
    /// Kind of plug-ins.
    pub kind: &'static str,
    /// What was asked for.
    pub name: String,
    /// What exists.
    pub known: Vec<&'static str>,
}

impl<T: ?Sized> Registry<T> {
    /// An empty list of plug-ins that people call `kind`.
    pub const fn new(kind: &'static str) -> Self {
        Self { kind, entries: Vec::new() }
    }

    /// Adds `plugin`; one that is there under the same name is replaced.
    #[must_use]
    pub fn with(mut self, name: &'static str, plugin: Arc<T>) -> Self {
        self.entries.retain(|(n, _)| *n != name);
        self.entries.push((name, plugin));
        self
    }

    /// The plug-in called `name`.
    ///
    /// # Errors
    /// Lists what exists.
    pub fn find(&self, name: &str) -> Result<&T, UnknownName> {
        self.entries.iter().find(|(n, _)| *n == name).map(|(_, plugin)| &**plugin).ok_or_else(|| UnknownName {
            kind: self.kind,
            name: name.to_owned(),
            known: self.names().collect(),
        })
    }

    /// All plug-ins, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.entries.iter().map(|(_, plugin)| &**plugin)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.entries.iter().map(|(name, _)| *name)
    }
}

impl<T: ?Sized> fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("kind", &self.kind).field("names", &self.names().collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_unknown_name_lists_what_exists_and_a_later_plugin_replaces_an_earlier_one() {
        let words = Registry::<str>::new("word").with("a", "first".into()).with("b", "other".into());
        let words = words.with("a", "second".into());
        assert_eq!(words.find("a").unwrap(), "second");
        assert_eq!(words.find("c").unwrap_err().to_string(), "no word is called `c`: there are b, a");
    }
}
