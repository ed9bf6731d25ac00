//! Whatever is accepted as an object's name is safe to join to a folder; whatever a user types as a location is
//! understood or refused.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if store::name::check(text).is_ok() {
        let path = Path::new(text);
        assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
        assert_eq!(path.components().count(), text.split('/').count());
        assert!(!path.starts_with(store::name::RESERVED));
        assert!(text.len() <= store::name::NAME_BYTES_MAX && text.is_ascii());
    }
    if let Some(name) = text.strip_suffix('/') {
        assert_eq!(store::name::check_folder(text), store::name::check(name));
    }
    if let Ok(store::Location::Folder(path)) = store::Location::parse(text) {
        assert!(!path.as_os_str().is_empty());
    }
});
