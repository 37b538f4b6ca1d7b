//! The executable for Windows: as it is, or beside DLLs of ours that it takes for Windows' own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Names another executable than the one built for the tests, such as the one that is shipped.
const TESTED: &str = "E3_TEST_AGENT";
/// What makes COM take WMI's locator and its text source from our DLL.
const MANIFEST: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">
  <assemblyIdentity type="win32" name="e3-backup-agent" version="1.0.0.0"/>
  <file name="fake_wbem.dll">
    <comClass clsid="{4590F811-1D3A-11D0-891F-00AA004B2E24}" threadingModel="Both"/>
    <comClass clsid="{8D1C559D-84F0-4BB3-A7D5-56A7435A9BA6}" threadingModel="Both"/>
  </file>
</assembly>
"#;

/// The DLLs as they are built, and as Windows looks for them. They have the names of their crates.
const DLLS: [[&str; 2]; 3] = [
    [concat!(stringify!(fake_wbem), ".dll"), "fake_wbem.dll"],
    [concat!(stringify!(fake_virtdisk), ".dll"), "virtdisk.dll"],
    [concat!(stringify!(fake_vssapi), ".dll"), "vssapi.dll"],
];

/// The executable that is tested.
pub fn tested() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_e3-backup-agent");
    std::env::var_os(TESTED).map_or_else(|| PathBuf::from(built), PathBuf::from)
}

/// The same in a folder with everything that makes it meet our Hyper-V, VSS and storage management
/// in the place of Windows' own.
pub static BESIDE_FAKES: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("beside_fakes");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("e3-backup-agent.exe");
    place(&tested(), &program);
    let this = std::env::current_exe().unwrap();
    for [built, wanted] in DLLS {
        place(&this.with_file_name(built), &folder.join(wanted));
    }
    fs::write(folder.join("e3-backup-agent.exe.manifest"), MANIFEST).unwrap();
    program
});

/// Puts a file where another may lie, without writing it again where that can be spared. One that lies there from
/// an earlier run stays: a test beside may run it by its other name, and then nobody may remove it.
fn place(from: &Path, to: &Path) {
    let [here, there] = [from, to].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    });
    if here.is_some() && here == there {
        return;
    }
    if to.exists() {
        fs::remove_file(to).unwrap();
    }
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(drop))
        .unwrap();
}
