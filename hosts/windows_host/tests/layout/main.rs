//! The structures that we hand to Windows, against independent headers.
//!
//! `virtdisk.txt` says how long structures are and where their fields lie. On Linux a C compiler
//! judges it by mingw's headers; under Wine it is compared with the structures that we use.
//!
//! What follows the sector size in the second version of CREATE_VIRTUAL_DISK_PARAMETERS is not in
//! the table: mingw's header lacks `PhysicalSectorSizeInBytes`, which Microsoft documents there.
#![cfg_attr(
    unix,
    expect(
        clippy::unwrap_used,
        reason = "a panic in a test is the failure report"
    )
)]

const TABLE: &str = include_str!("virtdisk.txt");

#[cfg(unix)]
mod headers {
    use std::fmt::Write as _;
    use std::io::{ErrorKind, Write as _};
    use std::process::{Command, Stdio};

    const COMPILER: &str = "x86_64-w64-mingw32-gcc";

    fn program(table: &str) -> String {
        let mut program = String::from("#include <windows.h>\n#include <virtdisk.h>\n");
        program.push_str("#include <stddef.h>\n");
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

    #[test]
    fn mingws_headers_agree_with_the_table() {
        // `cargo xtask windows` installs the compiler; without it there is nothing to ask.
        let Some(compiled) = compiles(&program(super::TABLE)) else {
            println!("left out: there is no {COMPILER}");
            return;
        };
        assert_eq!(compiled, Ok(()));
        let wrong = super::TABLE.replacen(" 32", " 33", 1);
        assert!(compiles(&program(&wrong)).unwrap().is_err());
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
    use windows::Win32::System::IO::OVERLAPPED;

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
        let table = super::TABLE.lines().map(|line| {
            let (place, number) = line.rsplit_once(' ').unwrap();
            (place.to_owned(), number.parse().unwrap())
        });
        assert_eq!(ours, table.collect::<BTreeMap<_, usize>>());
    }
}
