//! Directory pages and extent pages.
#![no_main]

use content::cut::Cutter;
use content::secret::Secret;
use content::tree::{PageWriter, decode_extents, decode_page, encode_extents};
use libfuzzer_sys::fuzz_target;
use vault::descriptor::ChunkSizes;

fuzz_target!(|input: &[u8]| {
    if let Ok(list) = decode_extents(input) {
        assert_eq!(decode_extents(&encode_extents(&list)).expect("what was written reads"), list);
    }
    if let Ok(entries) = decode_page(input) {
        for entry in &entries {
            assert!(!entry.name.contains(&b'/') && entry.name != b"..", "no name leads elsewhere");
        }
        let sizes = ChunkSizes { min: 4096, average: 16384, max: 65536 };
        let cutter = Cutter::new(Secret::new([0; 32]), sizes);
        let mut writer = PageWriter::new();
        for entry in &entries {
            writer.push(entry, &cutter);
        }
        // A hard link count of 1 is not kept apart from none; all else is.
        let again = decode_page(&writer.finish()).expect("what was written reads");
        assert_eq!(again.len(), entries.len());
        assert!(again.iter().zip(&entries).all(|(a, b)| a.node == b.node && a.name == b.name));
    }
});
