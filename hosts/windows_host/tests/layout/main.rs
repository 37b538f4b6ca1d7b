//! The structures that we hand to Windows, against independent headers.
//!
//! `virtdisk.txt` and `vss.txt` say how long structures are and where their fields lie, those of
//! COM's tables of methods, too. On Linux a C compiler judges them by mingw's headers; under Wine
//! they are compared with the structures that we use.
//!
//! What follows the sector size in the second version of CREATE_VIRTUAL_DISK_PARAMETERS is not in
//! the table: mingw's header lacks `PhysicalSectorSizeInBytes`, which Microsoft documents there.
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

const VIRTDISK: &str = include_str!("virtdisk.txt");
const VSS: &str = include_str!("vss.txt");

#[cfg(unix)]
mod headers {
    use std::fmt::Write as _;
    use std::io::{ErrorKind, Write as _};
    use std::process::{Command, Stdio};

    const COMPILER: &str = "x86_64-w64-mingw32-gcc";

    fn program(headers: &[&str], table: &str) -> String {
        let mut program = String::from("#include <windows.h>\n#include <stddef.h>\n");
        for header in headers {
            let _ = writeln!(program, "#include <{header}>");
        }
        for line in table.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (place, number) = match words[..] {
                ["size", of, number] => (format!("sizeof({of})"), number),
                ["offset", of, field, number] => (format!("offsetof({of}, {field})"), number),
                _ => panic!("unknown line: {line}"),
            };
            let _ = writeln!(program, "_Static_assert({place} == {number}, \"{line}\");");
        }
        program
    }

    /// Compiles; none if there is no compiler.
    fn compiles(program: &str) -> Option<Result<(), String>> {
        let compiler = Command::new(COMPILER)
            .args(["-D_WIN32_WINNT=0x0A00", "-fsyntax-only", "-x", "c", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut compiler = match compiler {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            started => started.unwrap(),
        };
        let mut input = compiler.stdin.take().unwrap();
        input.write_all(program.as_bytes()).unwrap();
        drop(input);
        let done = compiler.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        Some(if done.status.success() {
            Ok(())
        } else {
            Err(said)
        })
    }

    /// Compares a table with headers, and one with `right` replaced by `wrong`, which must differ.
    fn judge(headers: &[&str], table: &str, right: &str, wrong: &str) {
        // `cargo xtask windows` installs the compiler; without it there is nothing to ask.
        let Some(compiled) = compiles(&program(headers, table)) else {
            println!("left out: there is no {COMPILER}");
            return;
        };
        assert_eq!(compiled, Ok(()));
        let false_one = table.replacen(right, wrong, 1);
        assert_ne!(false_one, table);
        assert!(compiles(&program(headers, &false_one)).unwrap().is_err());
    }

    #[test]
    fn mingws_headers_agree_with_the_table() {
        judge(&["virtdisk.h"], super::VIRTDISK, " 32", " 33");
    }

    #[test]
    fn mingws_headers_agree_on_vss() {
        let headers = ["vss.h", "vswriter.h", "vsbackup.h"];
        judge(
            &headers,
            super::VSS,
            "DoSnapshotSet 304",
            "DoSnapshotSet 296",
        );
    }
}

#[cfg(windows)]
mod ours {
    use std::collections::BTreeMap;
    use std::mem::offset_of;

    use windows::Win32::Storage::Vhd::{
        CREATE_VIRTUAL_DISK_PARAMETERS, GET_VIRTUAL_DISK_INFO, OPEN_VIRTUAL_DISK_PARAMETERS,
        QUERY_CHANGES_VIRTUAL_DISK_RANGE, VIRTUAL_STORAGE_TYPE,
    };
    use windows::Win32::Storage::Vss::VSS_SNAPSHOT_PROP;
    use windows::Win32::System::IO::OVERLAPPED;
    use windows_host::vss::com::{
        ComponentInfo, IVssBackupComponents_Vtbl, IVssExamineWriterMetadata_Vtbl,
        IVssWMComponent_Vtbl,
    };

    macro_rules! places {
        (size: $($of:ident),*; fields: $($in:ident $field:ident),*;
         members: $($whole:ident $member:ident $(. $part:ident)?),* $(,)?) => {
            BTreeMap::from([
                $((concat!("size ", stringify!($of)).to_owned(), size_of::<$of>()),)*
                $((
                    concat!("offset ", stringify!($in), " ", stringify!($field)).to_owned(),
                    offset_of!($in, $field),
                ),)*
                $((
                    concat!(
                        "offset ", stringify!($whole), " ", stringify!($member),
                        $(".", stringify!($part))?
                    ).to_owned(),
                    offset_of!($whole, Anonymous.$member $(.$part)?),
                ),)*
            ])
        };
    }

    #[test]
    fn our_structures_agree_with_the_table() {
        let ours = places! {
            size: VIRTUAL_STORAGE_TYPE, GET_VIRTUAL_DISK_INFO, QUERY_CHANGES_VIRTUAL_DISK_RANGE,
                OVERLAPPED;
            fields: VIRTUAL_STORAGE_TYPE VendorId, OPEN_VIRTUAL_DISK_PARAMETERS Version,
                QUERY_CHANGES_VIRTUAL_DISK_RANGE ByteOffset,
                QUERY_CHANGES_VIRTUAL_DISK_RANGE ByteLength;
            members:
                OPEN_VIRTUAL_DISK_PARAMETERS Version2.GetInfoOnly,
                OPEN_VIRTUAL_DISK_PARAMETERS Version2.ReadOnly,
                OPEN_VIRTUAL_DISK_PARAMETERS Version2.ResiliencyGuid,
                CREATE_VIRTUAL_DISK_PARAMETERS Version2.UniqueId,
                CREATE_VIRTUAL_DISK_PARAMETERS Version2.MaximumSize,
                CREATE_VIRTUAL_DISK_PARAMETERS Version2.BlockSizeInBytes,
                CREATE_VIRTUAL_DISK_PARAMETERS Version2.SectorSizeInBytes,
                GET_VIRTUAL_DISK_INFO Size.VirtualSize,
                GET_VIRTUAL_DISK_INFO Size.BlockSize,
                GET_VIRTUAL_DISK_INFO Size.SectorSize,
                GET_VIRTUAL_DISK_INFO ParentLocation.ParentResolved,
                GET_VIRTUAL_DISK_INFO ParentLocation.ParentLocationBuffer,
                GET_VIRTUAL_DISK_INFO VirtualStorageType.DeviceId,
                GET_VIRTUAL_DISK_INFO ProviderSubtype,
                GET_VIRTUAL_DISK_INFO VhdPhysicalSectorSize,
                GET_VIRTUAL_DISK_INFO VirtualDiskId,
                GET_VIRTUAL_DISK_INFO ChangeTrackingState.Enabled,
                GET_VIRTUAL_DISK_INFO ChangeTrackingState.NewerChanges,
                GET_VIRTUAL_DISK_INFO ChangeTrackingState.MostRecentId,
        };
        assert_eq!(ours, numbers(super::VIRTDISK));
    }

    fn numbers(table: &str) -> BTreeMap<String, usize> {
        let lines = table.lines().map(|line| {
            let (place, number) = line.rsplit_once(' ').unwrap();
            (place.to_owned(), number.parse().unwrap())
        });
        lines.collect()
    }

    macro_rules! methods {
        ($($table:ident = $named:literal: $($method:ident),*;)*) => {
            BTreeMap::from([
                $(
                    (concat!("size ", $named).to_owned(), size_of::<$table>()),
                    $((
                        concat!("offset ", $named, " ", stringify!($method)).to_owned(),
                        offset_of!($table, $method),
                    ),)*
                )*
            ])
        };
    }

    #[test]
    fn tables_of_methods_agree_with_the_table() {
        let mut ours = methods! {
            IVssBackupComponents_Vtbl = "IVssBackupComponentsVtbl":
                GetWriterComponentsCount, GetWriterComponents, InitializeForBackup, SetBackupState, InitializeForRestore, SetRestoreState, GatherWriterMetadata, GetWriterMetadataCount, GetWriterMetadata, FreeWriterMetadata, AddComponent, PrepareForBackup, AbortBackup, GatherWriterStatus, GetWriterStatusCount, FreeWriterStatus, GetWriterStatus, SetBackupSucceeded, SetBackupOptions, SetSelectedForRestore, SetRestoreOptions, SetAdditionalRestores, SetPreviousBackupStamp, SaveAsXML, BackupComplete, AddAlternativeLocationMapping, AddRestoreSubcomponent, SetFileRestoreStatus, AddNewTarget, SetRangesFilePath, PreRestore, PostRestore, SetContext, StartSnapshotSet, AddToSnapshotSet, DoSnapshotSet, DeleteSnapshots, ImportSnapshots, BreakSnapshotSet, GetSnapshotProperties, Query, IsVolumeSupported, DisableWriterClasses, EnableWriterClasses, DisableWriterInstances, ExposeSnapshot, RevertToSnapshot, QueryRevertStatus;
            IVssExamineWriterMetadata_Vtbl = "IVssExamineWriterMetadataVtbl":
                GetIdentity, GetFileCounts, GetIncludeFile, GetExcludeFile, GetComponent, GetRestoreMethod, GetAlternateLocationMapping, GetBackupSchema, GetDocument, SaveAsXML, LoadFromXML;
            IVssWMComponent_Vtbl = "IVssWMComponentVtbl":
                GetComponentInfo, FreeComponentInfo, GetFile, GetDatabaseFile, GetDatabaseLogFile, GetDependency;
        };
        let info = "offset VSS_COMPONENTINFO";
        for (place, number) in [
            (
                "size VSS_SNAPSHOT_PROP".to_owned(),
                size_of::<VSS_SNAPSHOT_PROP>(),
            ),
            (
                "size VSS_COMPONENTINFO".to_owned(),
                size_of::<ComponentInfo>(),
            ),
            (format!("{info} type"), offset_of!(ComponentInfo, kind)),
            (
                format!("{info} bstrLogicalPath"),
                offset_of!(ComponentInfo, logical_path),
            ),
            (
                format!("{info} bstrComponentName"),
                offset_of!(ComponentInfo, name),
            ),
            (format!("{info} pbIcon"), offset_of!(ComponentInfo, icon)),
            (
                format!("{info} cbIcon"),
                offset_of!(ComponentInfo, icon_bytes),
            ),
            (
                format!("{info} bRestoreMetadata"),
                offset_of!(ComponentInfo, restore_metadata),
            ),
            (
                format!("{info} bSelectableForRestore"),
                offset_of!(ComponentInfo, selectable_for_restore),
            ),
            (
                format!("{info} dwComponentFlags"),
                offset_of!(ComponentInfo, flags),
            ),
            (
                format!("{info} cDependencies"),
                offset_of!(ComponentInfo, dependencies),
            ),
        ] {
            ours.insert(place, number);
        }
        assert_eq!(ours, numbers(super::VSS));
    }
}
