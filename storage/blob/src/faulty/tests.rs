//! Each strike does what it says and no more.

use std::sync::Arc;
use std::time::Duration;

use time_and_chance::{Clock, ManualClock, Timestamp};

use super::*;
use crate::{MemoryStore, contract};

const FULL: BlobErrorKind = BlobErrorKind::Full;

fn faulty() -> (Arc<MemoryStore>, Arc<ManualClock>, Faulty) {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let inner = Arc::new(MemoryStore::new(clock.clone()));
    let store = Faulty::new(inner.clone(), clock.clone(), StopSignal::new());
    (inner, clock, store)
}

fn put(store: &dyn BlobStore, name: &str, content: &[u8]) -> Result<(), BlobError> {
    store.put(name, &[content], &PutOptions::default())
}

fn names(store: &Faulty) -> Vec<String> {
    store
        .list_all("")
        .unwrap()
        .into_iter()
        .map(|blob| blob.name)
        .collect()
}

#[test]
fn a_faulty_store_without_faults_keeps_the_contract() {
    let (_, _, store) = faulty();
    contract::check_all(&store);
    assert_eq!(store.struck(), 0);
}

#[test]
fn the_nth_matching_request_fails() {
    let (inner, _, store) = faulty();
    store.add(
        Rule::on(Operation::Put, Strike::Fail(FULL))
            .named("p")
            .after(1)
            .times(2),
    );
    put(&store, "p1", b"x").unwrap();
    put(&store, "q1", b"x").unwrap();
    assert_eq!(put(&store, "p2", b"x").unwrap_err().kind(), FULL);
    put(&store, "q2", b"x").unwrap();
    assert_eq!(put(&store, "p3", b"x").unwrap_err().kind(), FULL);
    put(&store, "p4", b"x").unwrap();
    assert_eq!(store.struck(), 2);
    assert_eq!(inner.list_all("p").unwrap().len(), 2);
}

#[test]
fn an_unknown_outcome_is_a_done_one() {
    let (inner, _, store) = faulty();
    store.add(Rule::on(Operation::Put, Strike::FailAfter(FULL)));
    store.add(Rule::on(Operation::Delete, Strike::FailAfter(FULL)));
    assert_eq!(put(&store, "a", b"x").unwrap_err().kind(), FULL);
    assert_eq!(inner.get("a").unwrap(), b"x");
    assert_eq!(store.delete("a").unwrap_err().kind(), FULL);
    assert_eq!(inner.get("a").unwrap_err().kind(), BlobErrorKind::NotFound);
}

#[test]
fn content_is_cut_and_flipped_on_the_way_in_and_out() {
    let (inner, _, store) = faulty();
    put(&store, "a", b"\0\0\0\0").unwrap();
    store.add(Rule::on(Operation::Get, Strike::Truncate(3)));
    store.add(Rule::on(Operation::GetRange, Strike::Truncate(1)));
    assert_eq!(store.get("a").unwrap().len(), 3);
    assert_eq!(store.get_range("a", 0, 4).unwrap().len(), 1);
    store.add(Rule::on(Operation::Get, Strike::FlipBit(32 + 9)));
    store.add(Rule::on(Operation::GetRange, Strike::FlipBit(0)));
    assert_eq!(store.get("a").unwrap(), [0, 2, 0, 0]);
    assert_eq!(store.get_range("a", 0, 2).unwrap(), [1, 0]);
    assert_eq!(
        inner.get("a").unwrap(),
        [0; 4],
        "only what was read is damaged"
    );

    store.add(Rule::on(Operation::Put, Strike::Truncate(2)));
    store.add(Rule::on(Operation::Put, Strike::FlipBit(7)).after(1));
    put(&store, "cut", b"abc").unwrap();
    put(&store, "flipped", b"\0").unwrap();
    assert_eq!(inner.get("cut").unwrap(), b"ab");
    assert_eq!(inner.get("flipped").unwrap(), [128]);
}

#[test]
fn lost_blobs_are_lost_to_every_reader() {
    let (inner, _, store) = faulty();
    put(&store, "a1", b"x").unwrap();
    put(&store, "b1", b"x").unwrap();
    for operation in [
        Operation::Get,
        Operation::GetRange,
        Operation::Metadata,
        Operation::List,
    ] {
        store.add(Rule::on(operation, Strike::Lose).named("a").times(u64::MAX));
    }
    assert_eq!(store.get("a1").unwrap_err().kind(), BlobErrorKind::NotFound);
    assert_eq!(
        store.get_range("a1", 0, 1).unwrap_err().kind(),
        BlobErrorKind::NotFound
    );
    assert_eq!(
        store.metadata("a1").unwrap_err().kind(),
        BlobErrorKind::NotFound
    );
    assert_eq!(names(&store), ["b1"]);
    store.clear();
    assert_eq!(names(&store), ["a1", "b1"]);

    store.add(Rule::on(Operation::Put, Strike::Lose));
    put(&store, "c1", b"x").unwrap();
    assert_eq!(inner.get("c1").unwrap_err().kind(), BlobErrorKind::NotFound);
}

#[test]
fn listings_end_early_or_break_off() {
    let (_, _, store) = faulty();
    for name in ["a", "b", "c"] {
        put(&store, name, b"").unwrap();
    }
    store.add(Rule::on(Operation::List, Strike::Truncate(2)));
    assert_eq!(names(&store), ["a", "b"]);
    store.add(Rule::on(
        Operation::List,
        Strike::BreakOff {
            after: 1,
            kind: FULL,
        },
    ));
    let mut seen = 0;
    let error = store.list("", &mut |_| {
        seen += 1;
        Ok(())
    });
    assert_eq!((seen, error.unwrap_err().kind()), (1, FULL));
    assert_eq!(names(&store).len(), 3);
}

#[test]
fn slowness_passes_on_the_clock() {
    let (_, clock, store) = faulty();
    store.add(Rule::on(
        Operation::Put,
        Strike::Slow(Duration::from_secs(7)),
    ));
    put(&store, "a", b"x").unwrap();
    assert_eq!(clock.monotonic(), Duration::from_secs(7));
    assert_eq!(store.get("a").unwrap(), b"x");
}

#[test]
fn a_storm_replays_from_its_seed() {
    let outcomes = |seed| -> Vec<bool> {
        let (_, _, store) = faulty();
        store.storm(
            Chance::from_seed(seed),
            4,
            vec![Strike::Fail(FULL), Strike::FailAfter(FULL)],
        );
        (0..200)
            .map(|number| put(&store, &format!("a{number}"), b"x").is_ok())
            .collect()
    };
    assert_eq!(outcomes(1), outcomes(1));
    assert_ne!(outcomes(1), outcomes(2));
    let failed = outcomes(3).iter().filter(|ok| !**ok).count();
    assert!((25..80).contains(&failed), "{failed}");
}
