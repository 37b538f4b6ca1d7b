//! What happens in the nights that are played: which VMs there are, and what goes wrong when. Pure.

/// A VM of the simulated host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoryVm {
    /// Its name.
    pub name: &'static str,
    /// What runs in it, in the words of `sim add-vm`.
    pub guest: &'static str,
    /// What it is doing.
    pub state: &'static str,
    /// How large its disk is.
    pub size: &'static str,
    /// So much is on it in the beginning, in MiB.
    pub first_mib: u64,
    /// About so much is written each day, in MiB.
    pub daily_mib: u64,
}

/// The VMs.
pub const VMS: [StoryVm; 6] = [
    StoryVm {
        name: "web",
        guest: "linux",
        state: "running",
        size: "4G",
        first_mib: 48,
        daily_mib: 2,
    },
    StoryVm {
        name: "db",
        guest: "windows",
        state: "running",
        size: "8G",
        first_mib: 64,
        daily_mib: 6,
    },
    StoryVm {
        name: "mail",
        guest: "windows",
        state: "running",
        size: "8G",
        first_mib: 40,
        daily_mib: 4,
    },
    StoryVm {
        name: "files",
        guest: "linux",
        state: "running",
        size: "16G",
        first_mib: 80,
        daily_mib: 3,
    },
    StoryVm {
        name: "archive",
        guest: "none",
        state: "off",
        size: "4G",
        first_mib: 24,
        daily_mib: 0,
    },
    StoryVm {
        name: "test-old",
        guest: "linux",
        state: "running",
        size: "2G",
        first_mib: 8,
        daily_mib: 1,
    },
];

/// Something out of the ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A fault of the simulated host strikes a VM's backup; its words are those of `sim fault`.
    Fault(&'static str, &'static [&'static str]),
    /// The host is down from the evening to the next noon.
    HostDown,
    /// An administrator takes a checkpoint, and forgets it.
    ForgottenCheckpoint(&'static str),
}

impl Happening {
    /// Returns what happens, in words.
    pub fn words(self) -> String {
        match self {
            Self::Fault(vm, words) => format!("{} strikes {vm}", words.join(" ")),
            Self::HostDown => "the agent is down over night".to_owned(),
            Self::ForgottenCheckpoint(vm) => {
                format!("somebody takes a checkpoint of {vm} and forgets it")
            }
        }
    }
}

/// What happens, and after which share of all nights, in percent.
const HAPPENINGS: [(usize, Happening); 5] = [
    (27, Happening::Fault("db", &["job-fails-at", "create"])),
    (47, Happening::HostDown),
    (64, Happening::Fault("files", &["lose-tracking"])),
    (77, Happening::Fault("mail", &["no-app-consistency"])),
    (90, Happening::ForgottenCheckpoint("web")),
];

/// Returns what happens in one of so many nights, counted from 0.
pub fn happenings(night: usize, nights: usize) -> Vec<Happening> {
    let is_now = |share: usize| share * nights / 100 == night;
    let now = HAPPENINGS.iter().filter(|(share, _)| is_now(*share));
    now.map(|(_, happening)| *happening).collect()
}

/// Returns how much a VM writes on a day, in MiB: more on some days than on others.
pub fn written_mib(vm: &StoryVm, day: usize) -> u64 {
    let swing = [2, 3, 5, 4, 7, 1, 1][day % 7];
    (vm.daily_mib * swing).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_happens_once_however_many_nights_there_are() {
        for nights in [5, 10, 30, 60] {
            let all: Vec<Happening> = (0..nights)
                .flat_map(|night| happenings(night, nights))
                .collect();
            assert_eq!(all.len(), HAPPENINGS.len(), "{nights}");
            // The first night has nothing to build on yet.
            assert!(happenings(0, nights).is_empty(), "{nights}");
        }
    }
}
