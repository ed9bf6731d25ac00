//! Nothing that a snapshot says, and no link planted in the target, makes us write elsewhere.

use super::*;

/// A target, and beside it a folder that must stay as it is.
struct Scene {
    _folder: tempfile::TempDir,
    target: Target,
    inside: PathBuf,
    outside: PathBuf,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("target"), folder.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    let target = Target::open(&inside, true).unwrap();
    assert_eq!(mode(&inside), 0o700, "a new target is closed to others");
    Scene { _folder: folder, target, inside, outside }
}

impl Scene {
    fn assert_untouched(&self) {
        let names: Vec<_> =
            fs::read_dir(&self.outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["precious"]);
        assert_eq!(fs::read(self.outside.join("precious")).unwrap(), b"precious");
    }
}

#[test]
fn names_that_could_climb_are_refused_everywhere() {
    let scene = scene();
    let root = scene.target.root();
    fs::write(scene.inside.join("file"), "x").unwrap();
    let stat = Stat::default();
    let options = ApplyOptions::default();
    for name in [&b""[..], b".", b"..", b"/", b"a/b", b"../outside/new", b"/etc/passwd", b"a\0b"] {
        let refused = |result: Result<(), TargetError>| {
            assert!(
                matches!(result, Err(TargetError::UnsafeName { .. })),
                "{}: {result:?}",
                name.escape_ascii()
            );
        };
        refused(root.folder(name).map(drop));
        refused(root.existing_folder(name).map(drop));
        refused(root.look(name).map(drop));
        refused(root.details(name).map(drop));
        refused(root.create_file(name).map(drop));
        refused(root.create_file_like(name, &stat).map(drop));
        refused(root.open_file(name).map(drop));
        refused(root.open_file_to_read(name).map(drop));
        refused(root.symlink(name, b"x"));
        refused(root.fifo(name));
        refused(root.socket(name));
        refused(root.device(name, &Stat { kind: Kind::CharDevice, ..stat }));
        refused(root.hard_link(name, &root, b"new"));
        refused(root.hard_link(b"file", &root, name));
        refused(root.remove(name));
        let problems = root.apply(name, &stat, &Details::default(), &options);
        assert_eq!(problems.len(), 1, "{}", name.escape_ascii());
    }
    assert_eq!(root.names().unwrap(), [b"file"]);
    scene.assert_untouched();
}

#[test]
fn a_link_in_the_middle_of_the_way_is_not_followed() {
    let scene = scene();
    let root = scene.target.root();
    symlink(&scene.outside, scene.inside.join("link")).unwrap();
    for result in [root.folder(b"link"), root.existing_folder(b"link")] {
        let error = result.unwrap_err();
        assert!(
            matches!(error, TargetError::WrongKind { found: Kind::Symlink, wanted: Kind::Directory, .. }),
            "{error}"
        );
        assert!(
            error.to_string().ends_with("target/link is a symbolic link, not a directory; remove it first")
        );
    }
    // Even one that is swapped in after the folder was opened: the folder stays the one it was.
    let folder = root.folder(b"folder").unwrap();
    fs::rename(scene.inside.join("folder"), scene.inside.join("moved")).unwrap();
    symlink(&scene.outside, scene.inside.join("folder")).unwrap();
    folder.create_file(b"new").unwrap().write_at(0, b"x").unwrap();
    assert!(scene.inside.join("moved/new").exists());
    scene.assert_untouched();
}

