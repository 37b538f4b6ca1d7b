//! The S3 store against real servers, and against one that misbehaves.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code: a panic is the failure report"
)]

mod misbehaving;
mod process;

use std::fs;
use std::thread;
use std::time::Duration;

use blob::{
    BlobError, BlobErrorKind, BlobStore, Location, NewLayout, Opening, PutOptions, S3Credentials,
    S3Identity, S3Limits, S3Store, contract,
};
use misbehaving::{Misbehaving, Reaction};
use process::Server;
use rclone_server::{KEY_ID, SECRET};
use time_and_chance::{Chance, StopSignal, SystemClock, Timestamp};

fn identity(secret: &str) -> S3Identity {
    S3Identity {
        credentials: S3Credentials::Keys {
            key_id: KEY_ID.to_owned(),
            secret: secret.to_owned(),
            token: None,
        },
        region: None,
    }
}

fn open_as(location: &str, secret: &str) -> Result<S3Store, BlobError> {
    S3Store::open(
        location.parse()?,
        &identity(secret),
        S3Limits::default(),
        StopSignal::new(),
    )
}

fn open(location: &str) -> S3Store {
    open_as(location, SECRET).unwrap_or_else(|error| panic!("{location}: {error}"))
}

fn put(store: &S3Store, name: &str) -> Result<(), BlobError> {
    store.put(name, &[name.as_bytes()], &PutOptions::default())
}

fn locked(mode: &str) -> PutOptions {
    let until: Timestamp = "2099-01-02T03:04:05Z".parse().unwrap();
    PutOptions {
        retention: Some((mode.to_owned(), until)),
        ..PutOptions::default()
    }
}

/// Checks all promises but those that a server is known to break.
fn check_all_but(store: &S3Store, broken: &[&str]) {
    for name in broken {
        let is_known = contract::ALL.iter().any(|(promise, _)| promise == name);
        assert!(is_known, "nobody promises that {name}");
    }
    for (promise, check) in contract::ALL {
        if !broken.contains(&promise) {
            check(store);
        }
    }
}

/// Servers that look first and put then, without a lock, let several succeed.
const ONE_OF_SEVERAL: &str = "of several that put what is to be new one succeeds";

mod moto {
    use super::*;

    /// moto wants to see a signature, whatever it says.
    const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n";

    #[test]
    fn a_bucket_of_motos_keeps_the_contract() {
        let server = Server::moto();
        server.ask("PUT", "/plain", "");
        check_all_but(
            &open(&server.location("plain/some/prefix")),
            &[ONE_OF_SEVERAL],
        );
    }

    #[test]
    fn locks_are_set_and_kept_or_refused() {
        let server = Server::moto();
        server.ask(
            "PUT",
            "/locked",
            "x-amz-bucket-object-lock-enabled: true\r\n",
        );
        server.ask("PUT", "/plain", "");
        let store = open(&server.location("locked/p"));
        for (mode, name) in [("GOVERNANCE", "p1"), ("COMPLIANCE", "q1")] {
            store.put(name, &[b"content"], &locked(mode)).unwrap();
            let shown = server.ask("HEAD", &format!("/locked/p/{name}"), SIGNED);
            assert!(
                shown.contains(mode) && shown.contains("2099-01-02T03:04:05"),
                "{shown}"
            );
            assert_eq!(store.get(name).unwrap(), b"content");
        }
        put(&store, "s1").unwrap();
        let shown = server.ask("HEAD", "/locked/p/s1", SIGNED);
        assert!(
            shown.contains(" 200 ") && !shown.contains("2099"),
            "{shown}"
        );
        let error = store.put("p2", &[b"x"], &locked("FOREVER")).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Unsupported, "{error}");

