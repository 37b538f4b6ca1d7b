//! What hosts list: VMs, volumes, and what they are told of jobs (contract 3.10 to 3.14).

use control_plane::store::entity::vm::Model as KnownVm;
use protocol::WireId;
use protocol::hyperv_discover::{DiscoveredVm, HypervDiscover};
use protocol::identifier::CommandId;
use protocol::reports::{Report, ReportBrowse, Vm, VmDetail, VmDetails, VmDisk, VmLeftover, Vms};
use protocol::update_run::RunStatus;
use protocol::volumes::{ReportVolumes, Volume, VolumeKind};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ConnectionTrait as _, IntoActiveModel as _,
};
use serde_json::json;

use crate::world::{Agent, SECRET_KEY, World, headers, refusal};

crate::stories! {
    a_list_of_vms_brings_new_ones_changes_known_ones_and_misses_gone_ones
    a_vm_that_moves_keeps_its_number
    whoever_writes_several_vms_begins_with_the_same_one
    vms_that_an_agent_finds_by_itself_have_numbers
    volumes_are_replaced_and_so_many_are_kept
    an_agent_may_list_its_jobs_and_start_a_run
}

fn vm(guid: &str, name: &str, state: &str) -> Vm {
    Vm {
        id: guid.to_owned(),
        name: name.to_owned(),
        state: state.to_owned(),
        generation: 2,
        cpu_count: 4,
        memory_mb: 8_192,
        rct_enabled: true,
        ..Vm::default()
    }
}

async fn report(world: &World, agent: &Agent, kind: &str, found: &impl Report) {
    let id = world.command(agent, kind, json!({}), json!({})).await;
    let id = CommandId(u64::try_from(id).expect("a number"));
    let report = ReportBrowse::new(id, found);
    world.call(agent, &report).await.expect("taken");
}

const A: &str = "5f3b0000-0000-4000-8000-00000000000a";
const B: &str = "5f3b0000-0000-4000-8000-00000000000b";

async fn a_list_of_vms_brings_new_ones_changes_known_ones_and_misses_gone_ones(world: World) {
    let agent = world.agent().await;
    let listed = Vms::from(vec![vm(A, "web", "Running"), vm(B, "db", "Off")]);
    report(&world, &agent, "list_hyperv_vms", &listed).await;
    let vms = world.vms(&agent.id).await;
    assert_eq!(vms.len(), 2);
    assert_eq!(
        (vms[0].guid.as_str(), vms[0].name.as_str()),
        (A.to_uppercase().as_str(), "web")
    );
    assert_eq!(
        (vms[0].cpu_count, vms[0].memory_mb, vms[0].is_tracked),
        (4, 8_192, true)
    );
    assert!(world.host(&agent.id).await.inventory_at.is_some());
    let details = VmDetails::from(vec![VmDetail {
        id: A.to_uppercase(),
        name: "web".to_owned(),
        disk_count: 1,
        disks: vec![VmDisk {
            path: "D:\\web.vhdx".to_owned(),
            size_bytes: 7,
            ..VmDisk::default()
        }],
        leftovers: Some(vec![VmLeftover {
            kind: "user".to_owned(),
            name: "before the update".to_owned(),
            created_at: "2026-03-01T10:00:00Z".to_owned(),
        }]),
    }]);
    report(&world, &agent, "list_hyperv_vm_details", &details).await;
    let told = &world.vms(&agent.id).await[0].leftovers_json;
    assert!(told.contains("before the update"), "{told}");
    let renamed = Vms::from(vec![vm(A, "web-new", "Off")]);
    report(&world, &agent, "list_hyperv_vms", &renamed).await;
    let vms = world.vms(&agent.id).await;
    assert_eq!(
        (vms[0].name.as_str(), vms[0].state.as_str()),
        ("web-new", "Off")
    );
    assert!(
        vms[0].disks_json.contains("web.vhdx"),
        "{}",
        vms[0].disks_json
    );
    assert!(vms[0].gone_at.is_none() && vms[1].gone_at.is_some());
    report(&world, &agent, "list_hyperv_vms", &listed).await;
    let vms = world.vms(&agent.id).await;
    assert_eq!(vms.len(), 2, "it came back as itself");
    assert!(vms[1].gone_at.is_none());
}

