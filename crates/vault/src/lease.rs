//! Leases: who is at work on a vault, judged by the store's clock alone.
//!
//! Whoever writes or reads for a while puts a lease down, renews it, and marks it as ended when done. Nobody waits
//! for a lease to begin work; only the collector waits for leases before it deletes (see `docs/gc.md`). All times are
//! those at which the store received the lease's object: nobody's own clock decides anything.
//!
//! ```text
//! header (8)  vault id (16)  lease id (16)  holder (16)  role (u8)  state (u8: 1 held, 2 ended)  duration (u32, seconds)
//! begun: 0, or 1 and seconds (signed varint), nanoseconds (varint)
//! ```
//! The first form says nothing of when it was begun: that is when the store received it. Renewals carry that time on.
//! A lease is the only object of a vault that is replaced; its name is random and never used twice.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::{Kind, ObjectInfo, Store};

use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, SystemId, VaultId};
use crate::wire::{Reader, Write};

/// How long a lease lasts without being renewed.
pub const DURATION: Duration = Duration::from_secs(15 * 60);
/// What a time by the store's clock may be early by; see [`Store::put_dated`].
pub(crate) const CLOCK_STEP: Duration = Duration::from_secs(1);
const LEASE_MAX: u64 = 4096;
/// What is taken for the duration of a lease that cannot be read.
const UNREADABLE_LASTS: Duration = Duration::from_secs(24 * 3600);

/// What the holder of a lease does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Adds to the vault: a backup, or a copy that arrives.
    Writer,
    /// Reads what must not go away meanwhile: a restore, a mount, a check, a copy that leaves.
    Reader,
    /// Collects garbage. Nobody waits for it.
    Collector,
}

impl Role {
    fn byte(self) -> u8 {
        match self {
            Self::Writer => 1,
            Self::Reader => 2,
            Self::Collector => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Writer, Self::Reader, Self::Collector].into_iter().find(|role| role.byte() == byte)
    }
}

/// What a lease's object says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    id: [u8; 16],
    holder: SystemId,
    role: Role,
    ended: bool,
    duration: Duration,
    begun: Option<SystemTime>,
}

impl Written {
    fn encode(&self, vault: VaultId) -> Vec<u8> {
        let mut out = ObjectKind::Lease.header().to_vec();
        out.extend_from_slice(vault.bytes());
        out.extend_from_slice(&self.id);
        out.extend_from_slice(self.holder.bytes());
        out.push(self.role.byte());
        out.push(if self.ended { 2 } else { 1 });
        out.extend_from_slice(&u32::try_from(self.duration.as_secs()).unwrap_or(u32::MAX).to_le_bytes());
        match self.begun.map(|begun| begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()) {
            None => out.push(0),
            Some(since) => {
                out.push(1);
                out.signed(since.as_secs().cast_signed());
                out.varint(u64::from(since.subsec_nanos()));
            }
        }
        out
    }

    fn decode(bytes: &Bytes, vault: VaultId) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        ObjectKind::Lease.expect(&mut reader)?;
        if VaultId::read(&mut reader, "vault id")? != vault {
            return Err(Damage::ForeignVault);
        }
        let id = reader.array("lease id")?;
        let holder = SystemId::read(&mut reader, "holder")?;
        let role = Role::from_byte(reader.u8("role")?).ok_or(Damage::Nonsense("it has no known role"))?;
        let ended = match reader.u8("state")? {
            1 => false,
            2 => true,
            _ => return Err(Damage::Nonsense("it has no known state")),
        };
        let duration = Duration::from_secs(u64::from(reader.u32("duration")?));
        let begun = match reader.u8("begun")? {
            0 => None,
            _ => {
                let seconds = u64::try_from(reader.signed("begun")?).unwrap_or_default();
                let nanoseconds = reader.varint_max("nanoseconds", 999_999_999)? as u32;
                SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
            }
        };
        reader.finish("lease")?;
        Ok(Self { id, holder, role, ended, duration, begun })
    }
}

