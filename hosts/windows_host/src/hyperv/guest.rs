//! What a guest says of itself, for display only (Hyper-V spec 3.5).

use hyperv::GuestSystem;

use super::embedded::Embedded;
use crate::wmi::{Value, WmiObject};

/// `OSPlatformId` of Windows NT.
const WINDOWS_NT: u32 = 2;

/// Reads a `Msvm_KvpExchangeComponent`; none if the guest says nothing, which it does only while
/// it runs and its data exchange service answers.
pub(super) fn system(exchange: &WmiObject) -> Option<GuestSystem> {
    let Value::Array(items) = exchange.value("GuestIntrinsicExchangeItems") else {
        return None;
    };
    let items: Vec<Embedded> = items.iter().map(Embedded::read).collect();
    let datum = |name: &str| {
        let item = items.iter().find(|item| item.text("Name") == Some(name))?;
        item.text("Data")
            .map(str::trim)
            .filter(|data| !data.is_empty())
    };
    let name = datum("OSName")?.to_owned();
    let platform: Option<u32> = datum("OSPlatformId").and_then(|id| id.parse().ok());
    let windows = match platform {
        Some(platform) => platform == WINDOWS_NT,
        None => name.contains("Windows"),
    };
    Some(GuestSystem { windows, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(items: &[(&str, &str)]) -> WmiObject {
        let items = items.iter().map(|(name, data)| {
            Value::text(format!(
                r#"<INSTANCE CLASSNAME="Msvm_KvpExchangeDataItem"><PROPERTY NAME="Data" TYPE="string"><VALUE>{data}</VALUE></PROPERTY><PROPERTY NAME="Name" TYPE="string"><VALUE>{name}</VALUE></PROPERTY></INSTANCE>"#
            ))
        });
        let mut exchange = WmiObject::default();
        exchange.set("GuestIntrinsicExchangeItems", Value::Array(items.collect()));
        exchange
    }

    #[test]
    fn the_platform_tells_windows_from_others() {
        for (items, expected) in [
            (
                &[
                    ("OSName", "Windows Server 2025 Standard"),
                    ("OSPlatformId", "2"),
                ][..],
                Some(true),
            ),
            (
                &[("OSName", "Debian GNU/Linux"), ("OSPlatformId", "1")],
                Some(false),
            ),
            (&[("OSName", "Windows 11 Pro")], Some(true)),
            (&[("OSName", "openSUSE")], Some(false)),
            (&[("OSPlatformId", "2")], None),
            (&[("OSName", " ")], None),
            (&[], None),
        ] {
            let windows = system(&exchange(items)).map(|guest| guest.windows);
            assert_eq!(windows, expected, "{items:?}");
        }
        assert_eq!(system(&WmiObject::default()), None);
    }
}
