//! Work on repositories (contract 3.15 and 3.16).

use control_plane::store::entity::repository;
use protocol::identifier::OperationId;
use protocol::repo_operations::{
    CompleteRepoOperation, OperationKind, OperationResult, OperationStatus, PollRepoOperations,
    RepoOperation,
};
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, EntityTrait as _, IntoActiveModel as _};
use serde_json::json;

use crate::world::{Agent, SECRET_KEY, World, refusal};

crate::stories! {
    work_goes_to_hosts_that_have_stored_in_the_repository_one_at_a_time
    work_is_reported_by_who_took_it_with_its_token
    a_lock_ends_by_itself
    work_that_took_longer_than_a_day_counts_once
    a_folder_that_was_moved_is_worked_on_by_who_has_it
    kinds_of_our_own_go_to_agents_that_understand_them
    nobody_is_woken_for_what_they_would_not_be_handed
}

async fn polled(world: &World, agent: &Agent) -> Option<RepoOperation> {
    world
        .call(agent, &PollRepoOperations)
        .await
        .expect("polled")
}

fn report(operation: &RepoOperation, status: OperationStatus) -> CompleteRepoOperation {
    CompleteRepoOperation {
        operation_id: operation.operation_id,
        operation_token: operation.operation_token.clone(),
        status,
        result: OperationResult {
            deleted_count: Some(3),
            ..OperationResult::default()
        },
    }
}

async fn work_goes_to_hosts_that_have_stored_in_the_repository_one_at_a_time(world: World) {
    let (user, stranger, newcomer) = (
        world.agent().await,
        world.agent().await,
        world.agent().await,
    );
    let (repository, other) = (world.repository().await, world.repository().await);
    world.used(&user, &repository).await;
    world.used(&stranger, &other).await;
    // It has a job, and no run of it has made the repository known to it.
    world.job(&newcomer, &repository, "kopia").await;
    world
        .operation(&repository, "retention_apply", "first")
        .await;
    let second = world
        .operation(&repository, "maintenance_quick", "second")
        .await;
    assert_eq!(polled(&world, &stranger).await, None);
    assert_eq!(polled(&world, &newcomer).await, None);
    let waiting = world.plane.store.hosts_with_work(world.now()).await;
    assert_eq!(waiting.expect("read").one_of, [[user.id.clone()]]);
    let operation = polled(&world, &user).await.expect("an operation");
    assert_eq!(operation.kind(), Some(OperationKind::RetentionApply));
    assert_eq!(operation.operation_token, "first");
    assert_eq!(operation.effective_policy.retention.keep_last, Some(3));
    assert_eq!(operation.repository_id, repository.id);
    assert_eq!(
        (
            operation.bucket_name.as_str(),
            operation.root_prefix.as_str()
        ),
        ("backups", "some/where")
    );
    assert_eq!(operation.dest_secret_key.reveal(), SECRET_KEY);
    assert_eq!(
        polled(&world, &user).await,
        None,
        "the repository is locked"
    );
    let done = report(&operation, OperationStatus::Success);
    world.call(&user, &done).await.expect("taken");
    let next = polled(&world, &user).await.expect("the next");
    assert_eq!(
        next.operation_id,
        OperationId(u64::try_from(second).expect("a number"))
    );
}

