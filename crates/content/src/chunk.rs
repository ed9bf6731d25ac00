//! Chunk identities and addresses.

use vault::PackId;

/// The name of a chunk within its vault: the first 128 bits of keyed BLAKE3 of its bytes.
///
/// 128 bits of a keyed hash: without the key nobody can search for two chunks with one id, and by accident two among
/// 2^40 meet with probability 2^-49.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ChunkId([u8; 16]);

impl ChunkId {
    /// How many bytes it has.
    pub const LENGTH: usize = 16;

    /// Wraps raw bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Gives chunks their ids.
#[derive(Clone, Debug)]
pub struct Identifier(crate::secret::Secret);

impl Identifier {
    /// Uses this key.
    pub fn new(key: crate::secret::Secret) -> Self {
        Self(key)
    }

    /// The id of a chunk with these bytes.
    pub fn identify(&self, bytes: &[u8]) -> ChunkId {
        let hash = blake3::keyed_hash(self.0.expose(), bytes);
        let mut id = [0; 16];
        id.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        ChunkId(id)
    }
}

/// Where a chunk is: valid for ever, wherever its segment is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The pack its segment was sealed for.
    pub pack: PackId,
    /// The segment's number in that pack.
    pub segment: u32,
    /// Where it starts in the raw segment, in bytes.
    pub offset: u32,
    /// Its length in bytes.
    pub length: u32,
}
