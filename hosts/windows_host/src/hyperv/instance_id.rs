//! `InstanceID`s of settings: `Microsoft:<GUID>\<rest>` (Hyper-V spec 3.4).

use uuid::Uuid;

/// What stands before the GUID.
const PREFIX: &str = "Microsoft:";

/// Whose a settings object is, and the part that stays the same in a checkpoint of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InstanceId<'a> {
    /// The GUID of the VM, the checkpoint or the planned VM.
    pub owner: Uuid,
    /// What follows behind the first `\`; empty for the settings of the whole.
    pub rest: &'a str,
}

impl<'a> InstanceId<'a> {
    /// Takes an `InstanceID` apart; none if it belongs to no VM, as those of defaults do.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let head = text.get(..PREFIX.len())?;
        if !head.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        let (owner, rest) = match text[PREFIX.len()..].split_once('\\') {
            Some((owner, rest)) => (owner, rest),
            None => (&text[PREFIX.len()..], ""),
        };
        Some(Self {
            owner: Uuid::parse_str(owner).ok()?,
            rest,
        })
    }
}

/// Returns a GUID as Hyper-V writes it: upper case, without braces.
pub(super) fn guid_text(id: Uuid) -> String {
    id.hyphenated().to_string().to_uppercase()
}

/// Returns the part by which a disk of a VM, of its checkpoint and of a reference point are the
/// same (RH-5): what follows the first `\`, in one case.
pub(super) fn pairing_key(instance_id: &str) -> String {
    let rest = instance_id.split_once('\\').map_or("", |(_, rest)| rest);
    rest.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: &str = "Microsoft:4D1A8E4B-6B1F-4F39-8A0E-0C1B6E1A0001\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0\\1\\L";

    #[test]
    fn the_owner_and_the_rest_are_told_apart() {
        let id = InstanceId::parse(DISK).unwrap();
        assert_eq!(guid_text(id.owner), "4D1A8E4B-6B1F-4F39-8A0E-0C1B6E1A0001");
        assert_eq!(id.rest, "83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0\\1\\L");
        let whole = InstanceId::parse("Microsoft:4D1A8E4B-6B1F-4F39-8A0E-0C1B6E1A0001");
        assert_eq!(whole.unwrap().rest, "");
    }

    #[test]
    fn defaults_belong_to_nobody() {
        for text in [
            "",
            "Microsoft:",
            "Microsoft:Definition\\abc\\Default",
            "Other:x",
            "Mïcrosoft:",
        ] {
            assert_eq!(InstanceId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_disk_is_the_same_in_a_checkpoint() {
        let frozen = DISK.replace("4D1A8E4B", "00000000").to_lowercase();
        assert_eq!(pairing_key(DISK), pairing_key(&frozen));
        assert_ne!(
            pairing_key(DISK),
            pairing_key(&DISK.replace("\\1\\L", "\\2\\L"))
        );
    }
}
