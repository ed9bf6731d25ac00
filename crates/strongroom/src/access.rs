//! Getting at a vault: where it is, its store, and opening it.

use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backup::{Category, Credential, FirstSettings, NewSlot, PassphraseCost, Vault};
use store::survey::WithSurvey;
use store::versions::WithVersions;
use store::{Bucket, Kind, Limited, Location, Patience, Rates, Store, StoreError, Waits};

use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::{passphrase, settings};

/// How often a person may mistype.
const TRIES: usize = 3;

/// Limits for the store, in bytes per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes written.
    pub upload: Option<u64>,
    /// Bytes read.
    pub download: Option<u64>,
}

impl Limits {
    fn around(self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match self {
            Self { upload: None, download: None } => store,
            Self { upload, download } => Arc::new(Limited::new(store, Rates { upload, download })),
        }
    }
}

/// Tells once that a store is waited for: whoever mistyped its address should not wonder for a quarter of an hour.
fn note_waiting(patience: Patience) -> Waits {
    let told = AtomicBool::new(false);
    Arc::new(move |error| {
        if !told.swap(true, Ordering::Relaxed) {
            let cause = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
            let limit = output::duration(patience.deadline);
            output::note(&format!("note: {error}{cause}; trying again for up to {limit}"));
        }
    })
}

/// Where a vault is or will be.
#[derive(Clone, Debug)]
pub struct Place {
    location: Location,
    /// The vault that is used when none is named, however it was named this time.
    is_default: bool,
    /// What environment variables begin with that concern this place alone; empty for the vault's.
    prefix: &'static str,
}

