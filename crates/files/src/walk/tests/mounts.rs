//! Other file systems below a root. These tests mount things, so they need the superuser.

use super::*;

/// Something mounted for the time of a test.
struct Mount(PathBuf);

impl Mount {
    fn new(arguments: &[&str], at: &Path) -> Mount {
        assert!(crate::machine::is_root(), "mounting needs root; run these tests as root");
        let mut all: Vec<&std::ffi::OsStr> = arguments.iter().map(|text| text.as_ref()).collect();
        all.push(at.as_ref());
        run("mount", &all);
        Mount(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, so that it goes even where a failed test left something open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn memory_and_kernel_file_systems_below_a_root_are_shown_empty() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["memory/", "kernel/", "plain/x"]);
    let _memory = Mount::new(&["-t", "tmpfs", "tmpfs"], &folder.path().join("memory"));
    let _kernel = Mount::new(&["-t", "proc", "proc"], &folder.path().join("kernel"));
    make(folder.path(), &["memory/inner/x"]);
    let roots = [folder.path().to_owned()];
    let mut walk = Walk::start(&roots, options(2, 10)).unwrap();
    let steps = shown(walk.by_ref());
    assert_eq!(shown_inside(&real(&folder), &steps), ["+kernel", "-", "+memory", "-", "+plain", "x", "-"]);
    assert_eq!(walk.counts().mounts, 2);
}

#[test]
fn a_root_inside_a_memory_file_system_is_walked() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["memory/"]);
    let _memory = Mount::new(&["-t", "tmpfs", "tmpfs"], &folder.path().join("memory"));
    make(folder.path(), &["memory/inner/x", "memory/other"]);
    let at = |path: &str| folder.path().join(path);
    let inside = |roots: &[&Path]| shown_inside(&real(&folder), &walk(roots, WalkOptions::default()));
    assert_eq!(inside(&[&at("memory/inner")]), ["+memory", "+inner", "x", "-", "-"]);
    assert_eq!(inside(&[&at("memory")]), ["+memory", "+inner", "x", "-", "other", "-"]);
    // Named in so many words, it is walked even below another root that would not enter it.
    assert_eq!(inside(&[folder.path(), &at("memory/inner")]), ["+memory", "+inner", "x", "-", "-"]);
}

#[test]
fn other_real_file_systems_are_entered_unless_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let disk = tempfile::tempdir().unwrap();
    make(folder.path(), &["memory/"]);
    let _memory = Mount::new(&["-t", "tmpfs", "tmpfs"], &folder.path().join("memory"));
    make(folder.path(), &["memory/disk/", "memory/z"]);
    make(disk.path(), &["image-content/"]);
    let image = disk.path().join("image");
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    run("mkfs.ext4", &["-q".as_ref(), image.as_ref()]);
    let _disk = Mount::new(&["-o", "loop", image.to_str().unwrap()], &folder.path().join("memory/disk"));
    make(folder.path(), &["memory/disk/x"]);
    let root = folder.path().join("memory");
    let inside = |one_file_system: bool| {
        let options = WalkOptions { one_file_system, ..WalkOptions::default() };
        shown_inside(&real(&folder), &walk(&[&root], options))
    };
    assert_eq!(inside(false), ["+memory", "+disk", "+lost+found", "-", "x", "-", "z", "-"]);
    assert_eq!(inside(true), ["+memory", "+disk", "-", "z", "-"]);
}