async fn a_vm_that_moves_keeps_its_number(world: World) {
    let (first, second) = (world.agent().await, world.agent().await);
    let tenant = world.new_tenant("two").await;
    let foreign = world.agent_of(&tenant).await;
    report(
        &world,
        &first,
        "list_hyperv_vms",
        &Vms::from(vec![vm(A, "web", "Running")]),
    )
    .await;
    let before = world.vms(&first.id).await.remove(0);
    // A replica that is off there is another row.
    report(
        &world,
        &second,
        "list_hyperv_vms",
        &Vms::from(vec![vm(A, "web", "Off")]),
    )
    .await;
    assert_eq!(world.vms(&second.id).await.len(), 1);
    assert_eq!(world.vms(&first.id).await.len(), 1);
    let third = world.agent().await;
    report(
        &world,
        &third,
        "list_hyperv_vms",
        &Vms::from(vec![vm(A, "web", "Running")]),
    )
    .await;
    let moved = world.vms(&third.id).await.remove(0);
    assert_eq!(moved.id, before.id);
    assert!(world.vms(&first.id).await.is_empty());
    assert_eq!(world.vms(&second.id).await.len(), 1, "the replica stays");
    // Another tenant's host with a copy of it takes nothing away.
    report(
        &world,
        &foreign,
        "list_hyperv_vms",
        &Vms::from(vec![vm(A, "web", "Running")]),
    )
    .await;
    let copy = world.vms(&foreign.id).await.remove(0);
    assert_ne!(copy.id, moved.id);
    assert_eq!(copy.tenant_id, tenant);
    assert_eq!(world.vms(&third.id).await.len(), 1);
}

async fn whoever_writes_several_vms_begins_with_the_same_one(world: World) {
    let store = &world.plane.store;
    if !store.is_shared() {
        // On SQLite one transaction at a time is open.
        return;
    }
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    let (first, second) = (world.vm(&agent, "web").await, world.vm(&agent, "db").await);
    let listed = |known: &KnownVm| vm(&known.guid, &known.name, "Running");
    let result = |known: &KnownVm| {
        json!({
            "vm_id": known.id, "vm_name": known.name, "backup_type": "Full", "checkpoint_id": "C",
            "disk_manifests": {"D:\\z.vhdx": "9c41"}, "consistency_level": "Crash",
        })
    };
    for case in [
        "a list of both",
        "a list without the first",
        "the end of a run",
    ] {
        let run = world.queue(&job).await;
        world.take(&agent).await.expect("a run");
        // While somebody holds the first VM …
        let holder = store.begin().await.expect("begun");
        let hold = async |id: i64| {
            let order = format!("UPDATE vms SET cpu_count = cpu_count WHERE id = {id}");
            holder.execute_unprepared(&order).await
        };
        hold(first.id).await.expect("held");
        let writing = async {
            match case {
                "a list of both" => {
                    let both = Vms::from(vec![listed(&second), listed(&first)]);
                    report(&world, &agent, "list_hyperv_vms", &both).await;
                }
                "a list without the first" => {
                    let one = Vms::from(vec![listed(&second)]);
                    report(&world, &agent, "list_hyperv_vms", &one).await;
                }
                _ => {
                    let results = vec![result(&second), result(&first)];
                    world.end(&agent, &run, RunStatus::Success, results).await;
                }
            }
        };
        // … nobody who waits for it holds the second one.
        let holding = async {
            world.somebody_waits().await;
            hold(second.id).await.expect(case);
        };
        let mut writing = std::pin::pin!(writing);
        tokio::select! {
            () = &mut writing => panic!("{case} waits for nobody"),
            () = holding => {}
        }
        holder.commit().await.expect("committed");
        writing.await;
        world
            .end(&agent, &run, RunStatus::Success, Vec::new())
            .await;
    }
}

