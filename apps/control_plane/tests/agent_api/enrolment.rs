//! Becoming known (contract 2.1 and 2.2).

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use control_plane::store::entity::{enrolment_token, user};
use protocol::SecretText;
use protocol::WireId;
use protocol::commands::Poll;
use protocol::enrolment::{
    CompleteLogin, Enroll, Enrolled, LoggedIn, Login, LoginSession, LoginSteps, Machine, UserChoice,
};
use protocol::identity::Program;
use protocol::next_run::NextRun;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _,
};

use crate::world::{Agent, World, caller, refusal};

crate::stories! {
    a_token_enrols_and_the_same_machine_is_the_same_agent_again
    tokens_end_are_used_up_and_taken_back
    a_token_that_may_be_used_once_enrols_one_of_many_who_come_at_once
    a_disabled_agent_does_not_come_back_by_enrolling
    an_address_enrols_ten_at_once_and_keeps_nobody_from_signing_in
    a_person_signs_an_agent_in_by_two_steps
    a_sign_in_is_completed_once_and_in_time
}

fn machine(device_id: &str) -> Machine {
    Machine {
        hostname: "hv01".to_owned(),
        device_id: device_id.to_owned(),
        install_id: "3f0e0d0c-0000-4000-8000-000000000001".to_owned(),
        device_name: "the first".to_owned(),
        program: Program {
            version: "1.9.0".to_owned(),
            os: "windows".to_owned(),
            arch: "amd64".to_owned(),
            build: "b7".to_owned(),
        },
    }
}

fn enroll(token: &str, device_id: &str) -> Enroll {
    Enroll {
        token: SecretText::new(token),
        machine: machine(device_id),
    }
}

const DEVICE: &str = "2f0e0d0c-0000-4000-8000-000000000001";

fn agent(enrolled: &Enrolled) -> Agent {
    let id = enrolled.identity.agent.to_string();
    Agent {
        caller: caller(&id, enrolled.identity.token.reveal()),
        id,
    }
}

async fn a_token_enrols_and_the_same_machine_is_the_same_agent_again(world: World) {
    let token = world.token(None, None).await;
    let first = world
        .call_as_stranger(&enroll(&token, DEVICE))
        .await
        .expect("enrolled");
    assert_eq!(first.client_id, world.tenant);
    assert_eq!(first.api_base_url, world.url);
    assert_eq!(first.identity.token.reveal().len(), 40);
    let first = agent(&first);
    let row = world.host(&first.id).await;
    assert_eq!(
        (row.name.as_str(), row.hostname.as_str()),
        ("the first", "hv01")
    );
    assert_eq!((row.build.as_str(), row.os.as_str()), ("b7", "windows"));
    // People can choose among its VMs at once.
    let polled = world
        .call(&first, &Poll { long: false })
        .await
        .expect("polled");
    assert_eq!(polled.commands[0].name, "list_hyperv_vms");
    let again = world
        .call_as_stranger(&enroll(&token, DEVICE))
        .await
        .expect("enrolled");
    let again = agent(&again);
    assert_eq!(again.id, first.id);
    world
        .call(&again, &NextRun)
        .await
        .expect("the new token works");
    assert_eq!(refusal(world.call(&first, &NextRun).await).0, 401);
    let other = world
        .call_as_stranger(&enroll(&token, ""))
        .await
        .expect("enrolled");
    assert_ne!(
        agent(&other).id,
        first.id,
        "without a device it is a new one"
    );
    let row = enrolment_token::Entity::find()
        .one(world.plane.store.db())
        .await;
    assert_eq!(row.expect("read").expect("a token").use_count, 3);
}

async fn tokens_end_are_used_up_and_taken_back(world: World) {
    let refused = |answer| refusal::<Enrolled>(answer);
    let nameless = Enroll {
        machine: Machine::default(),
        ..enroll("aa", "")
    };
    let missing = (400, "Missing token or hostname".to_owned());
    assert_eq!(refused(world.call_as_stranger(&nameless).await), missing);
    assert_eq!(
        refused(world.call_as_stranger(&enroll("", "")).await),
        missing
    );
    for unknown in ["short", &"ab".repeat(20)] {
        let answer = world.call_as_stranger(&enroll(unknown, "")).await;
        assert_eq!(refused(answer), (401, "Invalid token".to_owned()));
    }
    let once = world.token(Some(1), None).await;
    world
        .call_as_stranger(&enroll(&once, ""))
        .await
        .expect("enrolled");
    let answer = world.call_as_stranger(&enroll(&once, "")).await;
    assert_eq!(refused(answer), (401, "Token usage exhausted".to_owned()));
    let short = world.token(None, Some(world.now() + 1_000)).await;
    world
        .call_as_stranger(&enroll(&short, ""))
        .await
        .expect("enrolled");
    world.pass(1);
    let answer = world.call_as_stranger(&enroll(&short, "")).await;
    assert_eq!(refused(answer), (401, "Token expired".to_owned()));
    let revoked = world.token(None, None).await;
    let hash = control_plane::plane::token_hash(&revoked);
    let row = enrolment_token::Entity::find()
        .filter(enrolment_token::Column::TokenHash.eq(hash))
        .one(world.plane.store.db())
        .await
        .expect("read")
        .expect("a token");
    let mut row = row.into_active_model();
    row.revoked_at = Set(Some(world.now()));
    row.update(world.plane.store.db()).await.expect("revoked");
    let answer = world.call_as_stranger(&enroll(&revoked, "")).await;
    assert_eq!(refused(answer), (401, "Token revoked".to_owned()));
}

