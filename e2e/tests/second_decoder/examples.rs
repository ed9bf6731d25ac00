//! The document's examples of marks and records, read from the document itself.

use super::custody::{open_abilities, open_locks};
use super::marks::{Mark, Pin, lock, open_damage, open_marks, open_pin};

const DOCUMENT: &str = include_str!("../../../docs/format.md");
const VAULT: [u8; 16] = [0x11; 16];

/// The bytes of the example that begins with `first`: its words of hexadecimal digits up to the end of the block, or to
/// what is no such word.
fn example(first: &str) -> Vec<u8> {
    let start = DOCUMENT.find(first).unwrap_or_else(|| panic!("{first} is in the document"));
    assert!(!DOCUMENT[start + 1..].contains(first), "{first} is there once");
    let is_hex =
        |word: &&str| word.len().is_multiple_of(2) && word.bytes().all(|digit| digit.is_ascii_hexdigit());
    let digits: String = DOCUMENT[start..].split_whitespace().take_while(is_hex).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(pair).collect()
}

#[test]
fn the_examples_of_marks_and_records_hold() {
    let [(pack, object)] = open_damage(&example("53524f4f4d440100"), VAULT).try_into().unwrap();
    assert_eq!((pack, object[..2].to_vec()), ([0x22; 16], vec![0x1c, 0x77]));

    let [mark] = open_marks(&example("53524f4f4d540100"), VAULT).try_into().unwrap();
    let expected = Mark {
        snapshot: [0x44; 32],
        system: [0x33; 16],
        sequence: 2,
        previous: [0x55; 32],
        written: 1_700_000_000,
        reason: "named".into(),
    };
    assert_eq!(mark, expected);

    let pin = open_pin(&example("53524f4f4d480100"), VAULT);
    let expected = Pin { snapshot: [0x44; 32], until: Some(1_850_000_000), written: 1_700_000_000 };
    assert_eq!(pin, expected);

    // Tag, length and value.
    assert_eq!(lock(&example("03  05  80 9a 9e 01 01")[2..]), Some((30 * 86_400, 1)));
    assert_eq!(lock(&example("03  02  00 01")[2..]), None);

    let (tested, facts) = open_abilities(&example("53524f4f4d410100"), VAULT);
    assert_eq!(tested, 1_700_000_000);
    assert_eq!(Vec::from_iter(facts), [(1, 1), (2, 0), (3, 0), (4, 0), (6, 1), (7, 1), (8, -2)]);

    let locks = open_locks(&example("53524f4f4d550100"), VAULT);
    assert_eq!(locks, [("strongroom.vault".to_owned(), 1_700_000_000)]);
}
