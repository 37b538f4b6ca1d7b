//! VMs as hosts list them: new ones, changed ones, ones that moved, ones that are gone.

use std::collections::{BTreeSet, HashMap, HashSet};

use protocol::hyperv_discover::DiscoveredVm;
use protocol::limit::shortened;
use protocol::reports::{Vm, VmDetail};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseBackend,
    DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TransactionTrait as _,
};
use serde_json::json;

use crate::log;
use crate::store::Store;
use crate::store::entity::{host, vm};
use crate::vm_choice::bare_guid;

const DAY_MS: i64 = 86_400_000;

/// So many VMs of a host are known at most. Hyper-V runs a thousand at once; each costs every look at alarms, so that an
/// agent that makes VMs up would keep everybody's alarms from being told.
const VMS_PER_HOST: usize = 20_000;

/// VMs that are gone count for so long: a host that makes and removes them all day has room again some day.
const GONE_COUNT_MS: i64 = 30 * DAY_MS;

/// The longest name of a VM.
const NAME_CHARS_MAX: usize = 255;

/// What a host said of a VM. What is `None` was not said.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    guid: String,
    name: String,
    generation: Option<i64>,
    is_linux: Option<bool>,
    state: Option<String>,
    is_tracked: Option<bool>,
    cpu_count: Option<i64>,
    memory_mb: Option<i64>,
    disks_json: Option<String>,
    leftovers_json: Option<String>,
}

/// Where what is known of a listed VM is.
#[derive(Debug, PartialEq)]
enum Place<'v> {
    /// On this host.
    Here(&'v vm::Model),
    /// It was on another host of the tenant, and has moved.
    Moved(&'v vm::Model),
    /// Nowhere.
    New,
}

/// Finds a listed VM among the tenant's. A VM that runs there and not here is a replica's original: the one here is
/// another row, so that the two do not take turns.
fn place<'v>(said: &Said, host_id: &str, known: &'v [vm::Model]) -> Place<'v> {
    let mut same = known.iter().filter(|vm| vm.guid == said.guid);
    if let Some(here) = same.clone().find(|vm| vm.host_id == host_id) {
        return Place::Here(here);
    }
    let runs_here = said.state.as_deref() == Some("Running");
    let has_left = |vm: &&vm::Model| vm.gone_at.is_some() || vm.state != "Running" || runs_here;
    same.find(has_left).map_or(Place::New, Place::Moved)
}

impl Store {
    /// Takes the full list of a host's VMs: what is not in it is gone.
    pub async fn list_vms(&self, host: &host::Model, listed: &[Vm], now: i64) -> Result<(), DbErr> {
        let said: Vec<_> = listed
            .iter()
            .map(|vm| Said {
                guid: bare_guid(&vm.id),
                name: vm.name.clone(),
                generation: Some(vm.generation.into()),
                is_linux: Some(vm.is_linux),
                state: Some(vm.state.clone()),
                is_tracked: Some(vm.rct_enabled),
                cpu_count: Some(vm.cpu_count.into()),
                memory_mb: Some(i64::try_from(vm.memory_mb).unwrap_or(i64::MAX)),
                disks_json: None,
                leftovers_json: None,
            })
            .collect();
        let txn = self.db.begin().await?;
        let known = known_vms(&txn, host, &said).await?;
        take(&txn, host, &said, &known, now).await?;
        let here: HashSet<&str> = said.iter().map(|vm| vm.guid.as_str()).collect();
        let gone = known
            .iter()
            .filter(|vm| vm.host_id == host.id && !here.contains(vm.guid.as_str()));
        lose(&txn, gone, now).await?;
        host::Entity::update_many()
            .set(host::ActiveModel {
                inventory_at: Set(Some(now)),
                ..Default::default()
            })
            .filter(host::Column::Id.eq(&host.id))
            .exec(&txn)
            .await?;
        txn.commit().await
    }

    /// Takes the VMs of a host that is removed for gone.
    pub async fn lose_vms(
        &self,
        txn: &DatabaseTransaction,
        host: &host::Model,
        now: i64,
    ) -> Result<(), DbErr> {
        let known = known_vms(txn, host, &[]).await?;
        lose(txn, known.iter(), now).await
    }

    /// Takes the disks of some of a host's VMs.
    pub async fn detail_vms(
        &self,
        host: &host::Model,
        details: &[VmDetail],
        now: i64,
    ) -> Result<(), DbErr> {
        let said: Vec<_> = details
            .iter()
            .map(|vm| Said {
                guid: bare_guid(&vm.id),
                name: vm.name.clone(),
                disks_json: Some(json!(vm.disks).to_string()),
                leftovers_json: vm.leftovers.as_ref().map(|all| json!(all).to_string()),
                ..Said::default()
            })
            .collect();
        let txn = self.db.begin().await?;
        let known = known_vms(&txn, host, &said).await?;
        take(&txn, host, &said, &known, now).await?;
        txn.commit().await
    }

