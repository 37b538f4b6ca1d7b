//! People who sign in and manage, through the server's own routes; and what holds for every route there is.

#[path = "../things/ground.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod ground;
#[path = "../server/mod.rs"]
mod server;

mod isolation;
mod management;
mod routes;
mod sign_in;
mod surface;
