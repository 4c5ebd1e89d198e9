//! Reads return what was put, and a batch does what its operations state.

use portcullis::store::{Batch, Index, Kind, Lookup, Lookups, Revision, Store};
use portcullis::{Id, OrgId, UserId};

use crate::access::{
    ALL, Refusal, assert_absent, assert_exists, commit, get, get_by_key, list, list_ids, refused,
    shown,
};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;
use crate::model::{Model, Universe};

/// No lookup or list of an empty store finds anything.
pub async fn nothing_is_found_where_nothing_was_put(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for kind in Kind::ALL {
        for id in [0, 1, 1 << 63, u64::MAX] {
            assert!(get(store, kind, Id::from_u64(id)).await.is_none());
            for index in [
                Index::All(kind),
                Index::Org(kind, OrgId::from_u64(id)),
                Index::User(kind, UserId::from_u64(id)),
                Index::Grant(kind, fixtures::grant(id % 100)),
            ] {
                assert_eq!(list(store, index, ALL).await, [], "{index:?}");
            }
        }
    }
    find_no_odd_text(store).await;
}

/// A text that no record has as its unique key finds nothing: the empty text, one over the bound, or
/// one with a meaning in the store's query language.
pub async fn texts_that_are_no_key_find_nothing(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let there: Vec<_> = (1..)
        .zip(Kind::ALL)
        .map(|(id, kind)| Sample::of(kind, id).with_key("tele'graf%_"))
        .collect();
    commit(store, there.iter().map(Sample::create)).await;
    find_no_odd_text(store).await;
    for sample in &there {
        assert_exists(store, sample).await;
    }
}

async fn find_no_odd_text(store: &dyn Store) {
    for kind in Kind::ALL {
        for text in fixtures::odd_texts() {
            let found = store.get(Lookup::UniqueKey(kind, &text)).await;
            let found = found.unwrap_or_else(|error| panic!("{}: {error:?}", shown(&text)));
            assert!(found.is_none(), "{kind} {} finds {found:?}", shown(&text));
        }
    }
}

/// Many lookups find what each of them finds, in their order: also what is not there, what is looked up
/// twice, odd texts, and none at all.
pub async fn many_lookups_find_what_each_finds(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for kind in Kind::ALL {
        let there: Vec<_> = (10..40).map(|id| Sample::of(kind, id)).collect();
        commit(store, there.iter().map(Sample::create)).await;
        let ids = [0, 39, 10, 41, 10, u64::MAX, 17, 9].map(Id::from_u64);
        let odd = fixtures::odd_texts();
        let mut keys: Vec<&str> = odd.iter().map(String::as_str).collect();
        keys.extend([&*there[29].key, "none", &*there[0].key, &*there[0].key]);
        for lookups in [
            Lookups::Ids(kind, &ids),
            Lookups::Ids(kind, &[]),
            Lookups::UniqueKeys(kind, &keys),
            Lookups::UniqueKeys(kind, &[]),
        ] {
            let found = store.get_many(lookups).await.expect("get many");
            let mut each = Vec::new();
            for lookup in lookups.iter() {
                each.push(store.get(lookup).await.expect("get"));
            }
            assert_eq!(found, each, "{lookups:?}");
        }
        let found = store.get_many(Lookups::Ids(kind, &ids)).await.expect("get many");
        let found: Vec<_> = found.iter().map(|it| it.as_ref().map(|it| it.id.as_u64())).collect();
        assert_eq!(found, [None, Some(39), Some(10), None, Some(10), None, Some(17), None]);
    }
}

/// Records of every kind, with every combination of the optional fields, are read as they were put.
pub async fn a_record_comes_back_as_it_was_put(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let mut samples = Vec::new();
    for kind in Kind::ALL {
        for combination in 0..16 {
            let mut sample = Sample::of(kind, 100 + combination);
            if combination & 1 != 0 {
                sample = sample.in_org(u64::MAX - combination);
            }
            if combination & 2 != 0 {
                sample = sample.of_user(combination);
            }
            if combination & 4 != 0 {
                sample = sample.inactive();
            }
            if combination & 8 != 0 {
                sample = sample.granting((0..combination).map(fixtures::grant));
            }
            commit(store, [sample.create()]).await;
            assert_exists(store, &sample).await;
            samples.push(sample);
        }
    }
    for sample in &samples {
        assert_exists(store, sample).await;
    }
    for kind in Kind::ALL {
        let of_kind = samples.iter().filter(|sample| sample.kind == kind);
        let expected: Vec<_> = of_kind.map(Sample::record).collect();
        let listed = list(store, Index::All(kind), ALL).await;
        assert!(listed == expected, "{kind}: {listed:?}");
    }
}

