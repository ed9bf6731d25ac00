//! The suite that every store passes: the contract of the crate, as far as one process can observe it.
//!
//! It works on objects below `conformance/` and removes them at the end, so it can also be pointed at a store that
//! is in use, to see whether what calls itself an object store behaves like one.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{Kind, Store, StoreError};

/// The contract was broken.
#[derive(Debug, thiserror::Error)]
#[error("the store breaks its contract: {what}")]
pub struct Violation {
    what: String,
    #[source]
    source: Option<Box<StoreError>>,
}

type Verdict = Result<(), Violation>;

const FOLDER: &str = "conformance/";
/// In the order of a listing: by bytes, so the dash comes before the slash.
const FIXTURE: &[(&str, &[&[u8]])] = &[
    ("conformance/a", &[b"a"]),
    ("conformance/deep-er", &[b"between"]),
    ("conformance/deep/er/object", &[b"one ", b"", b"two ", b"three"]),
    ("conformance/empty", &[]),
    ("conformance/z.z_z-Z", &[b"0123456789"]),
];
const BAD_NAMES: &[&str] =
    &["", "/a", "a//b", "a/", "..", "a/../b", ".a", "a/.b", "a b", "a\0", "ä", "tmp/a"];

/// Checks all of it on a store that can be written.
pub async fn run(store: Arc<dyn Store>) -> Verdict {
    let before = store.list("").await.map_err(|error| failed("list everything", error))?;
    clean(&*store).await?;
    fill(&*store).await?;
    reads(&*store).await?;
    neighbours(&*store).await?;
    dates(&*store).await?;
    names(&*store).await?;
    writes(&*store).await?;
    large(&*store).await?;
    racing(&store).await?;
    clean(&*store).await?;
    let kept = before.into_iter().filter(|object| !object.name.starts_with(FOLDER)).collect::<Vec<_>>();
    expect("the listing after all was deleted", store.list("").await, kept)
}

/// Checks a store that can be added to and nothing else, as far as the contract goes there: what would change an object
/// is [`Kind::PermissionDenied`]. `keeper` is the same place with every right, to clean up.
pub async fn append_only(store: Arc<dyn Store>, keeper: &dyn Store) -> Verdict {
    clean(keeper).await?;
    fill(&*store).await?;
    // What is there stays, and to say it again is fine.
    for (name, _) in FIXTURE {
        expect("put again", store.put(name, vec![Bytes::from_static(b"something else")]).await, ())?;
    }
    reads_again(&*store).await?;
    reads(&*store).await?;
    names(&*store).await?;
    for (name, _) in FIXTURE {
        let bytes = vec![Bytes::from_static(b"something else")];
        refuse("replace", store.replace(name, bytes).await, Kind::PermissionDenied)?;
        refuse("delete", store.delete(name).await, Kind::PermissionDenied)?;
    }
    reads_again(&*store).await?;
    large(&*store).await?;
    race(&store, &["conformance/race/put"], false).await?;
    clean(keeper).await
}

/// Writes the objects that [`reads`] expects.
pub async fn fill(store: &dyn Store) -> Verdict {
    for (name, parts) in FIXTURE {
        expect(name, store.put(name, parts.iter().map(|part| Bytes::from_static(part)).collect()).await, ())?;
    }
    Ok(())
}

/// Removes every object of the suite.
pub async fn clean(store: &dyn Store) -> Verdict {
    for object in store.list(FOLDER).await.map_err(|error| failed("list", error))? {
        expect("delete", store.delete(&object.name).await, ())?;
    }
    expect("the listing of a folder that is gone", store.list(FOLDER).await, Vec::new())
}

