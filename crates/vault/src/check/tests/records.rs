use super::*;
use crate::damage;

#[tokio::test]
async fn a_damaged_damage_record_is_found() {
    let sample = Sample::new().await;
    let pack = damage::DamagedPack { pack: PackId::new([1; 16]), object: sample.packs[0].hash };
    damage::record(sample.store.as_ref(), VAULT, &[pack]).await.unwrap();
    assert_eq!(sample.found(ReadPacks::None).await, []);
    let record = sample.store.list(name::DAMAGE).await.unwrap().remove(0).name;
    sample.change(&record, |bytes| bytes[40] ^= 1).await;
    assert_eq!(sample.found(ReadPacks::None).await, [broken(record)]);
}

#[tokio::test]
async fn names_of_the_custodian_s_objects_are_known() {
    let sample = Sample::new().await;
    let hash = "ab".repeat(32);
    let garbage = || vec![Bytes::from_static(b"?")];
    for folder in [name::VERIFIED, name::ABILITIES, name::LOCKS] {
        sample.store.put(&format!("{folder}{hash}"), garbage()).await.unwrap();
    }
    let lease = format!("{}{}", name::LEASES, "ab".repeat(16));
    sample.store.put(&lease, garbage()).await.unwrap();
    assert_eq!(sample.found(ReadPacks::None).await, []);
    for folder in [name::CONDEMNED, name::RELOCATIONS] {
        let name = format!("{folder}{hash}");
        sample.store.put(&name, garbage()).await.unwrap();
        assert_eq!(sample.found(ReadPacks::None).await, [broken(name.clone())]);
        sample.store.delete(&name).await.unwrap();
    }
}

#[tokio::test]
async fn marks_pins_and_settings_are_read_and_a_mark_explains_a_gap() {
    let sample = Sample::new().await;
    let mark = crate::trash::Mark {
        nonce: [1; 16],
        snapshot: sample.snapshots[0],
        system: SystemId::new([2; 16]),
        sequence: 0,
        previous: ObjectHash::default(),
        written: 0,
        reason: "named".to_owned(),
    };
    let store = sample.store.as_ref();
    let until = crate::pins::Until::Unpinned;
    let pin = crate::pins::Pin { nonce: [1; 16], snapshot: sample.snapshots[1], until, written: 0 };
    let settings = crate::settings::Settings {
        sequence: 1,
        previous: ObjectHash::default(),
        delete_delay: 1,
        extensions: Vec::new(),
    };
    let unsigned = settings.encode_unsigned(VAULT, &verifying(&sample.key));
    let signed = sign(&sample.key, crate::settings::SIGNING_CONTEXT, unsigned);
    let names = [
        crate::trash::forget(store, VAULT, &mark).await.unwrap(),
        crate::pins::pin(store, VAULT, &pin).await.unwrap(),
        crate::settings::write(store, signed.to_vec()).await.unwrap(),
    ];
    store.delete(&sample.snapshots[0].snapshot_name()).await.unwrap();
    assert_eq!(sample.found(ReadPacks::None).await, [], "the gap is explained");
    for name in &names {
        sample.change(name, |bytes| bytes[30] ^= 1).await;
    }
    let found = sample.found(ReadPacks::None).await;
    for name in names {
        assert!(found.contains(&broken(&name)), "{name}: {found:?}");
    }
    assert!(found.contains(&broken(sample.snapshots[1].snapshot_name())), "the gap shows again");
}
