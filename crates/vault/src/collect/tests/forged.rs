//! What a thief stores takes nothing away.

use super::*;

/// What somebody who may only add can do: an object that says it holds another one's segments, and a fragment.
async fn forge(toy: &mut Toy, pack: PackId, segments: &[u32]) -> ObjectHash {
    let id = PackId::new(toy.random());
    let mut forged = PackAssembler::new(PackKind::Data, VAULT, id);
    let (envelope, directory) = (Bytes::from_static(b"envelope"), Bytes::from_static(b"directory"));
    forged.begin_origin(crate::pack::Origin { pack, epoch: 0, envelope, directory, generation: 0 });
    for number in segments {
        let junk = Bytes::from(vec![0x66; SEGMENT / 10]);
        forged.push_moved(*number, *blake3::hash(&junk).as_bytes(), junk);
    }
    let finished = forged.finish_moved();
    let record = PackRecord::from(&finished);
    toy.store.put(&finished.hash.pack_name(), finished.parts).await.unwrap();
    let fragment = fragment::encode(VAULT, &[record]);
    toy.store.put(&ObjectHash::of(&fragment).index_name(), vec![fragment]).await.unwrap();
    finished.hash
}

#[tokio::test]
async fn a_forged_copy_replaces_nothing() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    let part = toy.commit(&[(a, &[3, 4])]).await;
    let forged = forge(&mut toy, a.0, &[3, 4]).await;
    for _ in 0..3 {
        toy.clean().await;
        assert!(toy.is_whole(part).await);
    }
    assert!(!toy.packs().await.contains(&forged), "nobody needs it");
    let holders = Holders::moved(toy.store.as_ref(), VAULT).await.unwrap();
    assert!(holders.named_for(a.0).all(|object| object != forged));
}

#[tokio::test]
async fn a_copy_is_proved_before_the_original_goes() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    let part = toy.commit(&[(a, &[3, 4])]).await;
    // Somebody got a false relocation in.
    let forged = forge(&mut toy, a.0, &[3, 4]).await;
    let moved = Moved { pack: a.0, object: forged, segments: [3, 4].into_iter().collect() };
    let record = relocation::encode(VAULT, toy.random(), &[moved]);
    records::write(toy.store.as_ref(), name::RELOCATIONS, record).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..4 {
        told.extend(toy.clean().await.not_understood);
        assert!(toy.packs().await.contains(&a.1) && toy.is_whole(part).await);
    }
    assert!(told.iter().any(|(name, _)| *name == forged.pack_name()), "{told:?}");
}

#[tokio::test]
async fn a_forged_snapshot_takes_nothing_away() {
    let mut toy = Toy::new();
    let (a, b) = (toy.pack(10).await, toy.pack(10).await);
    let part = toy.commit(&[(a, &[3, 4]), (b, &[0])]).await;
    // Of one of the two packs there is a copy already, made by a collector.
    toy.try_clean(|options| options.max_move = Some(SEGMENT as u64 + 500)).await.unwrap();
    assert!(toy.packs().await.contains(&a.1) && !toy.packs().await.contains(&b.1));
    // A thief with an agent's keys signs a snapshot that needs its own objects for both.
    for (pack, segments) in [(a.0, &[3, 4][..]), (b.0, &[0])] {
        let forged = forge(&mut toy, pack, segments).await;
        toy.commit(&[((pack, forged), segments)]).await;
    }
    for _ in 0..4 {
        toy.clean().await;
        assert!(toy.is_whole(part).await);
        let holders = Holders::read(toy.store.as_ref(), VAULT).await.unwrap();
        let bytes = toy.store.get(&part.snapshot_name(), 1 << 20).await.unwrap();
        for need in &snapshot::decode(&bytes, part, VAULT).unwrap().envelope.needs {
            let object = holders.find(need.pack, need.object, &need.segments).unwrap();
            let bytes = toy.store.get(&object.pack_name(), 1 << 30).await.unwrap();
            let trailer = verify_whole(&bytes, object, VAULT).unwrap();
            let number = need.segments.iter().next().unwrap();
            let length = trailer.row(need.pack, number).unwrap().length as usize;
            assert_eq!(length, SEGMENT, "the true one, and not the forged one");
        }
    }
}
