use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use ed25519_dalek::SigningKey;

use super::*;
use crate::check::tests::{Sample, a_pack, a_snapshot, need};

/// Notes what was settled, and does on the way what a thief does whose upload comes to its end just then.
#[derive(Debug, Default)]
struct Settling(Mutex<Vec<String>>);

#[async_trait]
impl Settle for Settling {
    async fn settle(&self, name: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(name.to_owned());
        Ok(())
    }
}

/// Every grant ended long ago.
fn terms() -> Terms {
    Terms { grants_end: SystemTime::UNIX_EPOCH, settle: None, confirmed: HashSet::new() }
}

async fn run(sample: &Sample, snapshot: ObjectHash) -> Outcome {
    confirm(&sample.store, snapshot, &terms()).await.unwrap()
}

/// Names of what is wrong, and what is said of it.
#[track_caller]
fn refused(outcome: Outcome) -> Vec<(String, String)> {
    let Outcome::Refused { findings } = outcome else { panic!("not refused: {outcome:?}") };
    findings.into_iter().map(|finding| (finding.object, finding.message)).collect()
}

#[tokio::test]
async fn a_whole_snapshot_is_confirmed_with_all_it_needs() {
    let sample = Sample::new().await;
    let before = sample.store.list("").await.unwrap();
    let id = sample.snapshots[1];
    let Outcome::Confirmed { objects, bytes_read } = run(&sample, id).await else { panic!("refused") };
    let mut expected: Vec<_> = sample.packs.iter().map(|pack| (pack.hash.pack_name(), pack.size)).collect();
    expected.push((id.snapshot_name(), sample.store.stat(&id.snapshot_name()).await.unwrap().size));
    expected.sort();
    assert_eq!(bytes_read, expected.iter().map(|(_, size)| size).sum::<u64>());
    assert!(objects.iter().all(|object| object.is_read_whole));
    let objects: Vec<_> = objects.into_iter().map(|object| (object.name, object.size)).collect();
    assert_eq!(objects, expected);
    assert_eq!(sample.store.list("").await.unwrap(), before, "and nothing was changed");
}

#[tokio::test]
async fn nothing_is_confirmed_while_a_grant_may_be_good() {
    let sample = Sample::new().await;
    sample.store.delete(&sample.packs[0].hash.pack_name()).await.unwrap();
    let terms = Terms { grants_end: SystemTime::now() + Duration::from_secs(60), ..terms() };
    let outcome = confirm(&sample.store, sample.snapshots[0], &terms).await.unwrap();
    let Outcome::TooEarly { now } = outcome else { panic!("{outcome:?}") };
    assert!(now < terms.grants_end);
}

#[tokio::test]
async fn every_flip_truncation_and_swap_of_what_is_needed_is_found() {
    let whole = Sample::new().await;
    let id = whole.snapshots[1];
    for name in [whole.packs[0].hash.pack_name(), whole.packs[1].hash.pack_name(), id.snapshot_name()] {
        let size = whole.store.stat(&name).await.unwrap().size;
        for at in [0, 10, size / 3, size - 40, size - 1] {
            let sample = Sample::new().await;
            sample.change(&name, |bytes| bytes[at as usize] ^= 8).await;
            let found = refused(run(&sample, id).await);
            assert!(matches!(&found[..], [(object, _)] if *object == name), "byte {at} of {name}: {found:?}");
        }
        for length in [0, 7, size / 2, size - 1] {
            let sample = Sample::new().await;
            sample.change(&name, |bytes| bytes.truncate(length as usize)).await;
            let found = refused(run(&sample, id).await);
            assert!(matches!(&found[..], [(object, _)] if *object == name), "{length} of {name}: {found:?}");
        }
        // Another whole pack of this vault, signed and sealed as it should be.
        let sample = Sample::new().await;
        sample.store.replace(&name, a_pack(9).parts).await.unwrap();
        let found = refused(run(&sample, id).await);
        assert!(matches!(&found[..], [(object, _)] if *object == name), "{name}: {found:?}");
        let sample = Sample::new().await;
        sample.store.delete(&name).await.unwrap();
        assert_eq!(refused(run(&sample, id).await), [(name, "it is missing".to_owned())]);
    }
}

#[tokio::test]
async fn everything_that_is_wrong_is_named() {
    let sample = Sample::new().await;
    let names: Vec<_> = sample.packs.iter().map(|pack| pack.hash.pack_name()).collect();
    sample.change(&names[0], |bytes| bytes[5000] ^= 1).await;
    sample.store.delete(&names[1]).await.unwrap();
    let mut found: Vec<_> =
        refused(run(&sample, sample.snapshots[1]).await).into_iter().map(|found| found.0).collect();
    let mut expected = names.clone();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    // Another snapshot needs the first alone.
    assert_eq!(refused(run(&sample, sample.snapshots[0]).await).len(), 1);
}

