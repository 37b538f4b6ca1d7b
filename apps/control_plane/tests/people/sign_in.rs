//! First start, signing in and out, lock-out, the second factor, and when sessions end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use control_plane::plane::Options;
use control_plane::sign_in::{LOCK_MS, TRIES_MAX};
use serde_json::{Value, json};
use totp_rs::Builder;

use crate::server::{Answer, Client, PASSWORD, World};

const MINUTE: Duration = Duration::from_secs(60);

fn setup() -> Value {
    json!({
        "name": "Ann", "email": " Ann@Example.com ", "password": PASSWORD,
        "tenant_name": "Acme", "time_zone": "Europe/Berlin",
    })
}

/// The same from elsewhere than the server's own machine.
fn setup_from_elsewhere(world: &World) -> Value {
    let mut wish = setup();
    wish["setup_code"] = json!(world.plane.setup_code.text());
    wish
}

async fn sign_in(client: &Client, email: &str, password: &str, code: Option<&str>) -> Answer {
    let body = json!({"email": email, "password": password, "code": code});
    client.post("/session", body).await
}

/// A stranger who calls from an address of their own.
fn from(world: &World, n: usize) -> Client {
    let mut client = world.stranger();
    client.address = format!("198.51.100.{}:50000", n % 250)
        .parse()
        .expect("an address");
    client
}

#[tokio::test]
async fn whoever_comes_first_owns_the_installation_and_nobody_after_them() {
    let world = World::new().await;
    let mut ann = world.stranger();
    let needed = json!({"needs_owner": true, "needs_code": true});
    assert_eq!(ann.get("/setup").await.expect(200), needed);
    let mut short = setup_from_elsewhere(&world);
    short["password"] = json!("elevenchars");
    assert_eq!(
        ann.post("/setup", short).await.refused(422, "invalid")["field"],
        "password"
    );
    let answer = ann.post("/setup", setup_from_elsewhere(&world)).await;
    let session = answer.expect(200);
    assert_eq!(session["user"]["email"], "ann@example.com");
    assert_eq!(session["user"]["role"], "owner");
    assert_eq!(session["user"]["tenant_id"], Value::Null);
    assert_eq!(session["tenants"][0]["name"], "Acme");
    ann.keep_session(&answer);
    assert_eq!(ann.get("/session").await.expect(200), session);
    let done = json!({"needs_owner": false, "needs_code": false});
    assert_eq!(ann.get("/setup").await.expect(200), done);
    world
        .stranger()
        .post("/setup", setup())
        .await
        .refused(409, "already_set_up");
    let audit = ann.get("/audit").await.expect(200);
    assert_eq!(audit["items"][0]["action"], "setup");
    assert_eq!(audit["items"][0]["address"], "192.0.2.1");
}

#[tokio::test]
async fn the_first_start_takes_the_code_of_the_log_from_everywhere_but_the_servers_own_machine() {
    let world = World::new().await;
    let elsewhere = from(&world, 1);
    let refused = elsewhere.post("/setup", setup()).await;
    let message = refused.refused(403, "setup_code")["message"].to_string();
    assert!(message.contains("standard error"), "{message}");
    let mut wrong = setup();
    wrong["setup_code"] = json!("ABCD-EFGH-IJKL-MNOP");
    for _ in 1..20 {
        let refused = elsewhere.post("/setup", wrong.clone()).await;
        refused.refused(403, "setup_code");
    }
    elsewhere
        .post("/setup", wrong)
        .await
        .refused(429, "too_many");

    let mut here = world.stranger();
    here.address = "127.0.0.1:50000".parse().expect("an address");
    let call = async |forwarded: Option<&str>, wish: Option<Value>| {
        let mut request = axum::http::Request::builder()
            .uri("/api/v1/setup")
            .header("host", "localhost:8080")
            .header("content-type", "application/json");
        if let Some(forwarded) = forwarded {
            request = request.header("x-forwarded-for", forwarded);
        }
        let body = wish.map_or_else(String::new, |wish| {
            request = std::mem::take(&mut request).method("POST");
            wish.to_string()
        });
        here.send(request.body(body.into()).expect("a request"))
            .await
    };
    let proxied = Some("203.0.113.9");
    let state = call(proxied, None).await.expect(200);
    assert_eq!(state["needs_code"], true);
    call(proxied, Some(setup()))
        .await
        .refused(403, "setup_code");
    assert_eq!(call(None, None).await.expect(200)["needs_code"], false);
    call(None, Some(setup())).await.expect(200);
}

