//! Trees: the directories of a snapshot, bottom up.
//!
//! A directory is a list of *pages*; a page holds consecutive entries in the byte order of their names and is a chunk
//! in a tree pack. Pages end where a pseudorandom function of a name says so, so that one new file in a directory of
//! a million changes one or two pages. A file of very many chunks keeps their addresses in *extent pages* of their
//! own. Entries hold addresses and not chunk ids: what follows directly after its predecessor costs one byte, a
//! restore needs no index, and which segments a snapshot needs is seen without a look-up.

mod address;
mod entry;
mod extents;
mod page;

pub use entry::{Entry, FileContent, Hole, Node, Owner, Time};
pub use extents::{EXTENT_PAGE_ADDRESSES, decode_extents, encode_extents};
pub use page::{PAGE_MAX, PageWriter, decode_page};