        let error = open(&server.location("plain"))
            .put("p1", &[b"x"], &locked("GOVERNANCE"))
            .unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Unsupported, "{error}");
    }

    #[test]
    fn locks_are_extended_and_the_server_tells_its_time() {
        let server = Server::moto();
        server.ask(
            "PUT",
            "/locked",
            "x-amz-bucket-object-lock-enabled: true\r\n",
        );
        let store = open(&server.location("locked/a%20prefix=1"));
        store.put("p1", &[b"x"], &locked("GOVERNANCE")).unwrap();
        let later: Timestamp = "2101-02-03T04:05:06Z".parse().unwrap();
        store.extend_lock("p1", "GOVERNANCE", later).unwrap();
        let shown = server.ask("HEAD", "/locked/a%20prefix%3D1/p1", SIGNED);
        assert!(shown.contains("2101-02-03T04:05:06"), "{shown}");
        assert_eq!(store.get("p1").unwrap(), b"x");
        let error = store.extend_lock("p1", "FOREVER", later).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Unsupported, "{error}");

        let told = store.time().unwrap().expect("a server says the time");
        let off = told.duration_since(SystemClock::new().now());
        assert!(off.abs().as_secs() <= 60, "{off:?}");
    }

    #[test]
    fn a_bucket_is_named_by_host_where_that_is_asked_for() {
        let server = Server::moto();
        server.ask("PUT", "/by-host", "");
        let location = server.location_by_host("by-host/p");
        let store = open(&location);
        check_all_but(&store, &[ONE_OF_SEVERAL]);
        put(&store, "p1").unwrap();
        let shown = server.ask("GET", "/by-host/p/p1", SIGNED);
        assert!(shown.ends_with("p1"), "{shown}");
    }

    #[test]
    fn a_missing_bucket_is_named_and_storage_classes_are_kept() {
        let server = Server::moto();
        let error = open_as(&server.location("nowhere/p"), SECRET).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("nowhere"), "{error}");

        server.ask("PUT", "/classes", "");
        let plain = open(&server.location("classes"));
        let text = r#"{"blobOptions":[{"prefix":"p","storageClass":"STANDARD_IA"}]}"#;
        let answer = server.ask_with("PUT", "/classes/.storageconfig", "", text);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            plain.list_all("").unwrap().is_empty(),
            "the side file is no blob"
        );
        let store = open(&server.location("classes"));
        put(&store, "p1").unwrap();
        put(&store, "q1").unwrap();
        let shown = server.ask("GET", "/classes?list-type=2", "");
        let (_, shown) = shown.split_once("<Key>p1</Key>").expect("p1 is listed");
        let (of_p, of_q) = shown.split_once("<Key>q1</Key>").expect("q1 is listed");
        assert!(of_p.contains("STANDARD_IA"), "{of_p}");
        assert!(!of_q.contains("STANDARD_IA"), "{of_q}");
    }
}

mod rclone {
    use super::*;

    fn server() -> Server {
        let server = Server::rclone();
        fs::create_dir(server.buckets().join("bucket")).unwrap();
        server
    }

    #[test]
    fn a_bucket_of_rclones_keeps_the_contract() {
        let server = server();
        let store = open(&server.location("bucket/some/prefix"));
        // rclone writes into the file that others read, as S3 does not.
        let torn = "concurrent puts leave one whole blob";
        // It does not look at If-None-Match, answers that all is well, and overwrites.
        let overwritten = "what was to be new overwrites nothing";
        check_all_but(&store, &[torn, overwritten, ONE_OF_SEVERAL]);
    }

    #[test]
    fn keys_are_the_prefix_and_the_name() {
        let server = server();
        // rclone remembers folders, so all of this must be there before it is asked.
        let folder = server.buckets().join("bucket/a/b");
        fs::create_dir_all(folder.join("deeper")).unwrap();
        fs::write(folder.join("deeper/p1"), "x").unwrap();
        fs::write(folder.join(".storageconfig"), "{}").unwrap();
        fs::write(folder.join("a b"), "x").unwrap();
        let store = open(&server.location("bucket/a/b"));
        put(&store, "kopia.repository").unwrap();
        assert_eq!(
            fs::read(folder.join("kopia.repository")).unwrap(),
            b"kopia.repository"
        );
        let names = |place: &str| -> Vec<String> {
            let listed = open(&server.location(place)).list_all("").unwrap();
            listed.into_iter().map(|blob| blob.name).collect()
        };
        assert_eq!(names("bucket/a/b"), ["kopia.repository"]);
        assert_eq!(names("bucket/a/b/deeper"), ["p1"]);
        assert!(names("bucket").is_empty());
        assert_eq!(store.location(), server.location("bucket/a/b"));
    }

