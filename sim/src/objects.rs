//! The objects of a simulated store, each with its recent past: what a stale read or listing may still show.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::random::Random;

/// Milliseconds since the beginning of a scenario, by the one true clock.
pub type Millis = u64;

/// An object as it was written.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its bytes.
    pub bytes: Bytes,
    /// What the store says of when it was written.
    pub modified: Millis,
}

#[derive(Debug, Clone)]
struct Version {
    /// When this came about.
    at: Millis,
    /// `None` from when it was deleted.
    object: Option<Object>,
}

/// A change to an object.
#[derive(Debug, Clone)]
pub enum Change {
    /// Written, unless it is there.
    Put(Bytes),
    /// Written, whatever is there.
    Replace(Bytes),
    /// Removed.
    Delete,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Objects {
    versions: BTreeMap<String, Vec<Version>>,
}

impl Objects {
    /// The object as it truly is.
    pub fn current(&self, name: &str) -> Option<&Object> {
        self.versions.get(name)?.last()?.object.as_ref()
    }

    /// All objects below a folder as they truly are.
    pub fn all<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Object)> {
        self.names(prefix).filter_map(|name| Some((name.as_str(), self.current(name)?)))
    }

    /// Every name below a folder that has an object or had one lately.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a String> {
        self.versions
            .range(prefix.to_owned()..)
            .map(|(name, _)| name)
            .take_while(move |n| n.starts_with(prefix))
    }

    /// Makes a change at a moment; whether anything is different now.
    pub fn change(
        &mut self,
        name: &str,
        change: Change,
        at: Millis,
        modified: Millis,
        settle: Millis,
    ) -> bool {
        let is_there = self.current(name).is_some();
        let object = match change {
            Change::Put(_) if is_there => return false,
            Change::Delete if !is_there => return false,
            Change::Put(bytes) | Change::Replace(bytes) => Some(Object { bytes, modified }),
            Change::Delete => None,
        };
        let versions = self.versions.entry(name.to_owned()).or_default();
        // What nobody can see any more goes.
        let first = oldest(versions, at, settle);
        versions.drain(..first);
        versions.push(Version { at, object });
        true
    }

    /// What somebody sees of an object who may be behind by up to `settle`.
    pub fn seen(
        &self,
        name: &str,
        now: Millis,
        settle: Millis,
        age: Age,
        random: &mut Random,
    ) -> Option<Object> {
        let versions = self.versions.get(name)?;
        let first = oldest(versions, now, settle);
        // Before its first version an object was not there; that may be seen too, if it is recent.
        let is_new = first == 0 && versions.first().is_some_and(|version| version.at + settle > now);
        let choices = versions.len() - first + usize::from(is_new);
        let back = match age {
            Age::Newest => 0,
            Age::Oldest => choices - 1,
            Age::Any => random.below(choices as u64) as usize,
        };
        versions.len().checked_sub(back + 1).and_then(|place| versions.get(place)?.object.clone())
    }
}

/// How far behind somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Not at all.
    Newest,
    /// As far as it may be.
    Oldest,
    /// By chance, for each object apart.
    Any,
}

/// The first version that somebody may still see.
fn oldest(versions: &[Version], now: Millis, settle: Millis) -> usize {
    versions.iter().rposition(|version| version.at + settle <= now).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_sees_the_past_and_no_older_one() {
        let mut objects = Objects::default();
        let mut random = Random::new(0);
        let put = |byte: u8| Change::Put(vec![byte].into());
        assert!(objects.change("a", put(1), 100, 100, 10) && !objects.change("a", put(2), 101, 101, 10));
        let mut at = |objects: &Objects, now, age| {
            objects.seen("a", now, 10, age, &mut random).map(|object| object.bytes.first().copied())
        };
        assert_eq!(at(&objects, 105, Age::Oldest), None);
        assert_eq!(at(&objects, 105, Age::Newest), Some(Some(1)));
        assert_eq!(at(&objects, 110, Age::Oldest), Some(Some(1)), "it is old enough");
        assert!(objects.change("a", Change::Delete, 200, 200, 10));
        assert!(objects.current("a").is_none() && objects.all("").count() == 0);
        assert_eq!(at(&objects, 209, Age::Oldest), Some(Some(1)));
        assert_eq!(at(&objects, 210, Age::Oldest), None);
        let seen: Vec<_> = (0..50).map(|_| at(&objects, 205, Age::Any)).collect();
        assert!(seen.contains(&None) && seen.contains(&Some(Some(1))));
    }
}
