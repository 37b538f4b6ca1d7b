//! Rows of what an agent works for, as a tenant has them who set up nothing unusual.

use control_plane::plane::Plane;
use control_plane::store::entity::{job, repository};
use sea_orm::ActiveValue::Set;

/// Returns a repository in a folder that is not named yet.
pub fn repository(plane: &Plane, tenant_id: &str, password: &str) -> repository::ActiveModel {
    let text = |text: &str| Set(text.to_owned());
    let id = plane.chance.uuid().to_string();
    let of = format!("repository/{id}/password");
    repository::ActiveModel {
        id: Set(id),
        tenant_id: text(tenant_id),
        name: text("a repository"),
        kind: text("local"),
        endpoint: text(""),
        region: text(""),
        bucket: text(""),
        prefix: text(""),
        path: text(""),
        host_id: Set(None),
        access_key: text(""),
        secret_key_sealed: Set(None),
        password_sealed: Set(plane.sealing.seal(&of, password.as_bytes())),
        limit_bytes: Set(None),
        damaged_points: Set(0),
        stored_bytes: Set(None),
        measured_at: Set(None),
        quick_every_hours: Set(24),
        full_every_hours: Set(0),
        verify_every_hours: Set(0),
        verify_percent: Set(0),
        last_quick_at: Set(None),
        last_full_at: Set(None),
        last_verified_at: Set(None),
        last_listed_at: Set(None),
        created_at: Set(plane.now_ms()),
    }
}

/// Returns a job of a host's VMs whose names begin with `web`.
pub fn job(plane: &Plane, repository: &repository::Model, host_id: &str) -> job::ActiveModel {
    let text = |text: &str| Set(text.to_owned());
    job::ActiveModel {
        id: Set(plane.new_id()),
        tenant_id: text(&repository.tenant_id),
        host_id: text(host_id),
        repository_id: text(&repository.id),
        name: text("every night"),
        engine: text("hyperv"),
        status: text("active"),
        sources_json: text("[]"),
        vms_json: text(r#"{"include":["web*"]}"#),
        consistency: text("application"),
        schedule_json: text(r#"{"kind":"manual"}"#),
        retention_json: text(r#"{"keep_last":7}"#),
        policy_json: text("{}"),
        bandwidth_kib_s: Set(0),
        objective_hours: Set(24),
        next_run_at: Set(None),
        created_at: Set(plane.now_ms()),
        updated_at: Set(plane.now_ms()),
    }
}