async fn vms_that_an_agent_finds_by_itself_have_numbers(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    let known = world.vm(&agent, "web01").await;
    let found = |guid: &str, name: &str| DiscoveredVm {
        id: guid.to_owned(),
        name: name.to_owned(),
        generation: 2,
        is_linux: true,
        integration_services: true,
        rct_enabled: true,
        disks: Vec::new(),
    };
    let call = HypervDiscover {
        job_id: WireId::Text(job.id.clone()),
        vms: vec![found(B, "new"), found(&known.guid.to_lowercase(), "web01")],
    };
    let registered = world.call(&agent, &call).await.expect("registered");
    assert_eq!((registered.created, registered.updated), (1, 1));
    let numbers: Vec<i64> = registered
        .vm_ids
        .iter()
        .map(|number| i64::try_from(number.0).expect("a number"))
        .collect();
    let vms = world.vms(&agent.id).await;
    let new = vms.iter().find(|vm| vm.name == "new").expect("the new one");
    assert_eq!(
        numbers,
        [new.id, known.id],
        "in the order in which they were sent"
    );
    assert_eq!(refusal(world.call(&other, &call).await).0, 403);
    let (status, _) = world
        .post(&agent, "agent_hyperv_discover.php", json!({"vms": []}))
        .await;
    assert_eq!(status, 400);
}

async fn volumes_are_replaced_and_so_many_are_kept(world: World) {
    let agent = world.agent().await;
    let volume = |path: String| Volume {
        path,
        label: "System".to_owned(),
        size_bytes: 7,
        free_bytes: Some(3),
        filesystem: "NTFS".to_owned(),
        kind: VolumeKind::Fixed,
        unc_path: String::new(),
        is_network: false,
    };
    let call = ReportVolumes {
        volumes: vec![volume("C:\\".to_owned())],
    };
    assert_eq!(world.call(&agent, &call).await.expect("taken"), 1);
    let many: Vec<_> = (0..250).map(|it| json!(volume(format!("V{it}")))).collect();
    let document = json!({"volumes": many});
    let (status, envelope) = world
        .post(&agent, "agent_report_volumes.php", document)
        .await;
    assert_eq!((status, &envelope["count"]), (200, &json!(200)));
    let odd = json!({"volumes": [{"path": "/x", "type": "zfs"}, 7]});
    let (_, envelope) = world.post(&agent, "agent_report_volumes.php", odd).await;
    assert_eq!(envelope["count"], 1);
    let row = world.host(&agent.id).await;
    assert_eq!(row.volumes_json, r#"[{"path":"/x","type":"zfs"}]"#);
    assert!(row.volumes_at.is_some());
}

async fn an_agent_may_list_its_jobs_and_start_a_run(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let sent = headers(&agent);
    let sent: Vec<_> = sent
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let (status, envelope) = world.raw("GET", "agent_fetch_jobs.php", &sent, "").await;
    assert_eq!(status, 200);
    assert_eq!(envelope["jobs"][0]["id"], json!(job.id));
    assert_eq!(envelope["jobs"][0]["retention_value"], 7);
    let document = json!({"job_id": job.id});
    let (status, started) = world
        .post(&agent, "agent_start_run.php", document.clone())
        .await;
    assert_eq!(status, 200);
    assert!(!started.to_string().contains(SECRET_KEY), "{started}");
    assert_eq!(started["dest_bucket_name"], "backups");
    let (status, again) = world
        .post(&agent, "agent_start_run.php", document.clone())
        .await;
    assert_eq!((status, &again["code"]), (409, &json!("ALREADY_RUNNING")));
    assert_eq!(again["existing_run_id"], started["run_id"]);
    assert_eq!(again["existing_run_status"], "queued");
    let (status, _) = world
        .post(&other, "agent_start_run.php", document.clone())
        .await;
    assert_eq!(status, 404);
    let run = world.take(&agent).await.expect("the run");
    assert_eq!(json!(run.run_id), started["run_id"]);
    let mut paused = job.into_active_model();
    paused.status = Set("paused".to_owned());
    paused.update(world.plane.store.db()).await.expect("paused");
    let (status, _) = world.post(&agent, "agent_start_run.php", document).await;
    assert_eq!(status, 400);
}