#[tokio::test]
async fn of_two_who_come_first_at_the_same_moment_one_is() {
    let world = World::new().await;
    let (a, b) = (from(&world, 1), from(&world, 2));
    let mut other = setup_from_elsewhere(&world);
    other["email"] = json!("bob@example.com");
    let wish = setup_from_elsewhere(&world);
    let (a, b) = tokio::join!(a.post("/setup", wish), b.post("/setup", other));
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn signing_in_and_out() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let mut browser = world.stranger();
    let answer = sign_in(&browser, &person.email.to_uppercase(), PASSWORD, None).await;
    answer.expect(200);
    let cookie = answer.headers["set-cookie"].to_str().expect("a cookie");
    assert!(cookie.starts_with("e3_session="), "{cookie}");
    for part in [
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Lax",
        "; Max-Age=604800",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    browser.keep_session(&answer);
    browser.get("/session").await.expect(200);
    let answer = browser.delete("/session").await;
    answer.expect(204);
    let cookie = answer.headers["set-cookie"].to_str().expect("a cookie");
    assert!(cookie.contains("Max-Age=0"), "{cookie}");
    browser
        .get("/session")
        .await
        .refused(401, "unauthenticated");
}

#[tokio::test]
async fn by_https_the_cookie_is_for_https_and_this_host_alone() {
    let world = World::with(Options {
        is_secure: true,
        promises_https: true,
        ..Options::default()
    })
    .await;
    let person = world.person("viewer", None).await;
    person.get("/session").await.expect(200);
    let answer = sign_in(&world.stranger(), &person.email, PASSWORD, None).await;
    let cookie = answer.headers["set-cookie"].to_str().expect("a cookie");
    assert!(cookie.starts_with("__Host-e3_session="), "{cookie}");
    assert!(cookie.contains("; Secure"), "{cookie}");
    assert!(answer.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn a_wrong_address_and_a_wrong_password_are_told_in_the_same_words() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let wrong = sign_in(&world.stranger(), &person.email, "wrong password", None).await;
    let nobody = sign_in(
        &world.stranger(),
        "nobody@example.com",
        "wrong password",
        None,
    )
    .await;
    wrong.refused(401, "wrong_credentials");
    assert_eq!(wrong.body, nobody.body);
    let owner = world.person("owner", None).await;
    let path = format!("/users/{}", person.user_id);
    owner
        .patch(&path, json!({"is_disabled": true}))
        .await
        .expect(200);
    let disabled = sign_in(&world.stranger(), &person.email, PASSWORD, None).await;
    assert_eq!(wrong.body, disabled.body);
}

#[tokio::test]
async fn ten_wrong_tries_lock_that_address_alone_whether_the_person_exists_or_not() {
    let world = World::new().await;
    let person = world.person("owner", None).await;
    let there = from(&world, 1);
    for email in [person.email.as_str(), "nobody@example.com"] {
        for _ in 0..TRIES_MAX {
            let answer = sign_in(&there, email, "wrong password", None).await;
            answer.refused(401, "wrong_credentials");
            world.clock.advance(Duration::from_secs(3));
        }
        let answer = sign_in(&there, email, PASSWORD, None).await;
        answer.refused(429, "locked");
        assert_eq!(answer.headers["retry-after"], "897");
    }
    // Nobody keeps a person out of elsewhere.
    sign_in(&from(&world, 2), &person.email, PASSWORD, None)
        .await
        .expect(200);
    world.clock.advance(Duration::from_millis(LOCK_MS as u64));
    for _ in 1..TRIES_MAX {
        sign_in(&there, &person.email, "wrong password", None)
            .await
            .refused(401, "wrong_credentials");
    }
    sign_in(&there, &person.email, PASSWORD, None)
        .await
        .expect(200);
    // The right one wiped the slate clean.
    sign_in(&there, &person.email, "wrong password", None)
        .await
        .refused(401, "wrong_credentials");
    sign_in(&there, &person.email, PASSWORD, None)
        .await
        .expect(200);
}

#[tokio::test]
async fn a_new_password_ends_a_lock() {
    let world = World::new().await;
    let owner = world.person("owner", None).await;
    let person = world.person("viewer", None).await;
    let there = from(&world, 1);
    for _ in 0..TRIES_MAX {
        sign_in(&there, &person.email, "wrong password", None)
            .await
            .refused(401, "wrong_credentials");
    }
    let new = json!({"password": "a new password"});
    let path = format!("/users/{}", person.user_id);
    owner.patch(&path, new).await.expect(200);
    sign_in(&there, &person.email, "a new password", None)
        .await
        .expect(200);
}

#[tokio::test]
async fn twenty_tries_at_once_are_ten() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, email) = (from(&world, 1), person.email.clone());
        tries.spawn(async move {
            sign_in(&client, &email, "wrong password", None)
                .await
                .status
        });
    }
    let statuses = tries.join_all().await;
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    assert_eq!(looked_at, TRIES_MAX as usize, "{statuses:?}");
    assert!(
        statuses
            .iter()
            .all(|status| [401, 429].contains(&status.as_u16()))
    );
}