/// Ids of records, orgs and users have 64 bits and no sign.
pub async fn ids_have_64_bits_and_no_sign(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let ids = [
        1,
        (1 << 31) - 1,
        1 << 31,
        1 << 32,
        1 << 53,
        (1 << 53) + 1,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    let samples = ids.map(|id| Sample::authorization(id).in_org(id).of_user(id));
    // Not in the order in which they are listed.
    commit(store, samples.iter().rev().map(Sample::create)).await;
    for sample in &samples {
        assert_exists(store, sample).await;
        let kind = sample.kind;
        for index in [
            Index::Org(kind, sample.org.expect("an org")),
            Index::User(kind, sample.user.expect("a user")),
        ] {
            let listed = list_ids(store, index, ALL).await;
            assert_eq!(listed, [sample.id.as_u64()], "{index:?}");
        }
    }
    let listed = list_ids(store, Index::All(Kind::Authorization), ALL).await;
    assert_eq!(listed, ids);
}

/// Revisions have 128 bits and no sign, and every bit is compared.
pub async fn revisions_have_128_bits(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let revisions =
        [0, 1, 1 << 63, u128::from(u64::MAX), 1 << 64, 1 << 127, (1 << 127) + 1, u128::MAX]
            .map(Revision::from_u128);
    let sample = Sample::user(1);
    let put = |revision, expect| {
        let mut record = sample.record();
        record.revision = revision;
        let grants = Vec::new();
        portcullis::store::Operation::Put { record, grants, expect }
    };
    commit(store, [put(revisions[0], portcullis::store::Expect::Absent)]).await;
    for (test, now) in revisions.iter().enumerate() {
        let there = get(store, sample.kind, sample.id).await.expect("it");
        assert_eq!(there.revision, *now);
        for other in revisions {
            if other != *now {
                let replace = put(other, portcullis::store::Expect::Revision(other));
                refused(store, [replace], Refusal::conflict(&sample)).await;
            }
        }
        if let Some(next) = revisions.get(test + 1) {
            let replace = put(*next, portcullis::store::Expect::Revision(*now));
            commit(store, [replace]).await;
        }
    }
}

/// Bodies are returned byte by byte, for all JSON.
pub async fn bodies_come_back_byte_by_byte(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let bodies = [
        "{}".into(),
        " { } \r\n\t".into(),
        r#"{"b":1,"a":2,"b":3}"#.into(),
        r#"{"n":[1.0,1e2,-0,1E400,123456789012345678901234567890,0.1000]}"#.into(),
        r#"{"nul":"\u0000","pair":"\ud83d\ude00","lone":"\ud83d","slash":"\/"}"#.into(),
        "{\"text\":\"\u{e9} e\u{301} \u{feff} \u{2028} \u{1f469}\u{1f3fd} \u{10ffff} \u{5e9}\"}"
            .into(),
        r#"{"quotes":"' '' \" `","percent":"%s %_","sql":"'; DROP TABLE records; --"}"#.into(),
        format!("{}{}", "[".repeat(100), "]".repeat(100)),
        format!(r#"{{"big":"{}"}}"#, "0123456789abcdef".repeat(65_536)),
    ];
    let bodies: [String; 9] = bodies;
    for (id, body) in (1..).zip(&bodies) {
        let sample = Sample::authorization(id).with_body(body.as_str());
        commit(store, [sample.create()]).await;
        assert_exists(store, &sample).await;
    }
    // And as replacements of one another.
    let mut now = Sample::authorization(1).with_body(bodies[0].as_str());
    for body in bodies.iter().rev() {
        let next = now.revised().with_body(body.as_str());
        commit(store, [next.replace(&now)]).await;
        assert_exists(store, &next).await;
        now = next;
    }
    let listed = list(store, Index::All(Kind::Authorization), ALL).await;
    for record in listed.iter().skip(1) {
        let body = &bodies[usize::try_from(record.id.as_u64() - 1).expect("an id")];
        assert!(*record.body == **body, "listed: {}", shown(&record.body));
    }
}

/// A put replaces all fields of the record whose revision it expects.
pub async fn a_put_replaces_what_it_expects(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for kind in Kind::ALL {
        let first = Sample::of(kind, 5).in_org(1).of_user(1);
        let second = first
            .revised()
            .with_key("another")
            .in_org(2)
            .of_user(2)
            .inactive()
            .with_body(r#"{"v":1,"n":2}"#)
            .granting([fixtures::grant(1)]);
        let mut third = second.revised();
        (third.org, third.user) = (None, None);
        commit(store, [first.create()]).await;
        commit(store, [second.replace(&first)]).await;
        assert_exists(store, &second).await;
        commit(store, [third.replace(&second)]).await;
        assert_exists(store, &third).await;
    }
}

/// A put that expects a revision is a conflict when the record has another one.
pub async fn a_put_in_place_of_another_revision_is_a_conflict(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let first = Sample::user(5);
    let second = first.revised();
    let third = second.revised();
    commit(store, [first.create()]).await;
    commit(store, [second.replace(&first)]).await;
    refused(store, [third.replace(&first)], Refusal::conflict(&third)).await;
    refused(store, [second.replace(&first)], Refusal::conflict(&second)).await;
    refused(store, [third.replace(&third)], Refusal::conflict(&third)).await;
    assert_exists(store, &second).await;
    // A record that was deleted and created again has another revision as well.
    let again = third.revised();
    commit(store, [second.delete()]).await;
    commit(store, [again.create()]).await;
    refused(store, [third.replace(&second)], Refusal::conflict(&third)).await;
    assert_exists(store, &again).await;
}

/// A put that expects a revision is refused if no record has the id.
pub async fn a_put_in_place_of_nothing_is_missing(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let never = Sample::bucket(5);
    refused(store, [never.revised().replace(&never)], Refusal::missing(&never)).await;
    assert_absent(store, &never).await;
    // A record of another kind does not count.
    let other = Sample::user(5);
    commit(store, [other.create()]).await;
    refused(store, [never.revised().replace(&other)], Refusal::missing(&never)).await;
    commit(store, [other.delete()]).await;
    refused(store, [other.revised().replace(&other)], Refusal::missing(&other)).await;
    assert_absent(store, &other).await;
}

/// A delete removes the record, its unique key and its index entries, and no others.
pub async fn a_delete_leaves_nothing_behind(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let full = |kind, id| {
        let grants = [fixtures::grant(1), fixtures::grant(2)];
        Sample::of(kind, id).in_org(1).of_user(2).granting(grants)
    };
    let mut samples: Vec<_> = Kind::ALL
        .into_iter()
        .flat_map(|kind| [full(kind, 1), full(kind, 2), full(kind, 3)])
        .collect();
    let universe = Universe::of(&samples);
    let mut model = Model::default();
    let create: Vec<_> = samples.iter().map(Sample::create).collect();
    model.commit(&create).expect("a valid batch");
    commit(store, create).await;
    while let Some(sample) = samples.pop() {
        model.commit(&[sample.delete()]).expect("a good batch");
        commit(store, [sample.delete()]).await;
        assert_absent(store, &sample).await;
        let view = universe.read(store).await;
        view.assert_same(&universe.expect(&model), "after a delete");
    }
    for kind in Kind::ALL {
        // Ids and keys of deleted records, in other combinations.
        let again = Sample::of(kind, 1).with_key(full(kind, 2).key);
        let new = Sample::of(kind, 4).with_key(full(kind, 3).key);
        commit(store, [again.create(), new.create()]).await;
        assert_exists(store, &again).await;
        assert_exists(store, &new).await;
    }
}

/// A delete that expects another revision is a conflict.
pub async fn a_delete_of_another_revision_is_a_conflict(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let first = Sample::api_token(5);
    let second = first.revised();
    commit(store, [first.create()]).await;
    refused(store, [second.delete()], Refusal::conflict(&first)).await;
    commit(store, [second.replace(&first)]).await;
    refused(store, [first.delete()], Refusal::conflict(&first)).await;
    assert_exists(store, &second).await;
    commit(store, [second.delete()]).await;
    assert_absent(store, &second).await;
}

/// A delete is refused if no record has the id.
pub async fn a_delete_of_nothing_is_missing(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let never = Sample::org(5);
    refused(store, [never.delete()], Refusal::missing(&never)).await;
    let other = Sample::user(5);
    commit(store, [other.create()]).await;
    refused(store, [never.delete()], Refusal::missing(&never)).await;
    commit(store, [other.delete()]).await;
    refused(store, [other.delete()], Refusal::missing(&other)).await;
}

/// A requirement is met by a record with the kind and id, whatever its revision and status.
pub async fn a_requirement_is_met_by_what_is_there(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for kind in Kind::ALL {
        let sample = Sample::of(kind, 5).inactive();
        let dependant = Sample::of(kind, 6);
        let batch = [sample.require(), dependant.create()];
        refused(store, batch.clone(), Refusal::missing(&sample)).await;
        assert_absent(store, &dependant).await;
        commit(store, [sample.create()]).await;
        commit(store, batch).await;
        assert_exists(store, &dependant).await;
        commit(store, [sample.delete()]).await;
        refused(store, [sample.require()], Refusal::missing(&sample)).await;
    }
}

/// A batch without operations, or only with requirements, changes nothing.
pub async fn an_empty_batch_changes_nothing(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    store.commit(Batch::new()).await.expect("an empty batch");
    let sample = Sample::user(1);
    commit(store, [sample.create()]).await;
    store.commit(Batch::new()).await.expect("an empty batch");
    commit(store, [sample.require(), sample.require()]).await;
    assert_exists(store, &sample).await;
    assert_eq!(list_ids(store, Index::All(Kind::User), ALL).await, [1]);
    assert!(get_by_key(store, Kind::User, "").await.is_none());
}
