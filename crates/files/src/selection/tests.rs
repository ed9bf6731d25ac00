//! Selections as a table, and their promises for random trees.

use proptest::prelude::*;

use super::Verdict::{Descend, No, Wanted};
use super::*;

#[test]
fn verdicts_follow_the_patterns() {
    // (include, exclude, path, is it a directory?, verdict)
    type Row = (&'static [&'static str], &'static [&'static str], &'static [u8], bool, Verdict);
    let table: &[Row] = &[
        (&[], &[], b"/a", false, Wanted),
        (&[], &["*.o"], b"/a.o", false, No),
        (&[], &["*.o"], b"/a.c", false, Wanted),
        (&[], &["/x"], b"/x/y/z", false, No),
        (&["/"], &[], b"/x", false, Wanted),
        (&["/a/b"], &[], b"/", true, Descend),
        (&["/a/b"], &[], b"/a", true, Descend),
        (&["/a/b"], &[], b"/a", false, No),
        (&["/a/b"], &[], b"/a/b", true, Wanted),
        (&["/a/b"], &[], b"/a/b/c/d", false, Wanted),
        (&["/a/b"], &[], b"/a/c", true, No),
        (&["/a/b"], &[], b"/b", true, No),
        (&["/a/b"], &["c"], b"/a/b/c", true, No),
        (&["/a/b"], &["c", "!/a/b/c"], b"/a/b/c", true, Wanted),
        (&["/a/*/c"], &[], b"/a/x", true, Descend),
        (&["/a/*/c"], &[], b"/a/x/y", true, No),
        (&["/a/*/c"], &[], b"/a/x/c", false, Wanted),
        (&["/a/**/c"], &[], b"/a/x/y", true, Descend),
        (&["/a/**/c"], &[], b"/b", true, No),
        (&["*.txt"], &[], b"/x/y", true, Descend),
        (&["*.txt"], &[], b"/x/y", false, No),
        (&["*.txt"], &[], b"/x/y.txt", false, Wanted),
        (&["*.txt"], &["/x"], b"/x/y.txt", false, No),
        (&["docs/"], &[], b"/x/docs", false, No),
        (&["docs/"], &[], b"/x/docs", true, Wanted),
        (&["docs/"], &[], b"/x/docs/a", false, Wanted),
    ];
    for (include, exclude, path, is_directory, expected) in table {
        let selection = Selection::new(include, exclude).unwrap();
        assert_eq!(
            selection.verdict(path, *is_directory),
            *expected,
            "include {include:?}, exclude {exclude:?}, path {:?} (directory: {is_directory})",
            String::from_utf8_lossy(path)
        );
    }
}

#[test]
fn a_bad_pattern_is_named() {
    let error = Selection::new(&["[a"], &[]).unwrap_err();
    assert!(error.to_string().contains("[a"), "{error}");
    let error = Selection::new(&["!a"], &[]).unwrap_err();
    assert_eq!(error.source, PatternError::Negated);
}

proptest! {
    /// Going down only where the verdict allows finds everything that is wanted.
    #[test]
    fn no_wanted_path_lies_behind_a_closed_directory(
        include in proptest::collection::vec("/?[ab*]{1,2}(/[ab*]|/\\*\\*){0,3}", 0..3),
        exclude in proptest::collection::vec("/?[ab]{1,2}(/[ab]){0,1}", 0..2),
        path in "(/[ab]{1,2}){1,5}",
        is_directory: bool,
    ) {
        let selection = Selection::new(&include, &exclude).unwrap();
        if selection.verdict(path.as_bytes(), is_directory) != No {
            for (slash, _) in path.match_indices('/') {
                let above = if slash == 0 { "/" } else { &path[..slash] };
                prop_assert_ne!(selection.verdict(above.as_bytes(), true), No, "at {}", above);
            }
        }
    }
}
