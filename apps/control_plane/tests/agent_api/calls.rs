//! Every endpoint of the contract that agents of ours call is there, and asks who calls.

use protocol::endpoint::{Encoding, Endpoint};
use serde_json::json;

use crate::world::World;

crate::stories! {
    every_endpoint_is_there_and_asks_who_calls
}

async fn every_endpoint_is_there_and_asks_who_calls(world: World) {
    for endpoint in Endpoint::ALL {
        let kind = match endpoint.encoding() {
            Encoding::Form => "application/x-www-form-urlencoded",
            Encoding::Json | Encoding::None => "application/json",
        };
        let headers = [("Content-Type", kind)];
        let method = endpoint.method().as_str();
        let (status, envelope) = world.raw(method, endpoint.script(), &headers, "").await;
        let expected = if endpoint.is_authenticated() {
            401
        } else {
            400
        };
        assert_eq!(status, expected, "{endpoint:?}");
        assert_eq!(envelope["status"], json!("fail"), "{endpoint:?}");
    }
}