/// Checks every way to read, on a store that [`fill`] has filled.
pub async fn reads(store: &dyn Store) -> Verdict {
    for (name, parts) in FIXTURE {
        let bytes = parts.concat();
        let size = bytes.len() as u64;
        expect("get", store.get(name, size).await, Bytes::from(bytes.clone()))?;
        expect("get with room", store.get(name, u64::MAX).await, Bytes::from(bytes.clone()))?;
        expect("the whole range", store.get_range(name, 0..size).await, Bytes::from(bytes.clone()))?;
        expect("the empty range at the end", store.get_range(name, size..size).await, Bytes::new())?;
        refuse("a range over the end", store.get_range(name, 0..size + 1).await, Kind::Truncated)?;
        refuse("a range beyond the end", store.get_range(name, size + 1..size + 1).await, Kind::Truncated)?;
        refuse("a far range", store.get_range(name, 0..u64::MAX).await, Kind::Truncated)?;
        expect("the whole tail", store.get_tail(name, u64::MAX).await, (Bytes::from(bytes.clone()), size))?;
        expect("an empty tail", store.get_tail(name, 0).await, (Bytes::new(), size))?;
        if let Some(smaller) = size.checked_sub(1) {
            refuse("get without room", store.get(name, smaller).await, Kind::TooLarge)?;
        }
        let info = store.stat(name).await.map_err(|error| failed("stat", error))?;
        ensure("stat names the object", info.name == *name)?;
        ensure("stat tells the size", info.size == size)?;
        let far = Duration::from_secs(365 * 24 * 60 * 60);
        let now = SystemTime::now();
        ensure("the time is near", info.modified > now - far && info.modified < now + far)?;
    }
    let digits = "conformance/z.z_z-Z";
    expect("a range", store.get_range(digits, 2..5).await, Bytes::from_static(b"234"))?;
    expect("a tail", store.get_tail(digits, 3).await, (Bytes::from_static(b"789"), 10))?;
    #[expect(clippy::reversed_empty_ranges)]
    refuse("a range that ends before it starts", store.get_range(digits, 5..2).await, Kind::Other)?;

    for absent in ["conformance/absent", "conformance/deep", "conformance/deep/er", "conformance/a/below"] {
        refuse(absent, store.get(absent, 10).await, Kind::NotFound)?;
        refuse(absent, store.get_range(absent, 0..1).await, Kind::NotFound)?;
        refuse(absent, store.get_tail(absent, 1).await, Kind::NotFound)?;
        refuse(absent, store.stat(absent).await, Kind::NotFound)?;
    }
    listings(store).await
}

async fn listings(store: &dyn Store) -> Verdict {
    let names = |prefix: &'static str| {
        FIXTURE.iter().map(|(name, _)| (*name).to_owned()).filter(move |name| name.starts_with(prefix))
    };
    for prefix in
        [FOLDER, "conformance/deep/", "conformance/deep/er/", "conformance/absent/", "conformance/a/"]
    {
        let listed = store.list(prefix).await.map_err(|error| failed("list", error))?;
        for object in &listed {
            expect("an entry of a listing", store.stat(&object.name).await, object.clone())?;
        }
        let listed = listed.into_iter().map(|object| object.name).collect::<Vec<_>>();
        ensure(&format!("the listing of {prefix} is {listed:?}"), listed.iter().cloned().eq(names(prefix)))?;
    }
    let everything = store.list("").await.map_err(|error| failed("list", error))?;
    ensure("a listing is sorted", everything.is_sorted_by(|a, b| a.name < b.name))?;
    let ours = everything.into_iter().map(|object| object.name).filter(|name| name.starts_with(FOLDER));
    ensure("the listing of everything has the fixture", ours.eq(names(FOLDER)))
}

/// Several lists at once are those that come one by one.
async fn neighbours(store: &dyn Store) -> Verdict {
    expect("no listing", store.list_each(&[]).await, Vec::new())?;
    let folders = ["conformance/deep/", "conformance/deeper/", "conformance/nothing/"];
    let mut single = Vec::new();
    for folder in folders {
        single.push(store.list(folder).await.map_err(|error| failed("list a folder", error))?);
    }
    expect("several listings at once", store.list_each(&folders).await, single)
}

