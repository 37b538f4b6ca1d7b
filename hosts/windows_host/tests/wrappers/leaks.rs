//! Nothing is gained by calling again and again: no handle, no memory.

use std::path::Path;

use windows_host::event_log::{self, EventLog, Severity};
use windows_host::privileges::{self, Privilege};
use windows_host::service::{self, ServiceToInstall};
use windows_host::shares::Share;
use windows_host::{acl, dpapi, elevation, files, volumes};

use super::held::{alone, gains_nothing};

#[test]
fn wrappers_gain_neither_handles_nor_memory() {
    alone("leaks::wrappers_gain_neither_handles_nor_memory", look);
}

fn look() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    gains_nothing("dpapi", || {
        let protected = dpapi::protect(b"secret", "test").expect("it can be protected");
        dpapi::unprotect(&protected, "test").expect("it can be read");
        dpapi::unprotect(&protected, "other").expect_err("it was for another purpose");
    });
    gains_nothing("elevation", || {
        elevation::is_elevated().expect("it can be asked");
        elevation::is_system().expect("it can be asked");
    });
    gains_nothing("privileges", || {
        privileges::enable(Privilege::Backup).expect("it can be asked for");
    });
    gains_nothing("shares", || {
        Share::connect(r"\\127.0.0.1\no such share", "x", "y").expect_err("nobody shares that");
    });
    gains_nothing("acl", || {
        acl::restrict(folder.path()).expect("it can be restricted");
        acl::access(folder.path()).expect("it can be asked");
        acl::access(Path::new(r"C:\no\such\folder")).expect_err("it is not there");
    });
    gains_nothing("volumes", || {
        let point = volumes::mount_point_of(Path::new(r"C:\windows")).expect("it has a volume");
        let name = volumes::name_of(&point).expect("it has a name");
        volumes::mount_points(&name).expect("it is there");
        volumes::file_system(&point).expect("it has a file system");
    });
    gains_nothing("volumes.all", || {
        drop(volumes::all().expect("they are told"))
    });
    gains_nothing("event_log", || {
        event_log::register("e3-leaks").expect("it can be registered");
        let log = EventLog::open("e3-leaks").expect("it can be opened");
        log.report(Severity::Information, 1, "x")
            .expect("it can be written");
        event_log::unregister("e3-leaks").expect("it can be taken away");
    });
    let path = folder.path().join("file");
    std::fs::write(&path, b"content").expect("it can be written");
    gains_nothing("files", || {
        let file = std::fs::File::open(&path).expect("it can be opened");
        files::Entry::of(&file).expect("it can be asked");
        files::reparse_target(&file).expect_err("it leads nowhere");
        files::next_data(&file, 0).expect("it has no holes");
    });
    // Each call on a service takes Wine 10 ms.
    if std::env::var_os("E3_TEST_LONG").is_some() {
        look_at_a_service();
    }
}

fn look_at_a_service() {
    let service = ServiceToInstall {
        name: "e3-leaks",
        display_name: "e3-leaks",
        description: "Is never started.",
        program: Path::new(r"C:\no\such\program.exe"),
        arguments: &["x"],
    };
    // Left by a run that was killed.
    let _ = service::uninstall(service.name);
    gains_nothing("service", || {
        service::install(&service).expect("it can be installed");
        service::status(service.name).expect("it can be asked");
        service::stop(service.name).expect("it does not run");
        service::start(service.name).expect_err("there is no such program");
        service::uninstall(service.name).expect("it can be removed");
    });
}
