use super::*;

fn parcel(id: &str, seal: &str) -> Parcel {
    Parcel {
        id: id.to_owned(),
        payload: format!("payload of {id}").into(),
        lane: "deployment".to_owned(),
        once: Some((seal.to_owned(), Duration::from_mins(10))),
        copy_to: None,
    }
}

#[test]
fn what_was_written_is_there_after_a_restart_in_its_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1 << 20).unwrap();
    for id in ["b", "a", "c"] {
        assert_eq!(spool.write(parcel(id, id)).unwrap(), Sent::Queued);
    }
    for again in [parcel("a", "other"), parcel("other", "a")] {
        assert_eq!(spool.write(again).unwrap(), Sent::Duplicate("spooled".into()));
    }
    assert!(Spool::open(folder.path(), 1).is_err(), "two gateways in one folder");
    drop(spool);
    fs::write(folder.path().join("00000000000000000009.part"), "half").unwrap();
    let spool = Spool::open(folder.path(), 1 << 20).unwrap();
    assert_eq!(spool.waiting().0, 3);
    let in_order = std::iter::from_fn(|| {
        let n = spool.oldest()?;
        let parcel = read(&spool.path(n, "json")).unwrap().into_parcel();
        spool.forget(n);
        Some(parcel)
    });
    let in_order: Vec<_> = in_order.collect();
    assert_eq!(in_order, [parcel("b", "b"), parcel("a", "a"), parcel("c", "c")]);
    assert_eq!(spool.waiting(), (0, 0));
}

#[test]
fn a_full_spool_refuses_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 150).unwrap();
    spool.write(parcel("a", "a")).unwrap();
    let error = spool.write(parcel("b", "b")).unwrap_err();
    assert!(error.to_string().starts_with("the spool is full: "), "{error}");
    spool.forget(0);
    spool.write(parcel("b", "b")).unwrap();
}

#[tokio::test]
async fn the_same_bytes_are_another_delivery_once_their_time_has_passed() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1 << 20).unwrap();
    assert_eq!(spool.put(parcel("a", "seal")).await.unwrap(), Sent::Queued);
    assert_eq!(
        spool.put(parcel("b", "seal")).await.unwrap(),
        Sent::Duplicate("spooled".to_owned())
    );
    let mut old = read(&spool.path(0, "json")).unwrap();
    old.at -= 599_000;
    assert_eq!(old.names()[0].1, Some(old.at + 600_000));
    let left = old.into_parcel().once.unwrap().1;
    assert!(left <= Duration::from_secs(1), "{left:?}");
    let mut old = read(&spool.path(0, "json")).unwrap();
    old.at -= 600_000;
    spool
        .held()
        .known
        .insert("seal seal".to_owned(), (0, Some(old.at + 600_000)));
    assert_eq!(old.into_parcel().once, None);
    assert_eq!(spool.put(parcel("b", "seal")).await.unwrap(), Sent::Queued);
    assert_eq!(
        spool.put(parcel("b", "other")).await.unwrap(),
        Sent::Duplicate("spooled".to_owned()),
        "by its id"
    );
}

#[tokio::test]
async fn nothing_is_written_over_what_was_put_aside_or_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["00000000000000000007.refused", "00000000000000000004.json"] {
        fs::write(file(name), "broken").unwrap();
    }
    for odd in ["5.json", "18446744073709551615.json", "notes.txt"] {
        fs::write(file(odd), "somebody else's").unwrap();
    }
    fs::create_dir(file("00000000000000000009.part")).unwrap();
    let spool = Spool::open(folder.path(), 1 << 20).unwrap();
    assert_eq!(spool.waiting(), (0, 0));
    assert_eq!(spool.put(parcel("a", "seal")).await.unwrap(), Sent::Queued);
    assert!(file("00000000000000000008.json").exists());
    assert_eq!(
        fs::read_to_string(file("00000000000000000007.refused")).unwrap(),
        "broken"
    );
    spool.put_aside(8, &"never fits");
    let held = spool.held();
    let gauges = [&held.gauges.waiting, &held.gauges.bytes, &held.gauges.refused];
    assert_eq!(gauges.map(Gauge::get), [0, 0, 2]); // Those that could not be read are gone from it: they were counted at the start.
}