    #[test]
    fn a_place_is_opened_with_the_environments_keys_and_created_once() {
        let server = server();
        let environment = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some(KEY_ID.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
            _ => None,
        };
        let opening = Opening {
            environment: &environment,
            chance: Chance::from_seed(1),
            s3_limits: S3Limits::default(),
            stop: StopSignal::new(),
            dated_by: None,
        };
        let location: Location = server.location("bucket/repo").parse().unwrap();
        let store = blob::create(&location, NewLayout::Sharded, &opening).unwrap();
        store
            .put("kopia.repository", &[b"{}"], &PutOptions::default())
            .unwrap();
        let again = blob::open(&location, &opening).unwrap();
        assert_eq!(again.get("kopia.repository").unwrap(), b"{}");
        let error = blob::create(&location, NewLayout::Sharded, &opening).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::AlreadyThere, "{error}");
        assert!(error.to_string().contains("kopia.repository"), "{error}");
    }

    #[test]
    fn a_wrong_secret_is_denied_with_a_hint_and_never_shown() {
        let server = server();
        let error = open_as(&server.location("bucket"), "wrong-secret").unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("key"), "{error}");
        let shown = format!("{error:?} {:?}", open(&server.location("bucket")));
        assert!(
            !shown.contains("wrong-secret") && !shown.contains(SECRET),
            "{shown}"
        );
    }

    /// rclone takes the headers, and shows them again, but locks nothing.
    #[test]
    fn a_lock_that_the_server_forgets_is_an_error() {
        let server = server();
        let store = open(&server.location("bucket"));
        let error = store.put("p1", &[b"x"], &locked("GOVERNANCE")).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Unsupported, "{error}");
        assert!(
            store.list_all("").unwrap().is_empty(),
            "nothing is written unlocked"
        );
    }

    #[test]
    fn a_certificate_counts_if_its_authority_is_named() {
        let server = Server::rclone_with_tls();
        fs::create_dir(server.buckets().join("bucket")).unwrap();
        let location = server.location("bucket");
        let error = open_as(&location, SECRET).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
        for trusted in [
            format!("{location}&ca={}", server.certificate().display()),
            format!("{location}&insecure=true"),
        ] {
            let store = open(&trusted);
            put(&store, "p1").unwrap();
            assert_eq!(store.get("p1").unwrap(), b"p1");
        }
        let error = open_as(&format!("{location}&ca=/nowhere.pem"), SECRET).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Invalid, "{error}");
    }

    #[test]
    fn a_bucket_is_named_by_host_over_tls() {
        let server = Server::rclone_by_host_with_tls();
        fs::create_dir(server.buckets().join("bucket")).unwrap();
        let location = server.location_by_host("bucket/p");
        let error = open_as(&location, SECRET).unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
        let store = open(&format!("{location}&ca={}", server.certificate().display()));
        put(&store, "p1").unwrap();
        assert_eq!(store.get("p1").unwrap(), b"p1");
        assert!(server.buckets().join("bucket/p/p1").is_file());
    }

    #[test]
    fn a_server_that_is_gone_is_unavailable() {
        let server = server();
        let location = server.location("bucket").parse().unwrap();
        let store = S3Store::open(location, &identity(SECRET), hasty(), StopSignal::new()).unwrap();
        put(&store, "p1").unwrap();
        drop(server);
        for error in failures(&store) {
            assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
        }
    }
}

/// Limits under which a test need not wait.
fn hasty() -> S3Limits {
    S3Limits {
        requests_max: 4,
        connect_max: Duration::from_secs(5),
        answer_max: Duration::from_millis(700),
        retries_max: 2,
        first_wait: Duration::from_millis(5),
        retry_total_max: Duration::from_secs(1),
        ..S3Limits::default()
    }
}

/// What each operation that cannot succeed says.
fn failures(store: &S3Store) -> [BlobError; 6] {
    [
        store.get("p1").unwrap_err(),
        store.get_range("p1", 0, 1).unwrap_err(),
        store.metadata("p1").unwrap_err(),
        store.list_all("").unwrap_err(),
        store
            .put("p1", &[b"x"], &PutOptions::default())
            .unwrap_err(),
        store.delete("p1").unwrap_err(),
    ]
}

mod misbehaviour {
    use super::*;

    fn world() -> (Misbehaving, S3Store) {
        let server = Misbehaving::start();
        let location = server.location().parse().unwrap();
        let store = S3Store::open(location, &identity(SECRET), hasty(), StopSignal::new()).unwrap();
        (server, store)
    }

    const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>later</Message></Error>";
    const PAGE: &str =
        "<!doctype html><html><body>Please sign in to the hotel's network</body></html>";
    const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";