#[test]
fn a_file_replaced_by_a_link_is_neither_opened_nor_changed() {
    let scene = scene();
    let root = scene.target.root();
    symlink(scene.outside.join("precious"), scene.inside.join("file")).unwrap();
    for result in [root.open_file(b"file"), root.open_file_to_read(b"file")] {
        assert!(matches!(result, Err(TargetError::WrongKind { found: Kind::Symlink, .. })));
    }
    assert!(root.create_file(b"file").unwrap_err().already_exists());
    let before = fs::metadata(scene.outside.join("precious")).unwrap();
    let stat = Stat { mode: 0o777, uid: 5, gid: 5, ..Stat::default() };
    let details = Details { xattrs: vec![(b"user.x".to_vec(), b"y".to_vec())], ..Details::default() };
    let problems = root.apply(b"file", &stat, &details, &STRICT);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].attribute, Attribute::Itself);
    // Metadata meant for a link stays on the link.
    let link = Stat { kind: Kind::Symlink, ..stat };
    let on_link = Details { xattrs: vec![(b"trusted.x".to_vec(), b"y".to_vec())], ..Details::default() };
    assert!(root.apply(b"file", &link, &on_link, &STRICT).is_empty());
    assert_eq!(fs::symlink_metadata(scene.inside.join("file")).unwrap().uid(), 5);
    let after = fs::metadata(scene.outside.join("precious")).unwrap();
    assert_eq!((after.ctime(), after.ctime_nsec()), (before.ctime(), before.ctime_nsec()));
    // A hard link to a link is another link, not another name of what it points to.
    root.hard_link(b"file", &root, b"copy").unwrap();
    assert!(fs::symlink_metadata(scene.inside.join("copy")).unwrap().is_symlink());
    scene.assert_untouched();
}

#[test]
fn a_pipe_or_device_in_a_files_place_is_not_written_to() {
    let scene = scene();
    let root = scene.target.root();
    root.fifo(b"pipe").unwrap();
    // 1:8 is the random device; opening it is harmless.
    let device = Stat { kind: Kind::CharDevice, rdev_major: 1, rdev_minor: 8, ..Stat::default() };
    root.device(b"device", &device).unwrap();
    let error = root.open_file(b"pipe").unwrap_err();
    assert!(matches!(error, TargetError::WrongKind { found: Kind::Fifo, .. }), "{error}");
    let error = root.open_file(b"device").unwrap_err();
    assert!(matches!(error, TargetError::WrongKind { found: Kind::CharDevice, .. }), "{error}");
    let error = root.device(b"other", &Stat::default()).unwrap_err();
    assert!(matches!(error, TargetError::WrongKind { found: Kind::File, .. }), "{error}");
}

#[test]
fn removing_a_tree_leaves_what_its_links_point_to() {
    let scene = scene();
    let root = scene.target.root();
    fs::create_dir_all(scene.inside.join("tree/a/b")).unwrap();
    fs::write(scene.inside.join("tree/a/b/file"), "x").unwrap();
    fs::write(scene.inside.join("stays"), "x").unwrap();
    symlink(&scene.outside, scene.inside.join("tree/a/link")).unwrap();
    symlink(&scene.outside, scene.inside.join("link")).unwrap();
    root.remove(b"tree").unwrap();
    root.remove(b"link").unwrap();
    assert!(root.remove(b"tree").unwrap_err().not_found());
    assert_eq!(root.names().unwrap(), [b"stays"]);
    scene.assert_untouched();
}

#[test]
fn removing_stops_before_another_file_system() {
    assert!(crate::machine::is_root(), "mounting needs root; run these tests as root");
    let scene = scene();
    let mount = scene.inside.join("tree/mount");
    fs::create_dir_all(&mount).unwrap();
    run("mount", &[&"-t", &"tmpfs", &"tmpfs", &mount]);
    fs::write(mount.join("precious"), "x").unwrap();
    let result = scene.target.root().remove(b"tree");
    let survived = mount.join("precious").exists();
    run("umount", &[&mount]);
    let error = result.unwrap_err();
    assert!(matches!(&error, TargetError::OtherFileSystem { path } if path.ends_with("target/tree/mount")));
    assert!(survived);
    scene.target.root().remove(b"tree").unwrap();
}

#[test]
fn a_missing_target_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/there");
    let error = Target::open(&path, false).unwrap_err();
    assert!(error.not_found() && error.to_string().contains("not/there"), "{error}");
    fs::write(folder.path().join("file"), "x").unwrap();
    Target::open(&folder.path().join("file"), false).unwrap_err();
    Target::open(&path, true).unwrap();
    assert_eq!(mode(&path), 0o700);
}