#[tokio::test]
async fn a_person_who_is_attacked_is_let_in_at_once_where_they_were_before_and_later_elsewhere() {
    let world = World::new().await;
    let person = world.person("owner", None).await;
    let usual = from(&world, 1);
    sign_in(&usual, &person.email, PASSWORD, None)
        .await
        .expect(200);
    let mut attack = tokio::task::JoinSet::new();
    for n in 0..60 {
        let (client, email) = (from(&world, 10 + n), person.email.clone());
        attack.spawn(async move {
            let answer = sign_in(&client, &email, "wrong password", None).await;
            answer.refused(401, "wrong_credentials");
        });
    }
    // One more than those that are looked at at once; the others wait, and are given up in the end.
    for _ in 0..=TRIES_MAX {
        attack.join_next().await.expect("one").expect("refused");
    }
    let (elsewhere, email) = (from(&world, 2), person.email.clone());
    let waiting =
        tokio::spawn(async move { sign_in(&elsewhere, &email, PASSWORD, None).await.status });
    // Where it has to wait, that is twenty seconds by now.
    let at_once = sign_in(&usual, &person.email, PASSWORD, None);
    let at_once = tokio::time::timeout(Duration::from_secs(15), at_once);
    at_once.await.expect("without waiting").expect(200);
    assert!(!waiting.is_finished(), "it is let in later");
    waiting.abort();
}

#[tokio::test]
async fn what_the_server_was_too_busy_to_look_at_is_not_counted() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let there = from(&world, 1);
    let mut crowd = tokio::task::JoinSet::new();
    let here = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (plane, here) = (world.plane.clone(), here.clone());
        // Whoever had a turn takes the next place before anybody else runs, so that it is as full however slow this
        // machine is.
        crowd.spawn(async move {
            here.fetch_add(1, Ordering::SeqCst);
            loop {
                let answer = plane.guard.passwords.matches(None, "").await;
                answer.expect("a place");
            }
        });
    }
    while here.load(Ordering::SeqCst) < 100 {
        tokio::task::yield_now().await;
    }
    for _ in 0..=TRIES_MAX {
        sign_in(&there, &person.email, PASSWORD, None)
            .await
            .refused(429, "busy");
    }
    crowd.shutdown().await;
    sign_in(&there, &person.email, PASSWORD, None)
        .await
        .expect(200);
}

#[tokio::test]
async fn agents_that_sign_in_wrongly_keep_nobody_out() {
    let world = World::new().await;
    let person = world.person("owner", None).await;
    let there = from(&world, 1);
    let agent = async |password: &str| {
        let email = person.email.replace('@', "%40");
        let password = password.replace(' ', "%20");
        let form = format!("mode=authenticate&hostname=hv01&email={email}&password={password}");
        let path = format!("{}/agent_login.php", control_plane::agent_api::BASE);
        let request = axum::http::Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into());
        there.send(request.expect("a request")).await.status
    };
    for _ in 0..TRIES_MAX {
        assert_eq!(agent("wrong password").await, 401);
    }
    for _ in 0..20 - TRIES_MAX {
        assert_eq!(agent(PASSWORD).await, 429);
    }
    sign_in(&there, &person.email, PASSWORD, None)
        .await
        .expect(200);
}