    #[test]
    fn every_trouble_has_its_kind_in_bounded_time() {
        use BlobErrorKind::{Denied, Full, Invalid, Unavailable, Unsupported};
        let html = "Content-Type: text/html\r\n";
        let table = [
            (
                Reaction::Answer(500, "", "<Error><Code>InternalError</Code></Error>"),
                Unavailable,
                3,
            ),
            (Reaction::Answer(503, "", SLOW_DOWN), Unavailable, 3),
            (Reaction::Answer(502, html, PAGE), Unavailable, 3),
            (Reaction::Answer(429, "", ""), Unavailable, 3),
            (Reaction::Answer(403, "", DENIED), Denied, 1),
            (Reaction::Answer(403, html, PAGE), Denied, 1),
            (Reaction::Answer(507, "", ""), Full, 1),
            (Reaction::Answer(501, "", ""), Unsupported, 1),
            (
                Reaction::Answer(301, "x-amz-bucket-region: eu-west-3\r\n", ""),
                Invalid,
                1,
            ),
            (
                Reaction::Answer(302, "Location: http://127.0.0.1:1/\r\n", ""),
                Invalid,
                1,
            ),
            (Reaction::Garbage, Unavailable, 3),
            (Reaction::Reset, Unavailable, 3),
        ];
        let (server, store) = world();
        for (reaction, kind, attempts) in table {
            let for_server = reaction.clone();
            server.play(move |_| for_server.clone());
            let clock = SystemClock::new();
            for error in failures(&store) {
                assert_eq!(error.kind(), kind, "{reaction:?}: {error}");
            }
            assert!(clock.monotonic() < Duration::from_secs(20), "{reaction:?}");
            // An idle connection that breaks is tried anew without being counted.
            assert!(
                (attempts * 6..=attempts * 12).contains(&server.heads().len()),
                "{reaction:?}: {}",
                server.heads().len()
            );
        }
    }

    #[test]
    fn silence_ends_in_bounded_time() {
        for reaction in [Reaction::Hang, Reaction::HangInside, Reaction::CloseInside] {
            let (server, store) = world();
            let for_server = reaction.clone();
            server.play(move |_| for_server.clone());
            let clock = SystemClock::new();
            for error in [
                store.get("p1").unwrap_err(),
                store.list_all("").unwrap_err(),
            ] {
                assert_eq!(
                    error.kind(),
                    BlobErrorKind::Unavailable,
                    "{reaction:?}: {error}"
                );
            }
            if matches!(reaction, Reaction::Hang) {
                let error = store
                    .put("p1", &[b"x"], &PutOptions::default())
                    .unwrap_err();
                assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
            }
            assert!(
                clock.monotonic() < Duration::from_secs(20),
                "{reaction:?}: {:?}",
                clock.monotonic()
            );
        }
    }

    #[test]
    fn a_proxys_page_is_no_answer() {
        let (server, store) = world();
        server.play(|_| Reaction::Answer(200, "Content-Type: text/html; charset=utf-8\r\n", PAGE));
        for error in failures(&store) {
            assert_eq!(error.kind(), BlobErrorKind::Invalid, "{error}");
        }
    }

