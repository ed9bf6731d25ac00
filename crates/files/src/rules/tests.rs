//! The pattern language as a table, against a second matcher, and in its refusals.

use std::error::Error as _;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn rules(patterns: &[&str]) -> Rules {
    let mut builder = Rules::builder();
    for pattern in patterns {
        builder.exclude(pattern).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn each_kind_of_pattern_matches_what_the_manual_says() {
    // (patterns, path, is it a directory?, is it excluded?)
    let table: &[(&[&str], &[u8], bool, bool)] = &[
        (&[], b"/a", false, false),
        // A name, at any depth.
        (&["a"], b"/a", false, true),
        (&["a"], b"/x/y/a", true, true),
        (&["a"], b"/x/ab", false, false),
        (&["*.tmp"], b"/x/y.tmp", false, true),
        (&["*.tmp"], b"/x.tmp/y", false, false),
        (&["*"], b"/x/.hidden", false, true),
        (&["a?c"], b"/abc", false, true),
        (&["a?c"], b"/ac", false, false),
        (&["a?c"], b"/a\xffc", false, true),
        (&["a*c"], b"/a\n\xfe\xffc", false, true),
        (&["[a-c]x"], b"/bx", false, true),
        (&["[!a-c]x"], b"/bx", false, false),
        (&["[!a-c]x"], b"/dx", false, true),
        (&["[^a]"], b"/b", false, true),
        (&["[]x]"], b"/]", false, true),
        (&["[!]x]"], b"/y", false, true),
        (&["[!-a]x"], b"/-x", false, false),
        (&["[!-a]x"], b"/bx", false, true),
        (&["\\*"], b"/*", false, true),
        (&["\\*"], b"/a", false, false),
        (&["\\!a"], b"/!a", false, true),
        (&["{a,b}"], b"/a", false, false),
        (&["{a,b}"], b"/{a,b}", false, true),
        (&["\\{a"], b"/{a", false, true),
        (&["[{]a"], b"/{a", false, true),
        (&["caf\u{e9}"], "/caf\u{e9}".as_bytes(), false, true),
        // Directories only.
        (&["a/"], b"/x/a", true, true),
        (&["a/"], b"/x/a", false, false),
        (&["/x/a/"], b"/x/a", true, true),
        (&["/x/a/"], b"/x/a", false, false),
        // From the top.
        (&["/a"], b"/a", false, true),
        (&["/a"], b"/x/a", false, false),
        (&["/x/*"], b"/x/a", false, true),
        (&["/x/*"], b"/x/a/b", false, false),
        (&["/x/*/b"], b"/x/a/b", false, true),
        (&["/x/**"], b"/x", true, false),
        (&["/x/**"], b"/x/a/b", false, true),
        (&["/x/**/b"], b"/x/b", false, true),
        (&["/x/**/b"], b"/x/1/2/b", false, true),
        (&["/x/[!y]/b"], b"/x//b", false, false),
        (&["/x[!y]b"], b"/x/b", false, false),
        (&["/**"], b"/a/b", false, true),
        (&["//a"], b"/a", false, true),
        // A path, at any depth.
        (&["x/a"], b"/x/a", false, true),
        (&["x/a"], b"/1/2/x/a", false, true),
        (&["x/a"], b"/1/xx/a", false, false),
        (&["**/a"], b"/1/2/a", false, true),
        (&["x/*.o"], b"/src/x/m.o", false, true),
        (&["x/?"], b"/x/a/b", false, false),
        // The last match decides.
        (&["*.log", "!keep.log"], b"/keep.log", false, false),
        (&["*.log", "!keep.log"], b"/other.log", false, true),
        (&["!keep.log", "*.log"], b"/keep.log", false, true),
        (&["*.log", "!/x/*.log", "b.log"], b"/x/a.log", false, false),
        (&["*.log", "!/x/*.log", "b.log"], b"/x/b.log", false, true),
        (&["a", "!a/"], b"/a", false, true),
        (&["a", "!a/"], b"/a", true, false),
    ];
    for (patterns, path, is_directory, expected) in table {
        assert_eq!(
            rules(patterns).excludes(path, *is_directory),
            *expected,
            "{patterns:?} on {:?} (directory: {is_directory})",
            String::from_utf8_lossy(path)
        );
    }
}

#[test]
fn a_size_is_too_large_only_beyond_the_limit() {
    let rules = Rules::builder().exclude_larger_than(10).build().unwrap();
    assert!(!rules.excludes_size(10));
    assert!(rules.excludes_size(11));
    assert!(!Rules::default().excludes_size(u64::MAX));
}

#[test]
fn a_pattern_file_has_comments_blanks_and_reinclusion() {
    let text = b"# comment\r\n\n  \n*.tmp  \r\n!keep.tmp\n\\#hash\nends\\ \n/abs/\n";
    let mut builder = Rules::builder();
    builder.exclude_lines(Path::new("list"), text).unwrap();
    let rules = builder.build().unwrap();
    for (path, expected) in [
        (&b"/a.tmp"[..], true),
        (b"/keep.tmp", false),
        (b"/#hash", true),
        (b"/# comment", false),
        (b"/ends ", true),
        (b"/ends", false),
        (b"/abs", true),
    ] {
        assert_eq!(rules.excludes(path, true), expected, "{}", String::from_utf8_lossy(path));
    }
}

#[test]
fn errors_name_the_file_the_line_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("excludes");
    fs::write(&file, "good\n\n[bad\n").unwrap();
    let error = Rules::builder().exclude_from(&file).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("excludes, line 3") && text.contains("[bad"), "{text}");
    assert!(error.source().unwrap().to_string().contains("backslash"));

    let missing = folder.path().join("missing");
    let error = Rules::builder().exclude_from(&missing).unwrap_err();
    assert!(matches!(error, RuleError::Unreadable { .. }));
    assert!(error.to_string().contains("missing"), "{error}");

    fs::write(&file, b"ok\ncaf\xe9\n").unwrap();
    let error = Rules::builder().exclude_from(&file).unwrap_err();
    assert!(matches!(error, RuleError::Line { line: 2, source: PatternError::NotText, .. }), "{error}");
}

