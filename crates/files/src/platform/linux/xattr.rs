//! Extended attributes, of things that are open and of things that are only a name in a folder.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// One attribute's name and value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// Where a folder's entries inherit their ACL from, if it has one.
pub(crate) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// The kernel allows no longer list and no longer value than this.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Whose attributes.
pub(crate) enum Subject<'a> {
    /// An open file or folder.
    Open(BorrowedFd<'a>),
    /// A name in an open folder, reached through /proc because there are no calls relative to a
    /// folder; the last component is not followed.
    Path(Vec<u8>),
}

impl<'a> Subject<'a> {
    /// An open file or folder.
    pub fn open(file: &'a impl AsFd) -> Subject<'a> {
        Subject::Open(file.as_fd())
    }

    /// The entry `name` of an open folder.
    pub fn entry(folder: impl AsFd, name: &[u8]) -> Subject<'static> {
        let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        Subject::Path(path)
    }

    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Subject::Open(file) => rustix::fs::flistxattr(file, buffer),
            Subject::Path(path) => rustix::fs::llistxattr(&path[..], buffer),
        }
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Subject::Open(file) => rustix::fs::fgetxattr(file, name, buffer),
            Subject::Path(path) => rustix::fs::lgetxattr(&path[..], name, buffer),
        }
    }

    /// The attribute's value; `None` when there is none of that name.
    pub fn value(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match with_room(|buffer| self.get(name, buffer)) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All names; none on a file system without attributes.
    pub fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let list = match with_room(|buffer| self.list(buffer)) {
            Ok(list) => list,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    /// All attributes, sorted by name.
    pub fn all(&self) -> io::Result<Vec<Xattr>> {
        let mut all = Vec::new();
        for name in self.names()? {
            // One that went away since the listing is not there.
            if let Some(value) = self.value(&name)? {
                all.push((name, value));
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Sets an attribute, whether or not it exists.
    pub fn set(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        let result = match self {
            Subject::Open(file) => rustix::fs::fsetxattr(file, name, value, flags),
            Subject::Path(path) => rustix::fs::lsetxattr(&path[..], name, value, flags),
        };
        Ok(result?)
    }

    /// Takes an attribute away.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        let result = match self {
            Subject::Open(file) => rustix::fs::fremovexattr(file, name),
            Subject::Path(path) => rustix::fs::lremovexattr(&path[..], name),
        };
        Ok(result?)
    }
}

/// Calls with a small buffer on the stack, and with the largest one when that is too small.
fn with_room(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 256];
    match call(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; XATTR_BYTES_MAX];
            let length = call(&mut large)?;
            large.truncate(length);
            large.shrink_to_fit();
            Ok(large)
        }
        Err(error) => Err(error),
    }
}
