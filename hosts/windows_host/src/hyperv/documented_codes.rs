//! Holds `docs/operating/windows.md` to the codes that the agent knows: each has one row, with the
//! words that the agent says.

use std::collections::BTreeMap;

use super::errors::meaning;
use super::return_codes::ReturnCode;

/// What Windows' codes are looked for in: COM, WMI, Win32, VSS, virtdisk, shared disks.
const FAMILIES: [(u32, u32); 6] = [
    (0x8001_0000, 0x8001_FFFF),
    (0x8004_1000, 0x8004_10FF),
    (0x8007_0000, 0x8007_FFFF),
    (0x8004_2000, 0x8004_2FFF),
    (0xC03A_0000, 0xC03A_00FF),
    (0xC05C_FF00, 0xC05C_FFFF),
];

/// Reads the table that follows a line: what is said, by code.
fn table(after: &str) -> BTreeMap<u32, String> {
    let page = include_str!("../../../../docs/operating/windows.md");
    let mut lines = page.lines().skip_while(|line| !line.starts_with(after));
    assert!(lines.next().is_some(), "{after}");
    let rows = lines
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    let mut said = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, codes, text, remedy, _] = cells[..] else {
            panic!("a row of three cells: {row}");
        };
        assert!(remedy.ends_with('.'), "{row}");
        for code in codes.split(", ") {
            let (first, last) = code.split_once('-').unwrap_or((code, code));
            for code in number(first)..=number(last) {
                assert_eq!(said.insert(code, text.to_owned()), None, "{row}");
            }
        }
    }
    said
}

fn number(text: &str) -> u32 {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap()
}

#[test]
fn every_code_of_windows_stands_in_the_administrators_table() {
    let known: BTreeMap<u32, String> = FAMILIES
        .iter()
        .flat_map(|&(first, last)| first..=last)
        .filter_map(|code| Some((code, meaning(code)?.1.to_owned())))
        .collect();
    assert_eq!(table("## Codes and what to do"), known);
}

#[test]
fn every_return_code_of_hyperv_stands_in_the_administrators_table() {
    let unknown = ReturnCode::decode(u32::MAX);
    let ReturnCode::Failed(unknown) = unknown else {
        panic!("it is a failure");
    };
    let known: BTreeMap<u32, String> = (0..=0xFFFF)
        .filter_map(|code| match ReturnCode::decode(code) {
            ReturnCode::Failed(failure) if failure.text != unknown.text => {
                Some((code, failure.text.to_owned()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(table("What a method of Hyper-V returns"), known);
}