    /// Registers VMs that an agent found by itself (contract 3.12). Returns how many are new, and their numbers in the
    /// order in which they were sent.
    pub async fn discover_vms(
        &self,
        host: &host::Model,
        found: &[DiscoveredVm],
        now: i64,
    ) -> Result<(usize, Vec<i64>), DbErr> {
        let said: Vec<_> = found
            .iter()
            .map(|vm| Said {
                guid: bare_guid(&vm.id),
                name: vm.name.clone(),
                generation: i64::try_from(vm.generation).ok().filter(|it| *it > 0),
                is_linux: Some(vm.is_linux),
                is_tracked: Some(vm.rct_enabled),
                disks_json: Some(json!(vm.disks).to_string()),
                ..Said::default()
            })
            .collect();
        let txn = self.db.begin().await?;
        let known = known_vms(&txn, host, &said).await?;
        let taken = take(&txn, host, &said, &known, now).await?;
        txn.commit().await?;
        Ok(taken)
    }
}

/// Returns the VMs of a host, and those of its tenant that it speaks of. Where others may write them at the same time, all
/// are locked before the first is written, the one with the smallest number first.
async fn known_vms<C: ConnectionTrait>(
    txn: &C,
    host: &host::Model,
    said: &[Said],
) -> Result<Vec<vm::Model>, DbErr> {
    let numbers = || vm::Entity::find().select_only().column(vm::Column::Id);
    let of_host = numbers().filter(vm::Column::HostId.eq(&host.id));
    let mut ids: BTreeSet<i64> = of_host
        .into_tuple::<i64>()
        .all(txn)
        .await?
        .into_iter()
        .collect();
    let guids: Vec<&str> = said.iter().map(|vm| vm.guid.as_str()).collect();
    for guids in guids.chunks(500) {
        let named = numbers()
            .filter(vm::Column::TenantId.eq(&host.tenant_id))
            .filter(vm::Column::Guid.is_in(guids.iter().copied()));
        ids.extend(named.into_tuple::<i64>().all(txn).await?);
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    let mut known = Vec::new();
    for ids in ids.chunks(500) {
        let mut rows = vm::Entity::find()
            .filter(vm::Column::Id.is_in(ids.iter().copied()))
            .order_by_asc(vm::Column::Id);
        if txn.get_database_backend() == DatabaseBackend::Postgres {
            rows = rows.lock_exclusive();
        }
        known.extend(rows.all(txn).await?);
    }
    Ok(known)
}

/// Writes down that VMs are gone, of those that were there.
async fn lose<C: ConnectionTrait>(
    txn: &C,
    gone: impl Iterator<Item = &vm::Model>,
    now: i64,
) -> Result<(), DbErr> {
    let ids: Vec<i64> = gone
        .filter(|vm| vm.gone_at.is_none())
        .map(|vm| vm.id)
        .collect();
    for ids in ids.chunks(500) {
        vm::Entity::update_many()
            .set(vm::ActiveModel {
                gone_at: Set(Some(now)),
                ..Default::default()
            })
            .filter(vm::Column::Id.is_in(ids.iter().copied()))
            .exec(txn)
            .await?;
    }
    Ok(())
}

/// Writes down what a host said of VMs. Returns how many are new, and their numbers in the order in which they were said.
async fn take<C: ConnectionTrait>(
    txn: &C,
    host: &host::Model,
    said: &[Said],
    known: &[vm::Model],
    now: i64,
) -> Result<(usize, Vec<i64>), DbErr> {
    let mut created = 0;
    let mut left_out = 0;
    let mut room = room(known, &host.id, now);
    let mut taken: HashMap<&str, i64> = HashMap::new();
    // New rows of one host wait for each other too, by their ids in Hyper-V.
    let mut sorted: Vec<&Said> = said.iter().filter(|said| !said.guid.is_empty()).collect();
    sorted.sort_by_key(|said| &said.guid);
    for said in sorted {
        if taken.contains_key(said.guid.as_str()) {
            continue;
        }
        let mut row = said.row();
        row.last_seen_at = Set(now);
        row.gone_at = Set(None);
        let number = match place(said, &host.id, known) {
            Place::Here(vm) | Place::Moved(vm) => {
                row.host_id = Set(host.id.clone());
                if vm.host_id != host.id || vm.gone_at.is_some() {
                    row.came_at = Set(Some(now));
                }
                vm::Entity::update_many()
                    .set(row)
                    .filter(vm::Column::Id.eq(vm.id))
                    .exec(txn)
                    .await?;
                vm.id
            }
            Place::New if room == 0 => {
                left_out += 1;
                continue;
            }
            Place::New => {
                created += 1;
                room -= 1;
                said.insert(row, host, now, txn).await?.id
            }
        };
        taken.insert(&said.guid, number);
    }
    if left_out > 0 {
        log::warn(format_args!(
            "host {} ({}): {left_out} VMs are not taken, for it has {VMS_PER_HOST} already; see whether its agent is what \
             it says, and disable the host if it is not",
            host.id, host.hostname
        ));
    }
    let numbers = said.iter().filter_map(|said| taken.get(said.guid.as_str()));
    Ok((created, numbers.copied().collect()))
}

/// Returns how many new VMs of a host are taken.
fn room(known: &[vm::Model], host_id: &str, now: i64) -> usize {
    let counts = |vm: &&vm::Model| {
        let is_there = vm.gone_at.is_none_or(|at| now - at < GONE_COUNT_MS);
        vm.host_id == host_id && is_there
    };
    VMS_PER_HOST.saturating_sub(known.iter().filter(counts).count())
}

impl Said {
    /// Returns what was said, to be written.
    fn row(&self) -> vm::ActiveModel {
        let mut row = vm::ActiveModel {
            ..Default::default()
        };
        if !self.name.is_empty() {
            row.name = Set(shortened(&self.name, NAME_CHARS_MAX));
        }
        macro_rules! take {
            ($($column:ident)*) => {
                $(if let Some(value) = self.$column.clone() {
                    row.$column = Set(value);
                })*
            };
        }
        take!(generation is_linux state is_tracked cpu_count memory_mb disks_json leftovers_json);
        row
    }

    async fn insert<C: ConnectionTrait>(
        &self,
        mut row: vm::ActiveModel,
        host: &host::Model,
        now: i64,
        txn: &C,
    ) -> Result<vm::Model, DbErr> {
        let text = |text: &str| Set(text.to_owned());
        row.tenant_id = text(&host.tenant_id);
        row.host_id = text(&host.id);
        row.guid = text(&self.guid);
        row.name = Set(match self.name.as_str() {
            "" => self.guid.clone(),
            name => shortened(name, NAME_CHARS_MAX),
        });
        row.generation = Set(self.generation.unwrap_or(0));
        row.is_linux = Set(self.is_linux.unwrap_or(false));
        row.state = Set(self.state.clone().unwrap_or_default());
        row.is_tracked = Set(self.is_tracked.unwrap_or(false));
        row.cpu_count = Set(self.cpu_count.unwrap_or(0));
        row.memory_mb = Set(self.memory_mb.unwrap_or(0));
        let none = || "[]".to_owned();
        row.disks_json = Set(self.disks_json.clone().unwrap_or_else(none));
        row.leftovers_json = Set(self.leftovers_json.clone().unwrap_or_else(none));
        row.last_checkpoint_id = Set(None);
        row.last_rct_ids_json = text("{}");
        row.objective_hours = Set(None);
        row.is_excused = Set(false);
        row.first_seen_at = Set(now);
        row.came_at = Set(None);
        row.insert(txn).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_rules::points::test_vm;

    #[test]
    fn a_host_has_room_for_so_many_vms_with_those_that_went_lately() {
        let vm = |host: &str, gone_at: Option<i64>| {
            let mut vm = test_vm(7, "web");
            vm.host_id = host.to_owned();
            vm.gone_at = gone_at;
            vm
        };
        let now = 100 * DAY_MS;
        let known = [
            vm("here", None),
            vm("here", Some(71 * DAY_MS)),
            vm("here", Some(70 * DAY_MS)),
            vm("there", None),
        ];
        assert_eq!(room(&known, "here", now), VMS_PER_HOST - 2);
        let full = vec![vm("here", None); VMS_PER_HOST + 1];
        assert_eq!(room(&full, "here", now), 0);
    }

    #[test]
    fn a_vm_that_moved_keeps_its_row_and_a_replica_has_its_own() {
        let there = |state: &str, gone_at: Option<i64>| {
            let mut vm = test_vm(7, "web");
            vm.host_id = "there".to_owned();
            vm.state = state.to_owned();
            vm.gone_at = gone_at;
            vm
        };
        let said = |state: &str| Said {
            guid: test_vm(7, "").guid,
            state: Some(state.to_owned()),
            ..Said::default()
        };
        for (known, listed, is_moved) in [
            (there("Running", None), "Running", true),
            (there("Running", None), "Off", false),
            (there("Running", Some(1)), "Off", true),
            (there("Off", None), "Off", true),
        ] {
            let known = [known];
            let place = place(&said(listed), "here", &known);
            let expected = match is_moved {
                true => Place::Moved(&known[0]),
                false => Place::New,
            };
            assert_eq!(place, expected, "{listed}");
        }
        let mut here = test_vm(8, "web");
        here.guid = test_vm(7, "").guid;
        here.host_id = "here".to_owned();
        let known = [there("Running", Some(1)), here];
        assert_eq!(place(&said("Off"), "here", &known), Place::Here(&known[1]));
    }
}