#[tokio::test]
async fn a_refused_try_is_written_down() {
    let world = World::new().await;
    let person = world.person("owner", None).await;
    sign_in(&from(&world, 1), &person.email, "wrong password", None)
        .await
        .refused(401, "wrong_credentials");
    let entries = async || {
        let list = person.get("/audit?object_kind=user").await.expect(200);
        let items = list["items"].as_array().expect("items").clone();
        items
            .iter()
            .filter(|it| it["action"] == "session.refuse")
            .count()
    };
    // It is written while the answer goes out.
    while entries().await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(entries().await, 1);
}

#[tokio::test]
async fn an_address_that_tries_too_fast_has_to_wait() {
    let world = World::new().await;
    world.person("owner", None).await;
    let client = world.stranger();
    for _ in 0..20 {
        client
            .post("/setup", setup())
            .await
            .refused(409, "already_set_up");
    }
    let answer = client.post("/setup", setup()).await;
    answer.refused(429, "too_many");
    assert_eq!(answer.headers["retry-after"], "3");
    sign_in(&client, "a@example.com", "b", None)
        .await
        .refused(429, "too_many");
    from(&world, 1).post("/setup", setup()).await.expect(409);
    world.clock.advance(Duration::from_secs(3));
    client.post("/setup", setup()).await.expect(409);
    client.post("/setup", setup()).await.expect(429);
}

/// Makes a second factor and returns its secret.
async fn with_totp(world: &World, person: &Client) -> Vec<u8> {
    let wrong = json!({"password": "wrong password"});
    person
        .post("/session/totp", wrong)
        .await
        .refused(403, "wrong_credentials");
    let made = person
        .post("/session/totp", json!({"password": PASSWORD}))
        .await
        .expect(200);
    let text = made["secret"].as_str().expect("a secret");
    assert!(made["uri"].as_str().expect("an URI").contains(text));
    let secret = from_base32(text);
    person
        .put("/session/totp", json!({"code": "000000"}))
        .await
        .refused(422, "invalid");
    let code = code(world, &secret);
    person
        .put("/session/totp", json!({"code": code}))
        .await
        .expect(204);
    secret
}

