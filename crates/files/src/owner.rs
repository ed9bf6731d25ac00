//! Names of users and groups for their numbers, and back.
//!
//! A snapshot keeps both, because the same person may have another number on the machine where the
//! files are restored. Lookups may go over a network (LDAP), so each answer is asked for once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use crate::platform;

/// A cache of names and numbers; share one per run. Negative answers are kept too.
#[derive(Debug, Default)]
pub struct Names {
    users: Cache<u32, Arc<[u8]>>,
    groups: Cache<u32, Arc<[u8]>>,
    user_ids: Cache<Vec<u8>, u32>,
    group_ids: Cache<Vec<u8>, u32>,
}

impl Names {
    /// An empty cache.
    pub fn new() -> Names {
        Names::default()
    }

    /// The login name of a user number, if the machine knows one.
    pub fn user_name(&self, uid: u32) -> Option<Arc<[u8]>> {
        self.users.get(&uid, || platform::user_name(uid).map(Arc::from))
    }

    /// The name of a group number, if the machine knows one.
    pub fn group_name(&self, gid: u32) -> Option<Arc<[u8]>> {
        self.groups.get(&gid, || platform::group_name(gid).map(Arc::from))
    }

    /// The number this machine gives to a user name.
    pub fn user_id(&self, name: &[u8]) -> Option<u32> {
        self.user_ids.get(name, || platform::user_number(name))
    }

    /// The number this machine gives to a group name.
    pub fn group_id(&self, name: &[u8]) -> Option<u32> {
        self.group_ids.get(name, || platform::group_number(name))
    }
}

#[derive(Debug)]
struct Cache<K, V>(Mutex<HashMap<K, Option<V>>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Cache(Mutex::new(HashMap::new()))
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// The remembered answer, or `ask`'s. Asking happens outside the lock: it may be slow.
    fn get<Q>(&self, key: &Q, ask: impl FnOnce() -> Option<V>) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // The map is whole even if a thread panicked while holding it: inserts are single steps.
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return known.clone();
        }
        let answer = ask();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), answer.clone());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_both_ways_and_a_stranger_has_none() {
        let names = Names::new();
        assert_eq!(names.user_name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(names.group_name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(names.user_id(b"root"), Some(0));
        assert_eq!(names.group_id(b"root"), Some(0));
        assert_eq!(names.user_name(3_999_999_999), None);
        assert_eq!(names.user_id(b"nobody-has-this-name"), None);
        assert_eq!(names.user_id(b"not \xff utf-8"), None);
    }

    #[test]
    fn an_answer_is_asked_for_once() {
        let cache = Cache::<u32, u8>::default();
        let mut asked = 0;
        for _ in 0..3 {
            assert_eq!(
                cache.get(&7, || {
                    asked += 1;
                    None
                }),
                None
            );
        }
        assert_eq!(asked, 1);
    }
}
