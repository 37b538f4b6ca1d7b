//! People who sign in and manage, through the server's own routes; and what holds for every route there is.

#[path = "../server/mod.rs"]
mod server;

mod management;
mod routes;
mod sign_in;
mod surface;