#[tokio::test]
async fn a_segment_that_no_pack_has_is_found() {
    let mut sample = Sample::new().await;
    let needs = vec![need(&sample.packs[0], 1, &[2, 6]), need(&sample.packs[1], 2, &[0])];
    let id = sample.commit(2, needs).await;
    let found = refused(run(&sample, id).await);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, sample.packs[0].hash.pack_name());
    assert!(found[0].1.starts_with("segment 6 of pack"), "{found:?}");
    // The right numbers of a pack that is not in the object.
    let id = sample.commit(3, vec![need(&sample.packs[0], 2, &[0])]).await;
    assert_eq!(refused(run(&sample, id).await).len(), 1);
}

#[tokio::test]
async fn a_snapshot_that_somebody_else_signed_is_refused() {
    let sample = Sample::new().await;
    let bytes = a_snapshot(&SigningKey::from_bytes(&[6; 32]), 2, sample.snapshots[1], Vec::new());
    let id = ObjectHash::of(&bytes);
    sample.store.put(&id.snapshot_name(), vec![bytes]).await.unwrap();
    assert_eq!(refused(run(&sample, id).await), [(id.snapshot_name(), Damage::Signature.to_string())]);
}

#[tokio::test]
async fn what_was_confirmed_before_is_looked_at_and_not_read_again() {
    let sample = Sample::new().await;
    let settling = Arc::new(Settling::default());
    let old = sample.packs[0].hash;
    let terms = Terms { settle: Some(settling.clone()), confirmed: HashSet::from([old]), ..terms() };
    let id = sample.snapshots[1];
    let confirmed = confirm(&sample.store, id, &terms).await.unwrap();
    let Outcome::Confirmed { objects, bytes_read } = confirmed else { panic!("{confirmed:?}") };
    assert!(bytes_read < sample.packs[1].size + 4096, "{bytes_read}");
    for object in objects {
        assert_eq!(object.is_read_whole, object.name != old.pack_name(), "{object:?}");
    }
    let mut settled = settling.0.lock().unwrap().clone();
    settled.sort();
    let mut expected = [sample.packs[1].hash.pack_name(), id.snapshot_name()];
    expected.sort();
    assert_eq!(settled, expected, "what nobody can write any more needs no settling");
    sample.change(&old.pack_name(), |bytes| bytes.truncate(1 << 20)).await;
    assert_eq!(refused(confirm(&sample.store, id, &terms).await.unwrap())[0].0, old.pack_name());
}

#[tokio::test]
async fn an_upload_that_ends_before_it_is_settled_is_found() {
    /// The last moment at which a write can take effect.
    #[derive(Debug)]
    struct LastMoment(Arc<dyn Store>, String);

    #[async_trait]
    impl Settle for LastMoment {
        async fn settle(&self, name: &str) -> Result<(), StoreError> {
            if name == self.1 {
                self.0.replace(name, vec![Bytes::from_static(b"swapped")]).await
            } else {
                Ok(())
            }
        }
    }
    let sample = Sample::new().await;
    let pack = sample.packs[1].hash.pack_name();
    let settle: Arc<dyn Settle> = Arc::new(LastMoment(sample.store.clone(), pack.clone()));
    let terms = Terms { settle: Some(settle), ..terms() };
    let found = refused(confirm(&sample.store, sample.snapshots[1], &terms).await.unwrap());
    assert!(matches!(&found[..], [(object, _)] if *object == pack), "{found:?}");
}

#[tokio::test]
async fn a_failing_store_and_a_missing_vault_are_errors() {
    use store::{Fault, Faulty, MemoryStore, Operation, Rule, When};
    let sample = Sample::new().await;
    let name = sample.packs[0].hash.pack_name();
    for operation in [Operation::Stat, Operation::GetTail, Operation::GetRange] {
        let rule = Rule::new(When::Always, Fault::Error(Kind::Unavailable)).on(operation).under(&name);
        let store: Arc<dyn Store> = Arc::new(Faulty::new(sample.store.clone(), 1, vec![rule]));
        let outcome = confirm(&store, sample.snapshots[0], &terms()).await;
        assert!(matches!(outcome, Err(VaultError::Store(_))), "{outcome:?}");
    }
    let empty: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let outcome = confirm(&empty, sample.snapshots[0], &terms()).await;
    assert!(matches!(outcome, Err(VaultError::NoVault { .. })), "{outcome:?}");
}