async fn work_is_reported_by_who_took_it_with_its_token(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    let repository = world.repository().await;
    world.used(&agent, &repository).await;
    world.used(&other, &repository).await;
    let id = world
        .operation(&repository, "maintenance_full", "the token")
        .await;
    let unclaimed = CompleteRepoOperation {
        operation_id: OperationId(u64::try_from(id).expect("a number")),
        operation_token: "the token".to_owned(),
        status: OperationStatus::Success,
        result: OperationResult::default(),
    };
    assert_eq!(refusal(world.call(&agent, &unclaimed).await).0, 403);
    let operation = polled(&world, &agent).await.expect("an operation");
    let done = report(&operation, OperationStatus::Success);
    assert_eq!(refusal(world.call(&other, &done).await).0, 403);
    let mut wrong = done.clone();
    wrong.operation_token = "another".to_owned();
    assert_eq!(refusal(world.call(&agent, &wrong).await).0, 403);
    for _ in 0..2 {
        world
            .call(&agent, &done)
            .await
            .expect("taken, and known the second time");
    }
    let row = world.run_operation(id).await;
    assert_eq!((row.status.as_str(), row.locked_until), ("success", None));
    assert_eq!(row.result_json, r#"{"deleted_count":3}"#);
    let kept = repository::Entity::find_by_id(&repository.id)
        .one(world.plane.store.db())
        .await
        .expect("read")
        .expect("it");
    assert!(kept.last_full_at.is_some() && kept.last_quick_at == kept.last_full_at);
}

async fn a_folder_that_was_moved_is_worked_on_by_who_has_it(world: World) {
    let (before, now) = (world.agent().await, world.agent().await);
    let repository = world.repository().await;
    world.used(&before, &repository).await;
    world.used(&now, &repository).await;
    let mut row = repository.clone().into_active_model();
    row.host_id = Set(Some(now.id.clone()));
    row.update(world.plane.store.db()).await.expect("moved");
    world
        .operation(&repository, "maintenance_quick", "first")
        .await;
    assert_eq!(polled(&world, &before).await, None);
    assert!(polled(&world, &now).await.is_some());
}

async fn a_lock_ends_by_itself(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    world.used(&agent, &repository).await;
    world
        .operation(&repository, "maintenance_quick", "first")
        .await;
    world
        .operation(&repository, "maintenance_quick", "second")
        .await;
    let first = polled(&world, &agent).await.expect("an operation");
    world.pass(295);
    assert_eq!(polled(&world, &agent).await, None);
    world.pass(5);
    assert_eq!(
        polled(&world, &agent).await.expect("it").operation_token,
        "second"
    );
    // Who took longer may still say so.
    let done = report(&first, OperationStatus::Failed);
    world.call(&agent, &done).await.expect("taken");
}

async fn work_that_took_longer_than_a_day_counts_once(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    world.used(&agent, &repository).await;
    let id = world
        .operation(&repository, "maintenance_full", "the token")
        .await;
    let operation = polled(&world, &agent).await.expect("an operation");
    world.pass(86_400 + 301);
    let watched = world.plane.store.watchdog(world.now(), 0).await;
    watched.expect("watched");
    assert_eq!(world.run_operation(id).await.status, "failed");
    let done = report(&operation, OperationStatus::Success);
    let mut ended = Vec::new();
    for _ in 0..2 {
        world.call(&agent, &done).await.expect("taken");
        assert_eq!(world.run_operation(id).await.status, "success");
        let kept = repository::Entity::find_by_id(&repository.id)
            .one(world.plane.store.db())
            .await
            .expect("read")
            .expect("it");
        ended.push(kept.last_full_at.expect("it was done"));
        world.pass(60);
    }
    assert_eq!(ended[0], ended[1]);
}

async fn kinds_of_our_own_go_to_agents_that_understand_them(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    world.used(&agent, &repository).await;
    world.operation(&repository, "verify", "verify").await;
    assert_eq!(polled(&world, &agent).await, None);
    let mut row = world.host(&agent.id).await.into_active_model();
    row.agent_version = Set("2.0.0".to_owned());
    row.update(world.plane.store.db()).await.expect("newer");
    let mut newer = agent.clone();
    newer.caller.program.version = "2.0.0".to_owned();
    assert_eq!(polled(&world, &newer).await.expect("it").op_type, "verify");
}

async fn nobody_is_woken_for_what_they_would_not_be_handed(world: World) {
    let agents = [
        world.agent().await,
        world.agent().await,
        world.agent().await,
    ];
    let [old, new, disabled] = &agents;
    let (repository, other) = (world.repository().await, world.repository().await);
    for agent in &agents {
        world.used(agent, &repository).await;
        let mut row = world.host(&agent.id).await.into_active_model();
        row.agent_version = Set(if agent.id == old.id { "1.9.0" } else { "2.0.0" }.to_owned());
        row.is_disabled = Set(agent.id == disabled.id);
        row.update(world.plane.store.db()).await.expect("changed");
    }
    let waiting = async || {
        let work = world.plane.store.hosts_with_work(world.now()).await;
        let mut work = work.expect("read");
        for hosts in &mut work.one_of {
            hosts.sort();
        }
        (work.each, work.one_of)
    };
    let none = Vec::<String>::new;
    for kind in ["cancel", "enable_verbose_admin_logging"] {
        world.command(new, kind, json!({}), json!({})).await;
    }
    // Nobody has stored in the other one.
    world.operation(&other, "maintenance_quick", "a").await;
    assert_eq!(waiting().await, (none(), vec![]));
    world
        .command(old, "refresh_inventory", json!({}), json!({}))
        .await;
    world.operation(&repository, "verify", "b").await;
    let (of_old, of_new) = (vec![old.id.clone()], vec![new.id.clone()]);
    assert_eq!(waiting().await, (of_old.clone(), vec![of_new]));
    world.operation(&repository, "maintenance_quick", "c").await;
    let mut both = vec![old.id.clone(), new.id.clone()];
    both.sort();
    assert_eq!(waiting().await, (of_old.clone(), vec![both]));
    // Once one works on the repository, nobody else gets any of it.
    polled(&world, old).await.expect("an operation");
    assert_eq!(waiting().await, (of_old, vec![]));
}