/// A dated write is a write, and its date is neither before it nor after the store's own.
async fn dates(store: &dyn Store) -> Verdict {
    let name = "conformance/dated";
    let body = |text: &'static str| vec![Bytes::from_static(text.as_bytes())];
    let second = Duration::from_secs(1);
    for text in ["one", "two"] {
        let dated = store.replace_dated(name, body(text)).await;
        let dated = dated.map_err(|error| failed("replace with a date", error))?;
        let seen = store.stat(name).await.map_err(|error| failed("look up what was dated", error))?;
        ensure("a dated write is not told to be earlier than it was", dated + second >= seen.modified)?;
        expect(
            "what was written with a date",
            store.get(name, 10).await,
            Bytes::from_static(text.as_bytes()),
        )?;
    }
    store.put_dated(name, body("three")).await.map_err(|error| failed("put with a date", error))?;
    expect("what was there before", store.get(name, 10).await, Bytes::from_static(b"two"))?;
    store.delete(name).await.map_err(|error| failed("delete what was dated", error))
}

async fn names(store: &dyn Store) -> Verdict {
    for name in BAD_NAMES {
        let bytes = || vec![Bytes::from_static(b"bad")];
        refuse(name, store.put(name, bytes()).await, Kind::InvalidName)?;
        refuse(name, store.replace(name, bytes()).await, Kind::InvalidName)?;
        refuse(name, store.get(name, 10).await, Kind::InvalidName)?;
        refuse(name, store.get_range(name, 0..1).await, Kind::InvalidName)?;
        refuse(name, store.get_tail(name, 1).await, Kind::InvalidName)?;
        refuse(name, store.stat(name).await, Kind::InvalidName)?;
        refuse(name, store.delete(name).await, Kind::InvalidName)?;
    }
    for prefix in ["conformance", "/", "../", "tmp/", "a b/"] {
        refuse(prefix, store.list(prefix).await, Kind::InvalidName)?;
    }
    Ok(())
}

async fn writes(store: &dyn Store) -> Verdict {
    let name = "conformance/written";
    let bytes = |text: &'static str| vec![Bytes::from_static(text.as_bytes())];
    expect("put", store.put(name, bytes("first")).await, ())?;
    expect("put again", store.put(name, bytes("second")).await, ())?;
    expect("an object stays", store.get(name, 100).await, Bytes::from_static(b"first"))?;
    expect("replace", store.replace(name, bytes("2nd")).await, ())?;
    expect("an object replaced", store.get(name, 100).await, Bytes::from_static(b"2nd"))?;
    expect("put after replace", store.put(name, bytes("third")).await, ())?;
    expect("an object stays replaced", store.get(name, 100).await, Bytes::from_static(b"2nd"))?;
    expect("delete", store.delete(name).await, ())?;
    refuse("get after delete", store.get(name, 100).await, Kind::NotFound)?;
    expect("delete again", store.delete(name).await, ())?;
    expect("delete below nothing", store.delete("conformance/absent/absent").await, ())?;
    expect("replace of nothing", store.replace(name, bytes("new")).await, ())?;
    expect("an object by replace", store.get(name, 100).await, Bytes::from_static(b"new"))?;
    expect("delete a folder's name", store.delete("conformance/deep").await, ())?;
    expect(
        "the folder's object",
        store.stat("conformance/deep/er/object").await.map(|object| object.size),
        13,
    )?;
    for clash in ["conformance/deep", "conformance/a/below"] {
        // Where there are folders it is refused. An object store has none and takes the name; nothing else changes.
        let taken = store.put(clash, bytes("x")).await.is_ok();
        ensure(
            "both writes or none of a name that clashes",
            taken == store.replace(clash, bytes("x")).await.is_ok(),
        )?;
        if taken {
            expect("an object with a clashing name", store.get(clash, 1).await, Bytes::from_static(b"x"))?;
            expect("delete of a clashing name", store.delete(clash).await, ())?;
        }
    }
    reads_again(store).await
}

/// The fixture is as it was.
async fn reads_again(store: &dyn Store) -> Verdict {
    for (name, parts) in FIXTURE {
        expect("an untouched object", store.get(name, 100).await, Bytes::from(parts.concat()))?;
    }
    Ok(())
}