fn from_base32(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for char in text.chars() {
        bits = (bits << 5) | ALPHABET.find(char).expect("base32") as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

fn code(world: &World, secret: &[u8]) -> String {
    let now = world.plane.now_ms() as u64 / 1_000;
    let secret = <[u8; 20]>::try_from(secret).expect("20 bytes");
    let totp = Builder::new()
        .with_secret(secret)
        .build()
        .expect("a fit secret");
    totp.generate(now).to_string()
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_each_code_is_taken_once() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let other_browser = world.session(&person.user_id, &person.email).await;
    let secret = with_totp(&world, &person).await;
    other_browser.get("/session").await.expect(401);
    assert_eq!(
        person.get("/session").await.expect(200)["user"]["has_totp"],
        true
    );
    let again = json!({"password": PASSWORD});
    person
        .post("/session/totp", again)
        .await
        .refused(409, "has_totp");

    let email = &person.email;
    let stranger = world.stranger();
    sign_in(&stranger, email, PASSWORD, None)
        .await
        .refused(401, "code_needed");
    sign_in(&stranger, email, "wrong password", None)
        .await
        .refused(401, "wrong_credentials");
    // The code that confirmed it is used up.
    let used = code(&world, &secret);
    sign_in(&stranger, email, PASSWORD, Some(&used))
        .await
        .refused(401, "wrong_credentials");
    world.clock.advance(MINUTE);
    let fresh = code(&world, &secret);
    sign_in(&stranger, email, PASSWORD, Some(&fresh))
        .await
        .expect(200);
    sign_in(&stranger, email, PASSWORD, Some(&fresh))
        .await
        .refused(401, "wrong_credentials");

    world.clock.advance(MINUTE);
    let both = |code: &str| json!({"password": PASSWORD, "code": code});
    let remove = |body: Value| person.call(axum::http::Method::DELETE, "/session/totp", Some(body));
    remove(both("000000"))
        .await
        .refused(403, "wrong_credentials");
    remove(both(&code(&world, &secret))).await.expect(204);
    remove(both("000000")).await.refused(409, "no_totp");
    sign_in(&stranger, email, PASSWORD, None).await.expect(200);
}

#[tokio::test]
async fn one_code_at_the_same_moment_lets_in_once() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let secret = with_totp(&world, &person).await;
    world.clock.advance(MINUTE);
    let fresh = code(&world, &secret);
    let (a, b) = (from(&world, 1), from(&world, 2));
    let (a, b) = tokio::join!(
        sign_in(&a, &person.email, PASSWORD, Some(&fresh)),
        sign_in(&b, &person.email, PASSWORD, Some(&fresh)),
    );
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test]
async fn guessed_codes_lock_and_asking_for_the_code_does_not() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let secret = with_totp(&world, &person).await;
    world.clock.advance(MINUTE);
    for n in 0..30 {
        sign_in(&from(&world, n), &person.email, PASSWORD, None)
            .await
            .refused(401, "code_needed");
    }
    let right = code(&world, &secret);
    let wrong = if right == "123456" {
        "654321"
    } else {
        "123456"
    };
    for n in 0..TRIES_MAX as usize {
        // Asked in between: what was guessed stays counted.
        let asked = sign_in(&from(&world, n), &person.email, PASSWORD, None).await;
        asked.refused(401, "code_needed");
        sign_in(&from(&world, n), &person.email, PASSWORD, Some(wrong))
            .await
            .refused(401, "wrong_credentials");
    }
    sign_in(&from(&world, 40), &person.email, PASSWORD, Some(&right))
        .await
        .refused(429, "locked");
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let other_browser = world.session(&person.user_id, &person.email).await;
    let change = |current: &str, new: &str| json!({"current": current, "new": new});
    let path = "/session/password";
    person
        .post(path, change("wrong password", "a new password"))
        .await
        .refused(403, "wrong_credentials");
    person
        .post(path, change(PASSWORD, "short"))
        .await
        .refused(422, "invalid");
    other_browser.get("/session").await.expect(200);
    person
        .post(path, change(PASSWORD, "a new password"))
        .await
        .expect(204);
    person.get("/session").await.expect(200);
    other_browser.get("/session").await.expect(401);
    let stranger = world.stranger();
    sign_in(&stranger, &person.email, PASSWORD, None)
        .await
        .refused(401, "wrong_credentials");
    sign_in(&stranger, &person.email, "a new password", None)
        .await
        .expect(200);
}

#[tokio::test]
async fn somebody_at_a_borrowed_browser_cannot_guess_the_password_for_ever() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    for n in 0..TRIES_MAX as usize {
        let mut client = person.clone();
        client.address = from(&world, n).address;
        client
            .post("/session/totp", json!({"password": "wrong password"}))
            .await
            .refused(403, "wrong_credentials");
    }
    person
        .post("/session/totp", json!({"password": PASSWORD}))
        .await
        .refused(429, "locked");
    person.get("/session").await.expect(200);
    // Whoever signs in elsewhere is not kept out by that.
    sign_in(&from(&world, 30), &person.email, PASSWORD, None)
        .await
        .expect(200);
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_after_a_week_in_any_case() {
    let world = World::new().await;
    let person = world.person("viewer", None).await;
    let idle = world.session(&person.user_id, &person.email).await;
    let hour = 60 * MINUTE;
    for _ in 0..(7 * 24 / 6) - 1 {
        world.clock.advance(6 * hour);
        person.get("/session").await.expect(200);
    }
    idle.get("/session").await.expect(401);
    world.clock.advance(6 * hour);
    person.get("/session").await.expect(401);
    let removed = world.plane.store.remove_ended_sessions(
        world.plane.now_ms(),
        control_plane::people_api::caller::IDLE_MS,
    );
    assert_eq!(removed.await.expect("removed"), 2);
}

#[tokio::test]
async fn disabling_and_a_new_role_end_sessions() {
    let world = World::new().await;
    let owner = world.person("owner", None).await;
    for change in [
        json!({"is_disabled": true}),
        json!({"role": "operator"}),
        json!({"password": "a new password"}),
        json!({"reset_totp": true}),
    ] {
        let person = world.person("viewer", None).await;
        let path = format!("/users/{}", person.user_id);
        owner
            .patch(&path, json!({"name": "Renamed"}))
            .await
            .expect(200);
        person.get("/session").await.expect(200);
        owner.patch(&path, change).await.expect(200);
        person.get("/session").await.expect(401);
    }
}