async fn a_token_that_may_be_used_once_enrols_one_of_many_who_come_at_once(world: World) {
    let once = enroll(&world.token(Some(1), None).await, "");
    let calls = [
        world.call_as_stranger(&once),
        world.call_as_stranger(&once),
        world.call_as_stranger(&once),
        world.call_as_stranger(&once),
    ];
    let [a, b, c, d] = calls;
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let enrolled = [a, b, c, d].iter().filter(|it| it.is_ok()).count();
    assert_eq!(enrolled, 1);
}

async fn a_disabled_agent_does_not_come_back_by_enrolling(world: World) {
    let token = world.token(Some(2), None).await;
    let enrolled = world
        .call_as_stranger(&enroll(&token, DEVICE))
        .await
        .expect("enrolled");
    let mut row = world.host(&agent(&enrolled).id).await.into_active_model();
    row.is_disabled = Set(true);
    row.update(world.plane.store.db()).await.expect("disabled");
    let answer = world.call_as_stranger(&enroll(&token, DEVICE)).await;
    assert_eq!(refusal(answer).0, 401);
    // What was refused used nothing up.
    world
        .call_as_stranger(&enroll(&token, ""))
        .await
        .expect("enrolled");
}

async fn an_address_enrols_ten_at_once_and_keeps_nobody_from_signing_in(world: World) {
    let token = world.token(None, None).await;
    for n in 0..10 {
        let call = enroll(if n % 2 == 0 { &token } else { "no token" }, "");
        let answer = world.call_as_stranger(&call).await;
        assert_eq!(answer.is_ok(), n % 2 == 0, "{n}");
    }
    let call = enroll(&token, "");
    assert_eq!(refusal(world.call_as_stranger(&call).await).0, 429);
    person(&world, "own@example.com", "owner", Some(&world.tenant)).await;
    session(&world, "own@example.com").await;
    world.pass(6);
    world.call_as_stranger(&call).await.expect("enrolled");
    assert_eq!(refusal(world.call_as_stranger(&call).await).0, 429);
}

const SECRET: &str = "correct horse battery";

async fn person(world: &World, email: &str, role: &str, tenant_id: Option<&str>) {
    // Cheap, for nobody guesses here.
    let params = Params::new(8, 1, 1, None).expect("parameters");
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon
        .hash_password_with_salt(SECRET.as_bytes(), b"salt of a test..")
        .expect("a hash");
    let text = |text: &str| Set(text.to_owned());
    let row = user::ActiveModel {
        id: Set(world.plane.new_id()),
        tenant_id: Set(tenant_id.map(str::to_owned)),
        email: text(email),
        name: text("Ann"),
        role: text(role),
        password_hash: Set(hash.to_string()),
        totp_secret_sealed: Set(None),
        totp_pending_sealed: Set(None),
        totp_last_step: Set(0),
        is_disabled: Set(false),
        created_at: Set(world.now()),
    };
    row.insert(world.plane.store.db()).await.expect("a person");
}

fn login(email: &str, password: &str) -> Login {
    Login {
        email: email.to_owned(),
        password: SecretText::new(password),
        machine: machine(DEVICE),
        steps: LoginSteps::Two,
    }
}

async fn session(world: &World, email: &str) -> LoginSession {
    match world
        .call_as_stranger(&login(email, SECRET))
        .await
        .expect("signed in")
    {
        LoggedIn::Session(session) => session,
        LoggedIn::Enrolled(_) => panic!("in one step"),
    }
}

fn complete(session: &LoginSession, user: UserChoice) -> CompleteLogin {
    CompleteLogin {
        session_token: session.session_token.clone(),
        user,
    }
}

