//! The settings that a backup wrote down as text, read again (Hyper-V spec 9.1 way 3, 10.3).
//!
//! It came from a repository and was written by another host: whatever cannot be read is missing.

use hyperv::ConfigurationFile;

use super::configuration_files::KEY_PROTECTOR;
use super::descriptor::DESCRIPTOR;
use super::embedded::Embedded;
use super::network::ADAPTERS;
use super::settings::SETTINGS;
use crate::wmi::Value;

const PROCESSORS: &str = "Msvm_ProcessorSettingData";
const MEMORY: &str = "Msvm_MemorySettingData";
const SECURITY: &str = "Msvm_SecuritySettingData";
const STORAGE: &str = "Msvm_StorageAllocationSettingData";

/// How a property's value is told to Hyper-V.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Bool,
    U16,
    U32,
    /// A uint64, which is text in parameters.
    U64,
}

/// What is taken over of the settings of the whole beside what defines it: identities that licences
/// may hang on, what it does when its host starts and stops, and whose systems it starts.
const OF_THE_WHOLE: [(&str, Kind); 9] = [
    ("BIOSGUID", Kind::Text),
    ("BIOSSerialNumber", Kind::Text),
    ("BaseBoardSerialNumber", Kind::Text),
    ("ChassisSerialNumber", Kind::Text),
    ("ChassisAssetTag", Kind::Text),
    ("AutomaticStartupAction", Kind::U16),
    ("AutomaticShutdownAction", Kind::U16),
    ("SecureBootEnabled", Kind::Bool),
    ("SecureBootTemplateId", Kind::Text),
];
/// And of the processors, beside their number.
const OF_PROCESSORS: [(&str, Kind); 5] = [
    ("Reservation", Kind::U64),
    ("Limit", Kind::U64),
    ("Weight", Kind::U32),
    ("LimitProcessorFeatures", Kind::Bool),
    ("ExposeVirtualizationExtensions", Kind::Bool),
];
/// And of memory that grows and shrinks.
const OF_DYNAMIC_MEMORY: [(&str, Kind); 5] = [
    ("DynamicMemoryEnabled", Kind::Bool),
    ("Reservation", Kind::U64),
    ("Limit", Kind::U64),
    ("TargetMemoryBuffer", Kind::U32),
    ("Weight", Kind::U32),
];

/// What was written down.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    instances: Vec<(String, Embedded)>,
    has_key_protector: bool,
}

impl Recorded {
    /// Reads what is among the files of a configuration; nothing if there is no such text.
    pub(super) fn of(configuration: &[ConfigurationFile]) -> Self {
        let text = configuration.iter().find(|file| file.name == DESCRIPTOR);
        let text = text.map(|file| String::from_utf8_lossy(&file.content));
        Self {
            instances: text.map_or_else(Vec::new, |text| Embedded::all(&text)),
            has_key_protector: configuration.iter().any(|file| file.name == KEY_PROTECTOR),
        }
    }

    /// Returns what is to be set of the settings of the whole.
    pub(super) fn of_the_whole(&self) -> Vec<(&'static str, Value)> {
        self.values(SETTINGS, &OF_THE_WHOLE)
    }

    /// Returns what is to be set of the processors.
    pub(super) fn of_processors(&self) -> Vec<(&'static str, Value)> {
        self.values(PROCESSORS, &OF_PROCESSORS)
    }

    /// Returns what is to be set of memory that grows and shrinks, nothing if it did not.
    pub(super) fn of_dynamic_memory(&self) -> Vec<(&'static str, Value)> {
        let dynamic = self
            .first(MEMORY)
            .and_then(|it| flag(it, "DynamicMemoryEnabled"));
        match dynamic {
            Some(true) => self.values(MEMORY, &OF_DYNAMIC_MEMORY),
            _ => Vec::new(),
        }
    }

    /// Returns whether an adapter, told by its address, was one of the older kind.
    pub(super) fn is_emulated(&self, mac_address: &str) -> bool {
        self.all(ADAPTERS[1])
            .any(|it| it.text("Address").is_some_and(|known| known == mac_address))
    }

    /// Returns whether an adapter, told by its address, was given that by its host.
    pub(super) fn is_dynamic(&self, mac_address: &str) -> bool {
        let is_it = |it: &Embedded| {
            it.text("Address")
                .is_some_and(|known| known.eq_ignore_ascii_case(mac_address))
                && flag(it, "StaticMacAddress") == Some(false)
        };
        let mut adapters = ADAPTERS.iter().flat_map(|class| self.all(class));
        adapters.any(is_it)
    }

    /// Returns what is known to have been there and does not come along, for people.
    pub(super) fn left_out(&self) -> Vec<String> {
        let mut left_out = Vec::new();
        let security = self.first(SECURITY);
        let has = |name| security.is_some_and(|it| flag(it, name) == Some(true));
        if has("TpmEnabled") || self.has_key_protector {
            left_out.push("its virtual TPM: what the guest keeps in it is lost, and BitLocker asks for its recovery key".to_owned());
        }
        if has("ShieldingRequested") {
            left_out.push("its shielding".to_owned());
        }
        let media = self.all(STORAGE).filter(|it| {
            let subtype = it.text("ResourceSubType").unwrap_or_default();
            subtype.ends_with("CD/DVD Disk") || subtype.ends_with("Floppy Disk")
        });
        let media = media.count();
        if media > 0 {
            left_out.push(format!("{media} CD or floppy images"));
        }
        for class in ADAPTERS {
            let dynamic = self
                .all(class)
                .filter(|it| flag(it, "StaticMacAddress") == Some(false));
            for address in dynamic.filter_map(|it| it.text("Address")) {
                left_out.push(format!(
                    "the address {address} of a network adapter, which its host had given: this host gives another"
                ));
            }
        }
        for (class, what) in [
            (
                "Msvm_SyntheticFcPortSettingData",
                "virtual Fibre Channel adapters",
            ),
            (
                "Msvm_GpuPartitionSettingData",
                "partitions of graphics processors",
            ),
            (
                "Msvm_PciExpressSettingData",
                "devices of the host it was given",
            ),
        ] {
            if self.first(class).is_some() {
                left_out.push(what.to_owned());
            }
        }
        left_out
    }