/// An object of 9 MB from thousands of parts.
async fn large(store: &dyn Store) -> Verdict {
    let name = "conformance/large";
    let part = |number: u32| Bytes::from(number.to_le_bytes().repeat(750));
    expect("put of many parts", store.put(name, (0..3000).map(part).collect()).await, ())?;
    expect("its size", store.stat(name).await.map(|object| object.size), 9_000_000)?;
    for number in [0_u32, 1, 1024, 2048, 2999] {
        let start = u64::from(number) * 3000;
        expect("one of many parts", store.get_range(name, start..start + 3000).await, part(number))?;
    }
    let (tail, _) = store.get_tail(name, 5000).await.map_err(|error| failed("tail", error))?;
    ensure("the end of many parts", tail[2000..] == part(2999))
}

/// Many writers and readers of one name: nobody sees a part of an object, or an error.
async fn racing(store: &Arc<dyn Store>) -> Verdict {
    race(store, &["conformance/race/put", "conformance/race/replace"], true).await
}

/// Writers and readers of `names`, all in one folder: the first is put and, if it `replaces`, the last replaced.
async fn race(store: &Arc<dyn Store>, names: &'static [&'static str], replaces: bool) -> Verdict {
    const LENGTH: u64 = 300_000;
    let bytes = |fill: u8| vec![Bytes::from(vec![fill; LENGTH as usize / 3]); 3];
    let mut tasks = JoinSet::new();
    for fill in 0..16_u8 {
        let store = store.clone();
        let parts = bytes(fill);
        tasks.spawn(async move {
            expect("a put that races", store.put("conformance/race/put", parts.clone()).await, ())?;
            if replaces {
                expect("a replace that races", store.replace("conformance/race/replace", parts).await, ())?;
            }
            for name in names {
                let seen = store.get(name, LENGTH).await.map_err(|error| failed("get in a race", error))?;
                ensure("an object is seen whole", seen.len() as u64 == LENGTH && is_uniform(&seen))?;
            }
            let listed = store.list("conformance/race/").await.map_err(|error| failed("list", error))?;
            let whole = listed.iter().all(|object| object.size == LENGTH);
            ensure(
                &format!("only whole objects are listed: {listed:?}"),
                whole && listed.len() == names.len(),
            )
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome
            .map_err(|error| Violation { what: format!("a racing task died: {error}"), source: None })??;
    }
    Ok(())
}

/// Checks that every write is refused, on a store that [`fill`] has filled from below.
pub async fn refuses_writes(store: &dyn Store) -> Verdict {
    let bytes = || vec![Bytes::from_static(b"x")];
    refuse("put", store.put("conformance/new", bytes()).await, Kind::ReadOnly)?;
    refuse("replace", store.replace("conformance/a", bytes()).await, Kind::ReadOnly)?;
    refuse("delete", store.delete("conformance/a").await, Kind::ReadOnly)?;
    refuse("nothing was written", store.stat("conformance/new").await, Kind::NotFound)?;
    reads_again(store).await
}

fn is_uniform(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| Some(byte) == bytes.first())
}

fn failed(what: &str, source: StoreError) -> Violation {
    Violation { what: format!("{what} failed"), source: Some(Box::new(source)) }
}

fn ensure(what: &str, holds: bool) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { what: format!("not so: {what}"), source: None }) }
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read as sentences")]
fn expect<T: PartialEq + Debug>(what: &str, outcome: Result<T, StoreError>, expected: T) -> Verdict {
    let found = outcome.map_err(|error| failed(what, error))?;
    if found == expected {
        return Ok(());
    }
    let what = format!("{what} gave {}, expected {}", shorten(&found), shorten(&expected));
    Err(Violation { what, source: None })
}

fn refuse<T: Debug>(what: &str, outcome: Result<T, StoreError>, kind: Kind) -> Verdict {
    match outcome {
        Err(error) if error.kind == kind => Ok(()),
        Err(error) => {
            let what = format!("{what:?} failed with {:?}, expected {kind:?}", error.kind);
            Err(Violation { what, source: Some(Box::new(error)) })
        }
        Ok(found) => {
            let what = format!("{what:?} gave {}, expected {kind:?}", shorten(&found));
            Err(Violation { what, source: None })
        }
    }
}

fn shorten(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.chars().take(200).collect()
}
