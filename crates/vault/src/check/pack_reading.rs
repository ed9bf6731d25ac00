//! Verifying a pack piece by piece, so that memory does not grow with its size.
//!
//! The trailer at the end is read first, because it says where segments end; then the bytes in order, in pieces of
//! whole segments. Each byte is fetched once (but for the guess at the trailer's length) and hashed while it is there.

use std::ops::Range;

use bytes::Bytes;
use store::{Store, StoreError};

use crate::error::Damage;
use crate::header::ObjectKind;
use crate::name::{ObjectHash, PackId, VaultId};
use crate::pack::{FOOTER_LENGTH, PREFIX_LENGTH, SegmentRow, Tail, Trailer, trailer_in_tail};
use crate::wire::Reader;

/// How much of a pack's end is read to find its trailer in one request.
const TAIL_GUESS: u64 = 64 << 10;
/// A piece has at least this many bytes, unless it is the last one.
const PIECE_BYTES: u64 = 4 << 20;

/// Bytes of a pack that are read in one request: whole segments, and before the first one the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which bytes of the object.
    pub range: Range<u64>,
    /// Which rows of the trailer's table.
    pub rows: Range<usize>,
}

/// A pack that is being verified.
#[derive(Debug)]
pub struct PackReading {
    hash: ObjectHash,
    trailer: Trailer,
    encoded: Bytes,
    footer: Bytes,
    hasher: blake3::Hasher,
    prefix: Result<(), Damage>,
}

impl PackReading {
    /// Reads the trailer of a pack of `size` bytes and sees that it fits. The inner error is the object's, the outer
    /// one the store's.
    pub async fn begin(
        store: &dyn Store,
        hash: ObjectHash,
        size: u64,
        vault: VaultId,
    ) -> Result<Result<Self, Damage>, StoreError> {
        let name = hash.pack_name();
        let (mut tail, found) = store.get_tail(&name, TAIL_GUESS).await?;
        if found != size {
            return Ok(Err(Damage::Length { recorded: size, found }));
        }
        if let Ok(Tail::Need(length)) = trailer_in_tail(&tail, size) {
            (tail, _) = store.get_tail(&name, length).await?;
        }
        match Self::from_tail(hash, size, vault, &tail) {
            Ok(reading) => Ok(Ok(reading)),
            Err(damage) if damage.is_newer() || size < PREFIX_LENGTH => Ok(Err(damage)),
            // A newer version may have another kind of trailer: the header decides.
            Err(damage) => {
                let prefix = store.get_range(&name, 0..PREFIX_LENGTH).await?;
                match ObjectKind::Pack.expect(&mut Reader::new(&prefix)) {
                    Err(newer) if newer.is_newer() => Ok(Err(newer)),
                    _ => Ok(Err(damage)),
                }
            }
        }
    }

    fn from_tail(hash: ObjectHash, size: u64, vault: VaultId, tail: &Bytes) -> Result<Self, Damage> {
        let Tail::Whole(encoded) = trailer_in_tail(tail, size)? else {
            return Err(Damage::Nonsense("its trailer cannot be that long"));
        };
        let trailer = Trailer::decode(&encoded)?;
        if trailer.vault != vault {
            return Err(Damage::ForeignVault);
        }
        let recorded = trailer.object_size(encoded.len());
        if recorded != size {
            return Err(Damage::Length { recorded, found: size });
        }
        let footer = tail.slice(tail.len().saturating_sub(FOOTER_LENGTH)..);
        Ok(Self { hash, trailer, encoded, footer, hasher: blake3::Hasher::new(), prefix: Ok(()) })
    }

    /// What the pack says of itself.
    pub fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    /// The trailer's bytes.
    pub fn encoded_trailer(&self) -> &Bytes {
        &self.encoded
    }

    /// What to read, in order; together everything before the trailer.
    pub fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut piece = Piece { range: 0..PREFIX_LENGTH, rows: 0..0 };
        for (index, row) in self.trailer.rows.iter().enumerate() {
            if piece.range.end - piece.range.start >= PIECE_BYTES {
                let next = Piece { range: piece.range.end..piece.range.end, rows: index..index };
                pieces.push(std::mem::replace(&mut piece, next));
            }
            piece.range.end = row.offset + u64::from(row.length);
            piece.rows.end = index + 1;
        }
        pieces.push(piece);
        pieces
    }

    /// Takes the bytes of the next piece into the hash of the whole.
    pub fn take(&mut self, piece: &Piece, bytes: &[u8]) {
        if piece.range.start == 0 {
            self.prefix = self.check_prefix(bytes);
        }
        self.hasher.update(bytes);
    }

    /// The segments of a piece that do not match their hashes in the table. Whoever opens segments need not ask: a
    /// changed one does not open.
    pub fn bad_segments(&self, piece: &Piece, bytes: &[u8]) -> Vec<(PackId, u32)> {
        let is_bad = |(row, sealed): &(&SegmentRow, &[u8])| *blake3::hash(sealed).as_bytes() != row.hash;
        let name = |row: &SegmentRow| Some((self.trailer.origins.get(row.origin as usize)?.pack, row.number));
        self.segments(piece, bytes).filter(is_bad).filter_map(|(row, _)| name(row)).collect()
    }

    /// The segments of a piece and their sealed bytes.
    pub fn segments<'a>(
        &'a self,
        piece: &Piece,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a SegmentRow, &'a [u8])> {
        let start = piece.range.start;
        let rows = self.trailer.rows.get(piece.rows.clone()).unwrap_or_default();
        rows.iter().map(move |row| {
            let at = (row.offset - start) as usize;
            (row, bytes.get(at..at + row.length as usize).unwrap_or_default())
        })
    }

    fn check_prefix(&self, bytes: &[u8]) -> Result<(), Damage> {
        let mut reader = Reader::new(bytes);
        ObjectKind::Pack.expect(&mut reader)?;
        if PackId::read(&mut reader, "pack id")? != self.trailer.pack {
            return Err(Damage::Nonsense("its trailer names another pack"));
        }
        Ok(())
    }

    /// Whether, after all pieces, the bytes are what the name says. Only then does its header tell that a newer program
    /// wrote it: a changed byte may say so too.
    pub fn finish(mut self) -> Result<(), Damage> {
        self.hasher.update(&self.encoded);
        self.hasher.update(&self.footer);
        let is_named_so = *self.hasher.finalize().as_bytes() == *self.hash.bytes();
        match self.prefix {
            Err(damage) if is_named_so || !damage.is_newer() => Err(damage),
            Ok(()) if is_named_so => Ok(()),
            _ => Err(Damage::HashMismatch),
        }
    }
}