/// Somebody's lease as others see it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its object's name.
    pub name: String,
    /// Who holds it; all zero when that cannot be read.
    pub holder: SystemId,
    /// What the holder does.
    pub role: Role,
    /// When it was begun.
    pub begun: SystemTime,
    /// When it was renewed or ended last.
    pub renewed: SystemTime,
    /// It was marked as ended.
    pub ended: bool,
    /// How long it lasts without being renewed.
    pub duration: Duration,
}

impl Seen {
    fn new(object: &ObjectInfo, written: Result<Written, Damage>) -> Self {
        match written {
            Ok(written) => Self {
                name: object.name.clone(),
                holder: written.holder,
                role: written.role,
                // Nobody gains by claiming to have begun later than the store saw it.
                begun: written.begun.unwrap_or(object.modified).min(object.modified),
                renewed: object.modified,
                ended: written.ended,
                duration: written.duration,
            },
            // What cannot be read may be a newer program's: it is waited for.
            Err(_) => Self {
                name: object.name.clone(),
                holder: SystemId::default(),
                role: Role::Writer,
                begun: SystemTime::UNIX_EPOCH,
                renewed: object.modified,
                ended: false,
                duration: UNREADABLE_LASTS,
            },
        }
    }

    /// When the last of it was over, or will be unless it is renewed.
    pub fn ends(&self) -> SystemTime {
        if self.ended { self.renewed } else { self.renewed + self.duration }
    }
}

/// What is among the leases.
#[derive(Debug, Default)]
pub struct Found {
    /// The leases.
    pub leases: Vec<Seen>,
    /// Objects by which somebody asks for the time, or did and was stopped before they were deleted.
    pub questions: Vec<ObjectInfo>,
}