    #[test]
    fn missing_blobs_and_missing_buckets_differ() {
        let (server, store) = world();
        server.play(|_| Reaction::Answer(404, "", "<Error><Code>NoSuchBucket</Code></Error>"));
        for error in [
            store.get("p1").unwrap_err(),
            store.delete("p1").unwrap_err(),
            store.list_all("").unwrap_err(),
            put(&store, "p1").unwrap_err(),
        ] {
            assert_eq!(error.kind(), BlobErrorKind::NotFound, "{error}");
            assert!(error.to_string().contains("no bucket b"), "{error}");
        }
        server.play(|_| Reaction::Answer(404, "", "<Error><Code>NoSuchKey</Code></Error>"));
        store.delete("p1").unwrap();
        let error = store.get("p1").unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::NotFound);
        assert!(error.to_string().contains("find blob p1"), "{error}");
    }

    #[test]
    fn a_bucket_that_may_not_be_listed_says_which_right_is_missing() {
        let server = Misbehaving::start();
        server.play(|_| Reaction::Answer(403, "", DENIED));
        let location = server.location().parse().unwrap();
        let error =
            S3Store::open(location, &identity(SECRET), hasty(), StopSignal::new()).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Denied);
        assert!(error.to_string().contains("s3:ListBucket"), "{error}");
    }

    #[test]
    fn once_told_to_stop_nobody_waits_long_for_a_server() {
        let server = Misbehaving::start();
        let stop = StopSignal::new();
        let limits = S3Limits {
            answer_max: Duration::from_hours(1),
            after_stop_max: Duration::from_millis(300),
            ..hasty()
        };
        let location = server.location().parse().unwrap();
        let store = S3Store::open(location, &identity(SECRET), limits, stop.clone()).unwrap();
        server.play(|_| Reaction::Hang);
        let clock = SystemClock::new();
        let begun = clock.monotonic();
        let error = thread::scope(|scope| {
            let putting = scope.spawn(|| put(&store, "p1").unwrap_err());
            while server.heads().is_empty() {
                thread::yield_now();
            }
            stop.stop();
            putting.join().unwrap()
        });
        assert_eq!(error.kind(), BlobErrorKind::Stopped, "{error}");
        assert!(clock.monotonic() - begun < Duration::from_mins(1));

        // What answers is still asked: cleaning up needs it.
        server.play(|_| Reaction::Answer(204, "", ""));
        store.delete("p1").unwrap();
    }

    #[test]
    fn a_short_trouble_is_survived() {
        let (server, store) = world();
        server.play(|number| match number {
            0 => Reaction::Answer(503, "", SLOW_DOWN),
            1 => Reaction::Reset,
            _ => Reaction::Answer(
                200,
                "ETag: \"x\"\r\nLast-Modified: Mon, 23 Nov 2026 20:00:00 GMT\r\n",
                "content",
            ),
        });
        assert_eq!(store.get("p1").unwrap(), b"content");
    }

    #[test]
    fn a_range_labelled_as_a_whole_is_taken_for_what_it_is() {
        let (server, store) = world();
        server.play(|_| {
            Reaction::Answer(200, "ETag: \"x\"\r\nContent-Range: bytes 2-4/9\r\n", "cde")
        });
        assert_eq!(store.get_range("p1", 2, 3).unwrap(), b"cde");
        let error = store.get_range("p1", 3, 3).unwrap_err();
        assert_eq!(
            error.kind(),
            BlobErrorKind::Invalid,
            "another range than was asked for: {error}"
        );
        server.play(|_| Reaction::Answer(200, "ETag: \"x\"\r\n", "abcdefghi"));
        assert!(
            store.get_range("p1", 2, 3).is_err(),
            "the whole blob is no range"
        );
        server.play(|_| Reaction::Answer(416, "", "<Error><Code>InvalidRange</Code></Error>"));
        assert_eq!(
            store.get_range("p1", 2, 3).unwrap_err().kind(),
            BlobErrorKind::Invalid
        );
    }

    #[test]
    fn a_listing_that_goes_in_circles_ends() {
        let (server, store) = world();
        server.play(|_| {
            Reaction::Answer(
                200,
                "",
                "<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken></ListBucketResult>",
            )
        });
        let error = store.list_all("").unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Invalid, "{error}");
    }

    #[test]
    fn uploads_say_what_they_are() {
        let (server, store) = world();
        server.play(|_| Reaction::Answer(200, "ETag: \"x\"\r\n", ""));
        store
            .put("p1", &[b"hello ", b"kopia"], &PutOptions::default())
            .unwrap();
        let head = server.heads().concat().to_ascii_lowercase();
        for line in [
            "put /b/p/p1 http/1.1",
            "content-type: application/x-kopia",
            "content-length: 11",
            // Both say SHA-256 of the content, so that the server can check it.
            "x-amz-content-sha256: ",
            "x-amz-checksum-sha256: ",
        ] {
            assert!(head.contains(line), "{line} is not in {head}");
        }
        assert!(!head.contains(SECRET), "{head}");
    }

    #[test]
    fn no_more_requests_are_made_at_a_time_than_allowed() {
        let (server, store) = world();
        server.play(|_| Reaction::Slow(Duration::from_millis(20)));
        thread::scope(|scope| {
            for thread in 0..16 {
                let store = &store;
                scope.spawn(move || {
                    (0..4).for_each(|blob| put(store, &format!("p{thread}-{blob}")).unwrap())
                });
            }
        });
        assert_eq!(server.heads().len(), 64);
        assert_eq!(server.inside_most(), hasty().requests_max);
    }
}
