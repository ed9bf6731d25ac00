//! What a user who is not the superuser can restore, and what is said about the rest.

use rustix::process::{Gid, Uid};

use super::*;

const USER: u32 = 4321;
const GROUP: u32 = 4322;
const SECOND_GROUP: u32 = 4323;

/// Runs `work` as an ordinary user with two groups; the other threads stay the superuser.
fn as_user<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    assert!(crate::machine::is_root(), "these tests drop rights, so they need to run as root");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(USER), Gid::from_raw(GROUP));
            rustix::thread::set_thread_groups(&[Gid::from_raw(SECOND_GROUP)]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// A folder that the ordinary user owns, inside one that everybody may pass.
fn users_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run("chown", &[&format!("{USER}:{GROUP}"), &folder.path()]);
    folder
}

fn attributes(problems: &[MetadataProblem]) -> Vec<Attribute> {
    problems.iter().map(|problem| problem.attribute.clone()).collect()
}

#[test]
fn foreign_owners_are_kept_quiet_about_unless_required_and_cost_setuid() {
    let folder = users_folder();
    let path = folder.path().to_owned();
    let foreign = Stat { mode: 0o6755, uid: 0, gid: 0, ..Stat::default() };
    let (required, not_required) = as_user(|| {
        let root = open(&path).root();
        let apply = |name: &[u8], require_owner| {
            let file = root.create_file(name).unwrap();
            attributes(&file.apply(&foreign, &Details::default(), &ApplyOptions { require_owner }))
        };
        (apply(b"required", true), apply(b"not required", false))
    });
    assert_eq!(required, [Attribute::Owner]);
    assert_eq!(not_required, []);
    for name in ["required", "not required"] {
        let meta = fs::metadata(path.join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (USER, GROUP));
        assert_eq!(mode(&path.join(name)), 0o755, "no setuid under a wrong owner");
    }
}

#[test]
fn ones_own_owner_group_and_setuid_are_restored_without_a_problem() {
    let folder = users_folder();
    let path = folder.path().to_owned();
    let own = Stat { mode: 0o6750, uid: USER, gid: SECOND_GROUP, ..Stat::default() };
    let group_only = Stat { mode: 0o6750, uid: 0, gid: SECOND_GROUP, ..Stat::default() };
    let (first, second) = as_user(|| {
        let root = open(&path).root();
        let apply = |name: &[u8], stat: &Stat| {
            attributes(&root.create_file(name).unwrap().apply(stat, &Details::default(), &STRICT))
        };
        (apply(b"own", &own), apply(b"group", &group_only))
    });
    assert_eq!(first, []);
    assert_eq!(mode(&path.join("own")), 0o6750);
    assert_eq!(fs::metadata(path.join("own")).unwrap().gid(), SECOND_GROUP);
    // The group can be given even where the owner cannot.
    assert_eq!(second, [Attribute::Owner]);
    assert_eq!(fs::metadata(path.join("group")).unwrap().gid(), SECOND_GROUP);
    assert_eq!(mode(&path.join("group")), 0o2750);
}

#[test]
fn attributes_are_set_on_files_that_forbid_writing() {
    let folder = users_folder();
    let path = folder.path().to_owned();
    let stat = Stat { mode: 0o400, uid: USER, gid: GROUP, ..Stat::default() };
    let details = Details { xattrs: vec![(b"user.note".to_vec(), b"text".to_vec())], ..Details::default() };
    as_user(|| {
        let root = open(&path).root();
        let inner = root.folder(b"inner").unwrap();
        for folder in [&root, &inner] {
            let file = folder.create_file_like(b"file", &stat).unwrap();
            file.write_at(0, b"x").unwrap();
            assert_eq!(attributes(&file.apply(&stat, &details, &STRICT)), []);
            // And once more on what exists, with another value.
            let other =
                Details { xattrs: vec![(b"user.note".to_vec(), b"other".to_vec())], ..Details::default() };
            assert_eq!(attributes(&folder.apply(b"file", &stat, &other, &STRICT)), []);
            assert_eq!(folder.details(b"file").unwrap(), other);
        }
    });
    for file in [path.join("file"), path.join("inner/file")] {
        assert_eq!(mode(&file), 0o400);
        assert!(run("getfattr", &[&"-d", &"--absolute-names", &file]).contains("user.note=\"other\""));
    }
}