impl Place {
    /// The vault that is named, or the default one.
    pub fn of(global: &Global) -> Result<Self, Failure> {
        match global.vault.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => {
                let location = Location::parse(text).map_err(backup::Error::from)?;
                let same = |folder: PathBuf| {
                    let Location::Folder(named) = &location else { return false };
                    let real =
                        |path: &PathBuf| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
                    real(named).is_some_and(|named| Some(named) == real(&folder))
                };
                let is_default = settings::default_vault().is_some_and(same);
                Ok(Self { location, is_default, prefix: "" })
            }
            None => {
                let missing =
                    || Failure::usage("no vault is named", "name one with --vault or STRONGROOM_VAULT");
                let folder = settings::default_vault().ok_or_else(missing)?;
                Ok(Self { location: Location::Folder(folder), is_default: true, prefix: "" })
            }
        }
    }

    /// Its folder, if it is on this machine.
    pub fn folder(&self) -> Option<&PathBuf> {
        match &self.location {
            Location::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    /// Whether it is the vault that is used when none is named.
    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// For people.
    pub fn shown(&self) -> String {
        self.location.to_string()
    }

    /// Opens the store as it is, with who can be asked what it offers: nothing is tried twice.
    pub fn open_surveyed(&self) -> Result<WithSurvey, Failure> {
        Ok(self.location.open_surveyed().map_err(backup::Error::from)?)
    }

    /// Opens the store as one whose older versions can be had: nothing is tried twice.
    pub fn open_versioned(&self) -> Result<WithVersions, Failure> {
        Ok(self.location.open_versioned().map_err(backup::Error::from)?)
    }

    /// Opens the store; no vault there when there is nothing.
    pub fn open_store(&self, limits: Limits) -> Result<Arc<dyn Store>, Failure> {
        let store = self.open_patiently()?.map_err(|error| match error.kind {
            store::Kind::NotFound | store::Kind::Gone => self.no_vault(),
            _ => backup::Error::from(error).into(),
        })?;
        Ok(limits.around(store))
    }

    /// Opens the store that holds a vault which this machine has opened before, without asking it for anything.
    fn open_known_store(&self, limits: Limits) -> Result<Arc<dyn Store>, Failure> {
        let patience = settings::patience()?;
        let opened = self.location.open_known_with(&self.look_up(), patience, &note_waiting(patience));
        Ok(limits.around(opened.map_err(backup::Error::from)?))
    }

    /// Opens the store, waiting for one that does not answer, and says so.
    fn open_patiently(&self) -> Result<Result<Arc<dyn Store>, StoreError>, Failure> {
        let patience = settings::patience()?;
        Ok(self.location.open_patiently_with(&self.look_up(), patience, &note_waiting(patience)))
    }

    /// Whether there is a vault.
    pub fn has_vault(&self) -> Result<bool, Failure> {
        match self.open_patiently()? {
            Ok(store) => Ok(Vault::exists(&store)?),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(backup::Error::from(error).into()),
        }
    }

    /// An object that is in the way of a new vault, if the store is there.
    pub fn in_the_way(&self) -> Result<Option<String>, Failure> {
        match self.open_patiently()? {
            Ok(store) => Ok(Vault::in_the_way(&store)?),
            Err(error) if error.kind == store::Kind::NotFound => Ok(None),
            Err(error) => Err(backup::Error::from(error).into()),
        }
    }

    /// Another place than the vault's: the source of a repair or the target of a copy. Its store's settings come from
    /// environment variables that begin with `prefix`, and where there is none, from those of the vault's store.
    pub fn other(text: &str, prefix: &'static str) -> Result<Self, Failure> {
        let location = Location::parse(text).map_err(backup::Error::from)?;
        Ok(Self { location, is_default: false, prefix })
    }

    /// Whether it is in a bucket or container that is made with properties that it keeps.
    pub fn has_buckets(&self) -> bool {
        matches!(self.location, Location::Swift(_) | Location::S3(_))
    }

    /// Whether both are the same place, as far as their names tell.
    pub fn is(&self, other: &Self) -> bool {
        let real = |folder: &PathBuf| folder.canonicalize().or_else(|_| std::path::absolute(folder)).ok();
        match (&self.location, &other.location) {
            (Location::Folder(one), Location::Folder(two)) => real(one) == real(two),
            (one, two) => one == two && !self.has_settings_of_its_own() && !other.has_settings_of_its_own(),
        }
    }

    /// Whether the environment says of this place alone how to reach it: the same name may be another store then.
    fn has_settings_of_its_own(&self) -> bool {
        let concerns = |name: &OsStr| name.as_encoded_bytes().starts_with(self.prefix.as_bytes());
        !self.prefix.is_empty() && std::env::vars_os().any(|(name, _)| concerns(&name))
    }

    /// Whether it is a place inside another one, as far as their names tell.
    pub fn is_inside(&self, other: &Self) -> bool {
        let is_below = |one: &Bucket, two: &Bucket| {
            let below = one.prefix.strip_prefix(&two.prefix);
            one.name == two.name && below.is_some_and(|rest| two.prefix.is_empty() || rest.starts_with('/'))
        };
        match (&self.location, &other.location) {
            (Location::Folder(one), Location::Folder(two)) => real_path(one).starts_with(real_path(two)),
            (Location::Swift(one), Location::Swift(two)) | (Location::S3(one), Location::S3(two)) => {
                let is_same_store = !self.has_settings_of_its_own() && !other.has_settings_of_its_own();
                is_same_store && one != two && is_below(one, two)
            }
            _ => false,
        }
    }

    /// Opens the store, made if there is none. `None` when it would have to be made and must not.
    pub fn open_or_make(&self, limits: Limits, may_make: bool) -> Result<Option<Arc<dyn Store>>, Failure> {
        match self.opened_or_made(may_make)? {
            Err(error) if is_missing(&error) && !may_make => Ok(None),
            opened => Ok(Some(limits.around(opened.map_err(backup::Error::from)?))),
        }
    }

    /// What opening the store comes to, or making it where there is none and it may be made; that is told.
    fn opened_or_made(&self, may_make: bool) -> Result<Result<Arc<dyn Store>, StoreError>, Failure> {
        match self.open_patiently()? {
            Err(error) if is_missing(&error) && may_make => {
                let patience = settings::patience()?;
                let waits = note_waiting(patience);
                let made = self.location.create_patiently_with(&self.look_up(), patience, &waits);
                Ok(made.inspect(|_| note_made(&self.location)))
            }
            opened => Ok(opened),
        }
    }

    fn look_up(&self) -> impl Fn(&str) -> Option<String> + Sync {
        let prefix = self.prefix;
        move |variable| {
            let own = std::env::var(format!("{prefix}{variable}")).ok();
            own.or_else(|| std::env::var(variable).ok())
        }
    }

    fn no_vault(&self) -> Failure {
        backup::Error::Vault(vault::VaultError::NoVault { location: self.shown() }).into()
    }

    /// The key file that belongs to it, if it is there.
    fn key_file(&self) -> Option<PathBuf> {
        settings::default_key_file().filter(|path| self.is_default && path.exists())
    }
}

/// Opens the vault with whatever opens it.
pub fn open_vault(global: &Global) -> Result<Arc<Vault>, Failure> {
    open_limited(global, Limits::default())
}

/// Opens the vault through a limited store.
pub fn open_limited(global: &Global, limits: Limits) -> Result<Arc<Vault>, Failure> {
    Ok(open_by(global, limits, false)?.0)
}

/// Opens the vault, and what opened it.
pub fn open_with_credential(global: &Global) -> Result<(Arc<Vault>, Credential), Failure> {
    open_by(global, Limits::default(), false)
}

/// Opens the vault by what this machine remembers of it, for commands that begin with a tenure or with the list of
/// snapshots: see [`Vault::open_remembered`].
pub fn open_remembered(global: &Global, limits: Limits) -> Result<Arc<Vault>, Failure> {
    Ok(open_by(global, limits, true)?.0)
}

/// The same for those who read. A machine may have a key that can only add: then a person is asked for another one.
pub fn open_to_read(global: &Global, limits: Limits) -> Result<Arc<Vault>, Failure> {
    let vault = open_remembered(global, limits)?;
    if vault.keyring().can_read() || !passphrase::can_ask() {
        return Ok(vault);
    }
    output::note(
        "The key that this machine has can only add. To read, give the passphrase or the recovery code.",
    );
    let (store, cache) = (vault.store().clone(), settings::cache(global)?);
    Ok(ask_until(|credential| Vault::open(store.clone(), credential, &cache))?.0)
}

fn open_by(global: &Global, limits: Limits, may_remember: bool) -> Result<(Arc<Vault>, Credential), Failure> {
    let place = Place::of(global)?;
    let cache = settings::cache(global)?;
    let store = match may_remember && Vault::is_remembered(&place.shown(), &cache) {
        true => place.open_known_store(limits)?,
        false => place.open_store(limits)?,
    };
    let open_vault = if may_remember { Vault::open_remembered } else { Vault::open };
    let open = |credential: &Credential| {
        let vault = open_vault(store.clone(), credential, &cache)?;
        if let Some(damage) = vault.descriptor_damage() {
            let object = vault::name::DESCRIPTOR;
            output::note(&format!(
                "warning: {object} is damaged ({damage}); going on with the key slot alone"
            ));
        }
        Ok::<_, backup::Error>(vault)
    };
    if let Some(credential) = passphrase::given(global)? {
        return Ok((open(&credential)?, credential));
    }
    if let Some(path) = place.key_file() {
        let credential = Credential::recognise(passphrase::from_file(&path)?);
        return Ok((open(&credential)?, credential));
    }
    // Nobody should be asked for a passphrase only to hear that there is no vault.
    if !Vault::exists(&store)? {
        return Err(place.no_vault());
    }
    ask_until(open)
}

/// Asks for what opens the vault, a few times over.
fn ask_until(
    open: impl Fn(&Credential) -> Result<Arc<Vault>, backup::Error>,
) -> Result<(Arc<Vault>, Credential), Failure> {
    let mut tries = 1;
    loop {
        let credential = passphrase::ask()?;
        match open(&credential) {
            Err(error) if error.category() == Category::WrongKey && tries < TRIES => {
                tries += 1;
                output::note("That does not open it. Once again:");
            }
            opened => return Ok((opened?, credential)),
        }
    }
}

/// A slot for a credential at the standard cost.
pub fn slot(credential: Credential, label: &str) -> NewSlot {
    NewSlot { credential, label: label.to_owned(), cost: PassphraseCost::STANDARD, write_only: false }
}

/// A path without links, also of what is yet to be made.
fn real_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let joined = there.and_then(|(above, real)| Some(real.join(absolute.strip_prefix(above).ok()?)));
    joined.unwrap_or(absolute)
}