#[test]
fn patterns_that_say_nothing_are_refused() {
    for pattern in ["", "/", "//", "!", "!/"] {
        let error = Rules::builder().exclude(pattern).unwrap_err();
        assert!(
            matches!(error, RuleError::Pattern { source: PatternError::Empty, .. }),
            "{pattern:?}: {error}"
        );
    }
    for pattern in ["[a", "[z-a]", "a\\"] {
        let error = Rules::builder().exclude(pattern).unwrap_err();
        assert!(
            matches!(error, RuleError::Pattern { source: PatternError::Syntax(_), .. }),
            "{pattern:?}: {error}"
        );
    }
    for name in ["", ".", "..", "a/b", "a\0"] {
        assert!(
            matches!(Rules::builder().exclude_if_present(name), Err(RuleError::Marker { .. })),
            "{name:?}"
        );
    }
}

// A second matcher, written for being obvious: components against components.

/// Whether one component pattern (`*`, `?`, letters) matches one name.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|taken| matches_name(rest, &name[taken..])),
        Some((b'?', rest)) => !name.is_empty() && matches_name(rest, &name[1..]),
        Some((byte, rest)) => name.first() == Some(byte) && matches_name(rest, &name[1..]),
    }
}

fn matches_path(pattern: &[&str], path: &[&[u8]]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        // At the end: everything below, at least one component.
        Some((&"**", [])) => !path.is_empty(),
        Some((&"**", rest)) => (0..=path.len()).any(|taken| matches_path(rest, &path[taken..])),
        Some((first, rest)) => {
            !path.is_empty() && matches_name(first.as_bytes(), path[0]) && matches_path(rest, &path[1..])
        }
    }
}

fn second_opinion(patterns: &[String], path: &[Vec<u8>], is_directory: bool) -> bool {
    let mut excluded = false;
    for pattern in patterns {
        let (negated, rest) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, &pattern[..]),
        };
        let (only_directories, rest) = match rest.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let mut components: Vec<&str> = rest.split('/').collect();
        if components.len() == 1 {
            components.insert(0, "**");
        } else if components[0].is_empty() {
            components.remove(0);
        } else {
            components.insert(0, "**");
        }
        let names: Vec<&[u8]> = path.iter().map(|name| &name[..]).collect();
        if matches_path(&components, &names) && (is_directory || !only_directories) {
            excluded = !negated;
        }
    }
    excluded
}

fn pattern() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        4 => "[ab]{1,2}",
        2 => "[ab*?]{1,3}".prop_filter("** alone has a meaning of its own", |text| !text.contains("**")),
        1 => Just("**".to_owned()),
    ];
    let inner = proptest::collection::vec(component, 1..4)
        // One ** at a time, and not as a lone name: the two matchers need not agree on oddities.
        .prop_filter("plain", |parts| {
            parts.iter().filter(|part| *part == "**").count() <= 1 && (parts.len() > 1 || parts[0] != "**")
        })
        .prop_map(|parts| parts.join("/"));
    (any::<bool>(), any::<bool>(), any::<bool>(), inner).prop_map(|(negated, anchored, directory, inner)| {
        let mark = |yes: bool, text: &'static str| if yes { text } else { "" };
        format!("{}{}{inner}{}", mark(negated, "!"), mark(anchored, "/"), mark(directory, "/"))
    })
}

fn path() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = prop_oneof![8 => Just(b'a'), 8 => Just(b'b'), 1 => Just(b'\n'), 1 => Just(0xff)];
    proptest::collection::vec(proptest::collection::vec(byte, 1..4), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_a_second_matcher(
        patterns in proptest::collection::vec(pattern(), 1..5), path in path(), is_directory: bool,
    ) {
        let texts: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let mut whole = Vec::new();
        for name in &path {
            whole.push(b'/');
            whole.extend_from_slice(name);
        }
        prop_assert_eq!(
            rules(&texts).excludes(&whole, is_directory),
            second_opinion(&patterns, &path, is_directory)
        );
    }

    #[test]
    fn no_pattern_and_no_path_makes_it_panic(pattern: Vec<u8>, path: Vec<u8>, is_directory: bool) {
        let mut builder = Rules::builder();
        let accepted = builder.exclude(&pattern).is_ok();
        let built = builder.build();
        prop_assert!(!accepted || built.is_ok(), "accepted alone, refused together");
        if let Ok(rules) = built {
            rules.excludes(&path, is_directory);
        }
    }
}
