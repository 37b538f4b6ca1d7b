//! The port's contract, with the model in either manner.

use fake_vssapi::Manners;
use volume::contract;

use crate::world::World;

#[test]
fn volumes_by_vss_keep_the_contract() {
    contract::run_all(|| World::new(Manners::default()));
}

#[test]
fn the_contract_is_kept_where_the_freeze_tells_of_writers() {
    contract::run_all(|| {
        World::new(Manners {
            the_freeze_tells_of_writers: true,
            ..Manners::default()
        })
    });
}