/// Whether there is no store.
fn is_missing(error: &StoreError) -> bool {
    matches!(error.kind, Kind::NotFound | Kind::Gone)
}

/// Tells of a container or bucket that was made: it may be a slip in its name.
fn note_made(location: &Location) {
    let (what, name) = match location {
        Location::Swift(Bucket { name, .. }) => ("container", name),
        Location::S3(Bucket { name, .. }) => ("bucket", name),
        _ => return,
    };
    output::note(&format!("note: made the {what} '{name}', which was missing"));
}

/// Makes a vault that opens with `credential` and with a new recovery code, and shows the code. `first` is
/// what it is set to.
pub fn create_vault(
    global: &Global,
    output: &Output,
    place: &Place,
    credential: Credential,
    label: &str,
    first: &FirstSettings,
) -> Result<Arc<Vault>, Failure> {
    // The cache first: a vault whose recovery code nobody saw helps nobody.
    let cache = settings::cache(global)?;
    settings::make_private(&cache)?;
    // Locks are a decision for when a bucket is made, and not for us to take.
    let may_make = first.lock.is_none() || !place.has_buckets();
    let store = place.opened_or_made(may_make)?.map_err(backup::Error::from)?;
    let recovery = Credential::new_recovery_code();
    let slots = [slot(credential, label), slot(recovery.clone(), "recovery code")];
    let vault = Vault::create_with(store, &slots, &cache, first)?;
    output.new_vault(&vault, &place.shown(), &recovery);
    Ok(vault)
}
