//! File systems that hold no data worth keeping: the kernel's views of itself, and memory.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

/// The type numbers of statfs(2), for file systems that are gone at the next boot. devtmpfs answers
/// with tmpfs's number.
const VIRTUAL: &[u32] = &[
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x0102_1994, // tmpfs, devtmpfs
    0x8584_58f6, // ramfs
    0x0000_1cd1, // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x7363_6673, // securityfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x6265_6570, // configfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0x0000_0187, // autofs: looking inside would mount things
    0x4249_4e4d, // binfmt_misc
    0x6573_5543, // fusectl
    0xde5e_81e4, // efivarfs
    0x6e73_6673, // nsfs
    0x6759_6969, // rpc_pipefs
    0xf97c_ff8c, // selinuxfs
];

/// Whether the folder `name` is the top of a virtual file system. Opens it only as a place, which
/// mounts nothing and wakes nothing.
pub(crate) fn is_virtual(parent: impl AsFd, name: &[u8]) -> io::Result<bool> {
    let place = rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let kind = rustix::fs::fstatfs(&place)?.f_type;
    // The field's width and sign differ between processors; the numbers have 32 bits on all.
    Ok(VIRTUAL.contains(&(kind as u32)))
}
