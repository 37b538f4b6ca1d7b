//! What is known of a disk: from virtdisk, or from the management service where a running VM
//! keeps the file to itself (Hyper-V spec 3.4).

use std::path::{Path, PathBuf};

use disk::Geometry;
use uuid::Uuid;

use super::chains::{self, ChainFacts};
use super::embedded::Embedded;
use super::errors::is_in_use;
use super::provider::Provider;
use crate::virtdisk::{Container, VirtualDiskError, VirtualDisks};
use crate::wmi::Value;

const IMAGES: &str = "Msvm_ImageManagementService";
/// Hyper-V allows 50 checkpoints.
const FILES_MAX: usize = 64;

/// Asks a disk and all its parents; the management service answers for files in use.
pub(super) fn facts(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    path: &Path,
) -> Result<ChainFacts, VirtualDiskError> {
    facts_below(provider, virtual_disks, path, 0)
}

fn facts_below(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    path: &Path,
    above: usize,
) -> Result<ChainFacts, VirtualDiskError> {
    let error = match chains::facts(virtual_disks, path) {
        Err(error) if is_in_use(error.code) && above < FILES_MAX => error,
        other => return other,
    };
    let Some((mut facts, parent)) = told(provider, path) else {
        return Err(error);
    };
    if let Some(parent) = parent {
        let parent = facts_below(provider, virtual_disks, &parent, above + 1)?;
        facts.block_bytes = parent.block_bytes;
        facts.files.extend(parent.files);
    }
    Ok(facts)
}

/// Asks the management service for one file: what it is, and its parent.
fn told(provider: &Provider, path: &Path) -> Option<(ChainFacts, Option<PathBuf>)> {
    let service = provider.service(IMAGES).ok()?;
    let doing = format!("ask for the settings of {}", path.display());
    let parameters = [("Path", Value::text(path.to_str()?))];
    let answer = provider.ask(
        &doing,
        &service,
        "GetVirtualHardDiskSettingData",
        &parameters,
    );
    read(path, &Embedded::read(answer.ok()?.value("SettingData")))
}

/// Reads `Msvm_VirtualHardDiskSettingData`. It says nothing of tracking.
fn read(path: &Path, settings: &Embedded) -> Option<(ChainFacts, Option<PathBuf>)> {
    let parent = settings
        .text("ParentPath")
        .filter(|parent| !parent.is_empty());
    let facts = ChainFacts {
        files: vec![path.to_owned()],
        geometry: Geometry {
            virtual_bytes: settings.text("MaxInternalSize")?.trim().parse().ok()?,
            logical_sector_bytes: settings.number("LogicalSectorSize")?,
            physical_sector_bytes: settings.number("PhysicalSectorSize")?,
        },
        block_bytes: settings.number("BlockSize")?,
        virtual_disk_id: Uuid::parse_str(settings.text("VirtualDiskId")?.trim()).ok()?,
        tracked: None,
        container: match settings.number("Format")? {
            2 => Container::Vhd,
            3 => Container::Vhdx,
            4 => Container::VhdSet,
            other => Container::Other(other),
        },
    };
    Some((facts, parent.map(PathBuf::from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(format: &str, parent: &str) -> Value {
        let property = |name: &str, value: &str| {
            format!(r#"<PROPERTY NAME="{name}" TYPE="string"><VALUE>{value}</VALUE></PROPERTY>"#)
        };
        let text = [
            property("Format", format),
            property("MaxInternalSize", "137438953472"),
            property("BlockSize", "33554432"),
            property("LogicalSectorSize", "512"),
            property("PhysicalSectorSize", "4096"),
            property("VirtualDiskId", "4D1A8E4B-6B1F-4F39-8A0E-0C1B6E1A0001"),
            property("ParentPath", parent),
        ];
        Value::Text(text.concat())
    }

    #[test]
    fn the_management_service_tells_what_virtdisk_would() {
        let path = Path::new("D:\\a_1.avhdx");
        let (facts, parent) = read(path, &Embedded::read(&settings("3", "D:\\a.vhdx"))).unwrap();
        assert_eq!(facts.geometry.virtual_bytes, 128 << 30);
        assert_eq!(facts.container, Container::Vhdx);
        assert_eq!(parent, Some(PathBuf::from("D:\\a.vhdx")));
        let (facts, parent) = read(path, &Embedded::read(&settings("4", ""))).unwrap();
        assert_eq!((facts.container, parent), (Container::VhdSet, None));
        assert_eq!(read(path, &Embedded::read(&settings("", ""))), None);
        assert_eq!(read(path, &Embedded::default()), None);
    }
}
