//! What fuzzers do with every parser of data from outside, in one form: a [`Target`] is a name,
//! a body that takes any bytes, and the seeds that damage begins from.
//!
//! ```text
//! testdata, samples ─► seeds ─► mutate (fixed seed) ─► body       cargo test, a second each
//!                        └────► libFuzzer (../fuzz)   ─► body       cargo fuzz, for as long as one likes
//! ```
//!
//! A body may find that its input makes no sense: that is what most of it is. It promises to
//! return, soon, without a panic and without taking memory that its input does not justify; what
//! it did understand must also say the same when it is written and read again.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

mod kopia_bodies;
mod mutation;
mod protocol_bodies;
mod protocol_seeds;
mod seeds;

pub use mutation::mutate;

/// Something that reads data from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its file in `testing/fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Reads any bytes.
    pub body: fn(&[u8]),
    /// Returns sound inputs, or what the body takes for a plan of damage.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "kopia_index",
        body: kopia_bodies::index,
        seeds: seeds::indexes,
    },
    Target {
        name: "kopia_pack",
        body: kopia_bodies::pack,
        seeds: seeds::packs,
    },
    Target {
        name: "kopia_format_blob",
        body: kopia_bodies::format_blob,
        seeds: seeds::format_blobs,
    },
    Target {
        name: "kopia_manifests",
        body: kopia_bodies::manifests,
        seeds: seeds::manifests,
    },
    Target {
        name: "kopia_policy",
        body: kopia_bodies::policy,
        seeds: seeds::policies,
    },
    Target {
        name: "kopia_directory",
        body: kopia_bodies::directory,
        seeds: seeds::directories,
    },
    Target {
        name: "kopia_list",
        body: kopia_bodies::list,
        seeds: seeds::lists,
    },
    Target {
        name: "kopia_names",
        body: kopia_bodies::names,
        seeds: seeds::names,
    },
    Target {
        name: "kopia_compression",
        body: kopia_bodies::compression,
        seeds: seeds::compressed,
    },
    Target {
        name: "kopia_error_correction",
        body: kopia_bodies::error_correction,
        seeds: seeds::error_corrected,
    },
    Target {
        name: "protocol_answer",
        body: protocol_bodies::answer,
        seeds: protocol_seeds::answers,
    },
    Target {
        name: "protocol_body",
        body: protocol_bodies::body,
        seeds: protocol_seeds::bodies,
    },
    Target {
        name: "protocol_packed",
        body: protocol_bodies::packed,
        seeds: protocol_seeds::packed,
    },
    Target {
        name: "vhdx",
        body: vhdx::fuzzing::fuzz_one,
        seeds: seeds::vhdx_damage,
    },
];

/// Runs the body of a target, for the entry points of fuzzers.
///
/// # Panics
/// If there is no such target, or the body finds a fault.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the target is listed").body)(data);
}
