//! What may come in the place of an answer.

use std::time::Duration;

use protocol::next_run::NextRun;
use protocol::repeat::Failure;
use protocol::request::answer_of;
use protocol::update_run::UpdateRun;
use protocol::{NoAnswer, Response};

use crate::{program, response, run_id};

fn judged(response: &Response) -> NoAnswer {
    answer_of(&UpdateRun::heartbeat(run_id(), &program()), response).unwrap_err()
}

fn of(http_status: u16, body: &str) -> NoAnswer {
    judged(&response(http_status, body))
}

#[test]
fn a_refusal_counts_whatever_the_status_of_http() {
    let body = r#"{"status": "fail", "code": "invalid_identifier_format", "message": "run_id must be a UUID"}"#;
    for http_status in [200, 400, 403, 404, 409, 413] {
        let refusal = of(http_status, body);
        assert_eq!(
            refusal.code(),
            Some("invalid_identifier_format"),
            "{http_status}"
        );
        assert_eq!(Failure::from(&refusal), Failure::Final);
    }
    assert!(matches!(
        of(200, r#"{"status":"error"}"#),
        NoAnswer::Refused { .. }
    ));
}

#[test]
fn a_page_of_a_firewall_is_told_from_a_refusal() {
    let page = "\n<!DOCTYPE html><html><body>Blocked</body></html>";
    assert_eq!(of(403, page), NoAnswer::Firewall { http_status: 403 });
    assert_eq!(of(406, ""), NoAnswer::Firewall { http_status: 406 });
    assert_eq!(of(200, page), NoAnswer::Firewall { http_status: 200 });
    assert_eq!(Failure::from(&of(403, page)), Failure::Firewall);
    let unknown = r#"{"status":"fail","message":"Run not found or unauthorized"}"#;
    assert!(matches!(
        of(403, unknown),
        NoAnswer::Refused {
            http_status: 403,
            ..
        }
    ));
}

#[test]
fn an_endpoint_that_is_not_there_is_told_from_an_object_that_is_not_there() {
    assert_eq!(of(404, "<html>Not Found</html>"), NoAnswer::NoSuchEndpoint);
    assert_eq!(of(404, ""), NoAnswer::NoSuchEndpoint);
    let unknown = r#"{"status":"fail","message":"Command not found"}"#;
    assert!(matches!(
        of(404, unknown),
        NoAnswer::Refused {
            http_status: 404,
            ..
        }
    ));
}

#[test]
fn the_version_gate_and_the_door_are_told_apart() {
    let gate = r#"{"status":"fail","code":"agent_version_too_old","min_version":"2.0.0","reported_version":"1.8.2"}"#;
    let NoAnswer::TooOld {
        min_version,
        reported_version,
    } = of(426, gate)
    else {
        panic!("the version is too old");
    };
    assert_eq!(
        (min_version.as_str(), reported_version.as_str()),
        ("2.0.0", "1.8.2")
    );
    let door = r#"{"status":"fail","message":"Missing agent headers"}"#;
    assert_eq!(
        of(401, door),
        NoAnswer::Unauthorized {
            message: "Missing agent headers".to_owned()
        }
    );
}

#[test]
fn a_busy_server_says_how_long_it_wants_to_be_left_alone() {
    let after = |response: &Response| match judged(response) {
        NoAnswer::Retry { after, .. } => after.map(|after| after.as_secs()),
        other => panic!("{other}"),
    };
    let mut busy = response(429, r#"{"status":"fail","retry_after_secs":"3"}"#);
    assert_eq!(after(&busy), Some(3));
    busy.headers = vec![("retry-after".to_owned(), "7".to_owned())];
    assert_eq!(after(&busy), Some(7));
    busy.headers = vec![
        (
            "Retry-After".to_owned(),
            "Sun, 01 Mar 2026 10:15:30 GMT".to_owned(),
        ),
        (
            "Date".to_owned(),
            "Sun, 01 Mar 2026 10:15:00 GMT".to_owned(),
        ),
    ];
    assert_eq!(after(&busy), Some(30), "the server's own clock counts");
    busy.headers = vec![("Retry-After".to_owned(), "99999999999".to_owned())];
    assert_eq!(after(&busy), Some(900), "nobody silences an agent for good");
    busy.headers = vec![("Retry-After".to_owned(), "soon".to_owned())];
    assert_eq!(after(&busy), Some(3));
    assert_eq!(after(&response(503, "<html>")), None);
    assert_eq!(after(&response(500, "")), None);
}

#[test]
fn a_cap_that_is_reached_is_not_waited_for() {
    let cap = of(429, r#"{"status":"fail","code":"chunks_cap_reached"}"#);
    assert_eq!(cap.code(), Some("chunks_cap_reached"));
    assert_eq!(Failure::from(&cap), Failure::Final);
    let busy = of(429, "{}");
    assert_eq!(Failure::from(&busy), Failure::Server { after: None });
}

#[test]
fn nonsense_is_no_success() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{\"status\":",
        "\"success\"",
        "{\"run\":{}}",
        "\u{feff}",
    ] {
        assert!(
            matches!(of(200, body), NoAnswer::Unreadable { .. }),
            "{body}"
        );
    }
    assert!(matches!(of(302, ""), NoAnswer::Unreadable { .. }));
    assert!(matches!(
        of(200, r#"{"status":""}"#),
        NoAnswer::Refused { .. }
    ));
}

#[test]
fn a_byte_order_mark_is_forgiven() {
    let body = "\u{feff}{\"status\":\"no_run\"}\r\n";
    assert!(answer_of(&NextRun, &response(200, body)).is_ok());
}

#[test]
fn messages_say_what_to_do_next_and_stay_on_one_line() {
    let refusal = of(
        400,
        "{\"status\":\"fail\",\"message\":\"one\\n\\u0000two\"}",
    );
    assert_eq!(
        refusal.to_string(),
        "the server refuses: one two (HTTP 400)"
    );
    assert!(of(401, "").to_string().contains("enrol"));
    let long = format!(r#"{{"status":"fail","message":"{}"}}"#, "x".repeat(10_000));
    assert!(of(400, &long).to_string().len() < 500);
}

#[test]
fn pauses_are_the_servers_wish() {
    let wish = NoAnswer::Retry {
        http_status: 429,
        after: Some(Duration::from_secs(2)),
        message: String::new(),
    };
    let after = Some(Duration::from_secs(2));
    assert_eq!(Failure::from(&wish), Failure::Server { after });
}
