//! Whose a new thing is, checked against the tenants that there are.

use sea_orm::EntityTrait as _;

use crate::people_api::caller::Caller;
use crate::people_api::error::{ApiError, ApiResult};
use crate::plane::Plane;
use crate::store::entity::tenant;

/// Returns the tenant that something new belongs to, which exists.
pub async fn new_thing_tenant(
    plane: &Plane,
    caller: &Caller,
    named: Option<&str>,
) -> ApiResult<String> {
    let id = caller.tenant_for(named)?;
    exists(plane, &id).await?;
    Ok(id)
}

/// Returns the tenant that a new person or token belongs to: none for one of the installation, which nobody of a
/// tenant can make.
pub async fn new_owner_tenant(
    plane: &Plane,
    caller: &Caller,
    named: Option<&str>,
) -> ApiResult<Option<String>> {
    if caller.tenant_id.is_none() && named.is_none() {
        return Ok(None);
    }
    new_thing_tenant(plane, caller, named).await.map(Some)
}

async fn exists(plane: &Plane, id: &str) -> ApiResult<()> {
    match tenant::Entity::find_by_id(id).one(plane.store.db()).await? {
        Some(_) => Ok(()),
        None => Err(ApiError::invalid(
            "tenant_id",
            format!("there is no tenant {id}"),
        )),
    }
}