    fn first(&self, class: &'static str) -> Option<&Embedded> {
        self.all(class).next()
    }

    fn all(&self, class: &'static str) -> impl Iterator<Item = &Embedded> {
        let of_class = self
            .instances
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(class));
        of_class.map(|(_, instance)| instance)
    }

    fn values(
        &self,
        class: &'static str,
        wanted: &[(&'static str, Kind)],
    ) -> Vec<(&'static str, Value)> {
        let Some(instance) = self.first(class) else {
            return Vec::new();
        };
        let values = wanted.iter().filter_map(|(name, kind)| {
            let text = instance.text(name)?.trim();
            let value = match kind {
                Kind::Text => Some(text).filter(|text| !text.is_empty()).map(Value::text),
                Kind::Bool => flag(instance, name).map(Value::Bool),
                Kind::U16 => text.parse::<u16>().ok().map(Value::from),
                Kind::U32 => text.parse().ok().map(Value::u32),
                Kind::U64 => text.parse::<u64>().ok().map(Value::decimal),
            };
            Some((*name, value?))
        });
        values.collect()
    }
}

fn flag(instance: &Embedded, name: &str) -> Option<bool> {
    let text = instance.text(name)?.trim();
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, value: &str) -> String {
        format!("<PROPERTY NAME=\"{name}\" TYPE=\"string\"><VALUE>{value}</VALUE></PROPERTY>")
    }

    fn instance(class: &str, properties: &[(&str, &str)]) -> String {
        let properties = properties.iter().map(|(name, value)| property(name, value));
        format!(
            "<INSTANCE CLASSNAME=\"{class}\">{}</INSTANCE>\n",
            properties.collect::<String>()
        )
    }

    fn recorded(instances: &[String]) -> Recorded {
        let text = format!(
            "<settings>\n<!-- a remark -->\n{}</settings>\n",
            instances.concat()
        );
        Recorded::of(&[ConfigurationFile {
            name: DESCRIPTOR.to_owned(),
            content: text.into_bytes(),
        }])
    }

    #[test]
    fn what_is_written_down_is_taken_over_as_the_type_it_has() {
        let recorded = recorded(&[
            instance(
                SETTINGS,
                &[
                    ("BIOSGUID", "{5F}"),
                    ("AutomaticStartupAction", "3"),
                    ("SecureBootEnabled", "TRUE"),
                    ("SecureBootTemplateId", ""),
                    ("ChassisSerialNumber", "a &amp; b"),
                    ("AutomaticShutdownAction", "never"),
                ],
            ),
            instance(PROCESSORS, &[("Limit", "100000"), ("Weight", "100")]),
            instance(
                MEMORY,
                &[("DynamicMemoryEnabled", "true"), ("Limit", "8192")],
            ),
        ]);
        assert_eq!(
            recorded.of_the_whole(),
            [
                ("BIOSGUID", Value::text("{5F}")),
                ("ChassisSerialNumber", Value::text("a & b")),
                ("AutomaticStartupAction", Value::from(3u16)),
                ("SecureBootEnabled", Value::Bool(true)),
            ]
        );
        assert_eq!(
            recorded.of_processors(),
            [
                ("Limit", Value::decimal(100_000u32)),
                ("Weight", Value::u32(100))
            ]
        );
        assert_eq!(
            recorded.of_dynamic_memory(),
            [
                ("DynamicMemoryEnabled", Value::Bool(true)),
                ("Limit", Value::decimal(8192u32))
            ]
        );
        assert!(recorded.left_out().is_empty());
    }

    #[test]
    fn what_does_not_come_along_is_named() {
        let mac = "00155D010203";
        let recorded = recorded(&[
            instance(
                SECURITY,
                &[("TpmEnabled", "true"), ("ShieldingRequested", "true")],
            ),
            instance(
                STORAGE,
                &[("ResourceSubType", "Microsoft:Hyper-V:Virtual CD/DVD Disk")],
            ),
            instance(
                ADAPTERS[1],
                &[("Address", mac), ("StaticMacAddress", "false")],
            ),
            instance("Msvm_SyntheticFcPortSettingData", &[]),
        ]);
        let text = recorded.left_out().join("\n");
        for part in ["TPM", "shielding", "1 CD", mac, "Fibre Channel"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(recorded.is_dynamic(mac));
        assert!(!recorded.is_dynamic("00155D010204"));
        assert!(recorded.is_emulated(mac));
        assert!(!recorded.is_emulated("00155D010204"));
    }

    #[test]
    fn no_text_or_any_text_is_no_fault() {
        for content in [
            &b""[..],
            b"\xFF\xFE<INSTANCE",
            b"<INSTANCE CLASSNAME=\"X\">",
        ] {
            let recorded = Recorded::of(&[ConfigurationFile {
                name: DESCRIPTOR.to_owned(),
                content: content.to_vec(),
            }]);
            assert!(recorded.left_out().is_empty());
        }
        assert!(Recorded::of(&[]).of_processors().is_empty());
    }
}
