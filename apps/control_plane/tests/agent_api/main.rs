//! The agents' API, call by call through `protocol`'s own client side over real HTTP, on SQLite and on PostgreSQL.

mod authentication;
mod calls;
mod claims;
mod commands;
mod enrolment;
mod events;
mod idle;
mod inventory;
mod operations;
mod polls;
#[path = "../server/postgres.rs"]
mod postgres;
mod program;
mod rows;
mod runs;
mod silence;
mod trouble;
mod two_programs;
mod world;

/// Makes two tests of each story: one on SQLite, one on a PostgreSQL server of our own where its programs are.
#[macro_export]
macro_rules! stories {
    ($($story:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::world::World::on_sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                match $crate::world::World::on_postgres().await {
                    Some(world) => super::$story(world).await,
                    None => println!(
                        "left out, for there are no programs of a PostgreSQL server: {}",
                        concat!(module_path!(), "::", stringify!($story))
                    ),
                }
            })*
        }
    };
}
