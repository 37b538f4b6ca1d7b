//! Becoming known to a control plane.

use scripted_control_plane::{Generation, Settings};

use crate::world::World;

#[test]
fn a_service_that_is_given_a_token_enrols_and_works() {
    for generation in [Generation::Current, Generation::Old] {
        let mut world = World::new(Settings {
            generation,
            ..Settings::default()
        });
        let token = "aa".repeat(20);
        world
            .plane
            .with(|plane| plane.add_enrollment_token(&token, 1));
        world.configure(&[
            ("agent_uuid", ""),
            ("agent_id", ""),
            ("agent_token", ""),
            ("enrollment_token", &token),
        ]);
        world.begin();
        let run = world.queue(world.files());
        assert_eq!(world.end_of(&run), "success");
        let config = world.config_file().load().unwrap();
        assert!(config.is_enrolled() && !config.can_enrol());
        assert!(!config.device_id.is_empty() && !config.install_id.is_empty());
        let text = std::fs::read_to_string(world.path("agent.conf")).unwrap();
        assert!(!text.contains(&token), "{text}");
        world.check();
    }
}

#[test]
fn a_login_enrols_too() {
    for generation in [Generation::Current, Generation::Old] {
        let mut world = World::new(Settings {
            generation,
            ..Settings::default()
        });
        world
            .plane
            .with(|plane| plane.add_account("ann@example.com", "open sesame"));
        world.configure(&[
            ("agent_uuid", ""),
            ("agent_id", ""),
            ("agent_token", ""),
            ("enroll_email", "ann@example.com"),
            ("enroll_password", "open sesame"),
        ]);
        world.begin();
        let run = world.queue(world.files());
        assert_eq!(world.end_of(&run), "success");
        let text = std::fs::read_to_string(world.path("agent.conf")).unwrap();
        assert!(!text.contains("open sesame"), "{text}");
        world.check();
    }
}