async fn a_person_signs_an_agent_in_by_two_steps(world: World) {
    let other = world.new_tenant("two").await;
    person(&world, "own@example.com", "owner", Some(&world.tenant)).await;
    person(&world, "op@example.com", "operator", Some(&world.tenant)).await;
    person(&world, "root@example.com", "owner", None).await;
    let begun = session(&world, "Own@Example.com").await;
    assert_eq!(begun.session_token.reveal().len(), 64);
    assert_eq!(begun.users.len(), 1);
    let user = UserChoice::Existing(begun.users[0].id.clone());
    let enrolled = world
        .call_as_stranger(&complete(&begun, user))
        .await
        .expect("enrolled");
    let enrolled = agent(&enrolled);
    assert_eq!(world.host(&enrolled.id).await.tenant_id, world.tenant);
    world.call(&enrolled, &NextRun).await.expect("let in");
    // Of one tenant there is nothing to choose.
    let begun = session(&world, "own@example.com").await;
    let again = complete(&begun, UserChoice::Created);
    let again = world.call_as_stranger(&again).await.expect("enrolled");
    assert_eq!(agent(&again).id, enrolled.id);
    // Somebody of the installation chooses.
    let begun = session(&world, "root@example.com").await;
    assert_eq!(begun.users.len(), 2);
    let answer = world
        .call_as_stranger(&complete(&begun, UserChoice::Created))
        .await;
    assert_eq!(refusal(answer).0, 400);
    let chosen = UserChoice::Existing(WireId::Text(other.clone()));
    let there = world
        .call_as_stranger(&complete(&begun, chosen))
        .await
        .expect("enrolled");
    assert_eq!(world.host(&agent(&there).id).await.tenant_id, other);
    // A foreign tenant is none of the choices.
    let begun = session(&world, "own@example.com").await;
    let foreign = UserChoice::Existing(WireId::Text(other));
    let answer = world.call_as_stranger(&complete(&begun, foreign)).await;
    assert_eq!(refusal(answer).0, 404);
    for (email, password, expected) in [
        ("own@example.com", "wrong", 401),
        ("nobody@example.com", SECRET, 401),
        ("op@example.com", SECRET, 403),
    ] {
        let answer = world.call_as_stranger(&login(email, password)).await;
        assert_eq!(refusal(answer).0, expected, "{email}");
    }
    let one_step = Login {
        steps: LoginSteps::One,
        ..login("own@example.com", SECRET)
    };
    let refused = refusal(world.call_as_stranger(&one_step).await);
    assert_eq!(refused, (400, "Invalid mode".to_owned()));
}

async fn a_sign_in_is_completed_once_and_in_time(world: World) {
    person(&world, "own@example.com", "owner", Some(&world.tenant)).await;
    let begun = session(&world, "own@example.com").await;
    let call = complete(&begun, UserChoice::Created);
    world.call_as_stranger(&call).await.expect("enrolled");
    assert_eq!(refusal(world.call_as_stranger(&call).await).0, 409);
    let begun = session(&world, "own@example.com").await;
    let mut row = world
        .plane
        .store
        .user_by_email("own@example.com")
        .await
        .expect("read")
        .expect("there")
        .into_active_model();
    row.role = Set("operator".to_owned());
    let row = row.update(world.plane.store.db()).await.expect("changed");
    let answer = world
        .call_as_stranger(&complete(&begun, UserChoice::Created))
        .await;
    assert_eq!(refusal(answer).0, 403, "the role was taken meanwhile");
    let mut row = row.into_active_model();
    row.role = Set("owner".to_owned());
    row.update(world.plane.store.db()).await.expect("changed");
    world.pass(600);
    let answer = world
        .call_as_stranger(&complete(&begun, UserChoice::Created))
        .await;
    assert_eq!(refusal(answer), (401, "Session expired".to_owned()));
    // What somebody began with a password ends with the password.
    let begun = session(&world, "own@example.com").await;
    let store = &world.plane.store;
    let owner = store.user_by_email("own@example.com").await;
    let id = owner.expect("read").expect("there").id;
    let txn = store.begin().await.expect("a transaction");
    store.end_sessions(&txn, &id, None).await.expect("ended");
    txn.commit().await.expect("done");
    let answer = world
        .call_as_stranger(&complete(&begun, UserChoice::Created))
        .await;
    assert_eq!(refusal(answer).0, 404);
    let unknown = CompleteLogin {
        session_token: SecretText::new("ab".repeat(32)),
        user: UserChoice::Created,
    };
    assert_eq!(refusal(world.call_as_stranger(&unknown).await).0, 404);
}