#[test]
fn what_cannot_be_set_is_named_and_the_rest_is_set() {
    let folder = users_folder();
    let path = folder.path().to_owned();
    let time = Timestamp { seconds: 1_000_000_000, nanoseconds: 5 };
    let stat = Stat { mode: 0o640, uid: USER, gid: GROUP, modified: time, ..Stat::default() };
    let xattrs = vec![
        (b"no.such.namespace".to_vec(), b"1".to_vec()),
        (b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (b"user.fine".to_vec(), b"1".to_vec()),
    ];
    let details = Details { xattrs, ..Details::default() };
    let problems = as_user(|| {
        let root = open(&path).root();
        root.create_file(b"file").unwrap().apply(&stat, &details, &STRICT)
    });
    assert_eq!(
        attributes(&problems),
        [Attribute::Xattr(b"no.such.namespace".to_vec()), Attribute::Xattr(b"security.capability".to_vec())]
    );
    assert_eq!(problems[0].to_string(), "the attribute no.such.namespace could not be set");
    let file = stat_of(&path.join("file"));
    assert_eq!((file.mode, file.modified), (0o640, time));
    assert!(run("getfattr", &[&"-d", &"--absolute-names", &path.join("file")]).contains("user.fine"));
}

#[test]
fn a_new_folder_is_closed_until_its_metadata_is_applied() {
    let folder = users_folder();
    let path = folder.path().join("new");
    let stat = Stat { kind: Kind::Directory, mode: 0o555, uid: USER, gid: GROUP, ..Stat::default() };
    as_user(|| {
        let root = open(folder.path()).root();
        let new = root.folder(b"new").unwrap();
        assert!(new.fresh());
        assert_eq!(mode(&path), 0o700);
        new.create_file(b"file").unwrap();
        assert!(new.apply_to_self(&stat, &Details::default(), &STRICT).is_empty());
        assert_eq!(mode(&path), 0o555);
        // It exists now, and forbids changes until it is told otherwise.
        let again = root.folder(b"new").unwrap();
        assert!(!again.fresh());
        let error = again.create_file(b"second").unwrap_err();
        assert_eq!(error.io_kind(), Some(io::ErrorKind::PermissionDenied));
        again.make_writable().unwrap();
        again.create_file(b"second").unwrap();
        assert!(again.apply_to_self(&stat, &Details::default(), &STRICT).is_empty());
    });
    assert_eq!(mode(&path), 0o555);
}

#[test]
fn a_file_gets_its_mode_early_only_where_nobody_else_can_see_it() {
    let folder = users_folder();
    let path = folder.path().to_owned();
    let plain = Stat { mode: 0o644, uid: USER, gid: GROUP, ..Stat::default() };
    let setuid = Stat { mode: 0o4755, ..plain };
    as_user(|| {
        let root = open(&path).root();
        let new = root.folder(b"new").unwrap();
        root.create_file_like(b"seen", &plain).unwrap();
        new.create_file_like(b"unseen", &plain).unwrap();
        new.create_file_like(b"setuid", &setuid).unwrap();
        let open_to_all = Stat { kind: Kind::Directory, mode: 0o755, ..plain };
        new.apply_to_self(&open_to_all, &Details::default(), &STRICT);
        new.create_file_like(b"late", &plain).unwrap();
    });
    // Under a strict umask there is nothing to gain, and the mode comes later as for the others.
    let early = if platform::creation_mask() == Some(0o022) { 0o644 } else { 0o600 };
    assert_eq!(mode(&path.join("seen")), 0o600);
    assert_eq!(mode(&path.join("new/unseen")), early);
    assert_eq!(mode(&path.join("new/setuid")), 0o600);
    assert_eq!(mode(&path.join("new/late")), 0o600);
}