/// All leases in the store.
pub async fn read_all(store: &dyn Store, vault: VaultId) -> Result<Found, VaultError> {
    let mut found = Found::default();
    let leases = &mut found.leases;
    for object in store.list(name::LEASES).await? {
        match store.get(&object.name, LEASE_MAX).await {
            Ok(bytes) if *bytes == ObjectKind::Lease.header() => found.questions.push(object),
            Ok(bytes) => leases.push(Seen::new(&object, Written::decode(&bytes, vault))),
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) if matches!(error.kind, Kind::TooLarge | Kind::Truncated) => {
                leases.push(Seen::new(&object, Err(Damage::HashMismatch)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Whether a lease was still held at the moment it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It was held all the time.
    InTime,
    /// It had run out before: somebody may have taken it for ended.
    Overslept,
}

/// A lease that is held.
#[derive(Debug)]
pub struct Lease {
    store: Arc<dyn Store>,
    vault: VaultId,
    name: String,
    written: Written,
    renewed: SystemTime,
}

impl Lease {
    /// Puts a lease down. `id` must be random.
    ///
    /// Readers need not know when it was begun.
    pub async fn begin(
        store: &Arc<dyn Store>,
        vault: VaultId,
        id: [u8; 16],
        holder: SystemId,
        role: Role,
        duration: Duration,
    ) -> Result<Self, VaultError> {
        let name = format!("{}{}", name::LEASES, crate::PackId::new(id));
        let written = Written { id, holder, role, ended: false, duration, begun: None };
        let bytes = vec![written.encode(vault).into()];
        let mut lease = Self { store: store.clone(), vault, name, written, renewed: SystemTime::UNIX_EPOCH };
        if role == Role::Reader {
            store.replace(&lease.name, bytes).await?;
        } else {
            lease.renewed = store.replace_dated(&lease.name, bytes).await?;
            lease.written.begun = Some(lease.renewed);
        }
        Ok(lease)
    }

    /// Asks when the store received it first.
    async fn learn(&mut self) -> Result<(), VaultError> {
        if self.written.begun.is_none() {
            self.renewed = self.store.stat(&self.name).await?.modified;
            self.written.begun = Some(self.renewed);
        }
        Ok(())
    }

    /// When the store received it last: the latest time by the store's clock that is known here.
    pub fn renewed(&self) -> SystemTime {
        self.renewed
    }

    /// When the store received it first, as far as that was asked for.
    pub fn begun(&self) -> Option<SystemTime> {
        self.written.begun
    }

    /// When it runs out unless it is renewed.
    pub fn ends(&self) -> SystemTime {
        self.renewed + self.written.duration
    }

    /// How long it lasts without being renewed.
    pub fn duration(&self) -> Duration {
        self.written.duration
    }

    /// Its object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Renews it. One that has run out, or that is gone, is not held any more whatever is written now.
    pub async fn renew(&mut self) -> Result<Renewal, VaultError> {
        self.learn().await?;
        let ends = self.ends();
        let bytes = vec![self.written.encode(self.vault).into()];
        let modified = self.store.replace_dated(&self.name, bytes).await?;
        if modified + CLOCK_STEP > ends {
            return Ok(Renewal::Overslept);
        }
        self.renewed = self.renewed.max(modified);
        Ok(Renewal::InTime)
    }

    /// Marks it as ended. Failing to is no loss: it runs out.
    pub async fn end(mut self) -> Result<(), VaultError> {
        self.written.ended = true;
        Ok(self.store.replace(&self.name, vec![self.written.encode(self.vault).into()]).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use store::MemoryStore;

    const VAULT: VaultId = VaultId::new([1; 16]);

    async fn begin(store: &Arc<dyn Store>, id: u8, duration: Duration) -> Lease {
        Lease::begin(store, VAULT, [id; 16], SystemId::new([9; 16]), Role::Writer, duration).await.unwrap()
    }

    #[tokio::test]
    async fn a_lease_is_seen_renewed_and_ended() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut lease = begin(&store, 7, DURATION).await;
        assert_eq!(lease.renew().await.unwrap(), Renewal::InTime);
        let seen = read_all(store.as_ref(), VAULT).await.unwrap().leases;
        assert_eq!(
            (seen.len(), Some(seen[0].begun), seen[0].renewed),
            (1, lease.written.begun, lease.renewed())
        );
        assert_eq!((seen[0].ended, seen[0].ends()), (false, lease.ends()));
        lease.end().await.unwrap();
        let seen = read_all(store.as_ref(), VAULT).await.unwrap().leases;
        assert!(seen[0].ended && seen[0].ends() == seen[0].renewed);
    }

    #[tokio::test]
    async fn one_that_ran_out_stays_lost() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut lease = begin(&store, 7, Duration::ZERO).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(lease.renew().await.unwrap(), Renewal::Overslept);
        assert_eq!(lease.renew().await.unwrap(), Renewal::Overslept, "even if asked again");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_waited_for() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let clock = "leases/ffffffffffffffffffffffffffffffff";
        store.put(clock, vec![ObjectKind::Lease.header().to_vec().into()]).await.unwrap();
        store
            .replace("leases/00112233445566778899aabbccddeeff", vec![Bytes::from_static(b"?")])
            .await
            .unwrap();
        let seen = read_all(store.as_ref(), VAULT).await.unwrap().leases;
        assert_eq!(
            (seen[0].role, seen[0].begun, seen[0].ended),
            (Role::Writer, SystemTime::UNIX_EPOCH, false)
        );
        assert!(seen[0].ends() > SystemTime::now() + Duration::from_secs(3600));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::Lease.header().to_vec();
            near.extend_from_slice(&[0; 16]);
            near.extend_from_slice(&bytes);
            if let Ok(written) = Written::decode(&near.into(), VaultId::default()) {
                let again = Written::decode(&written.encode(VAULT).into(), VAULT).unwrap();
                prop_assert_eq!(again, written);
            }
        }
    }
}
