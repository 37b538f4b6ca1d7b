//! systemd's way of being told: datagrams of `KEY=value` lines to the socket that `NOTIFY_SOCKET`
//! names (sd_notify(3), sd_watchdog_enabled(3)).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use time_and_chance::StopSignal;

/// So often it is looked how the service is.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// What systemd gave this process to tell it.
#[derive(Debug)]
pub struct Systemd {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Returns it if the environment names a socket; `process` is this one.
    pub fn of(variable: &dyn Fn(&str) -> Option<OsString>, process: u32) -> Option<Self> {
        let address = address(&variable("NOTIFY_SOCKET")?)?;
        Some(Self {
            socket: UnixDatagram::unbound().ok()?,
            address,
            watchdog: watchdog(variable, process),
        })
    }

    /// Sends what stands in lines.
    pub fn tell(&self, lines: &str) {
        // Nothing better could be done about it; systemd notices that it hears nothing.
        let _ = self.socket.send_to_addr(lines.as_bytes(), &self.address);
    }

    /// Tells how the service is until `done`; see [`Supervisor::watch`](super::Supervisor::watch).
    pub fn watch(
        &self,
        beats: &dyn Fn() -> u64,
        says: &dyn Fn() -> String,
        stop: &StopSignal,
        done: &StopSignal,
    ) {
        let look = self.watchdog.map_or(LOOK_MAX, |it| LOOK_MAX.min(it / 4));
        let (mut seen, mut said) = (beats(), String::new());
        let mut tell = || {
            let (now, what) = (beats(), says());
            if self.watchdog.is_some() && now != seen {
                self.tell("WATCHDOG=1");
            }
            if what != said {
                let line: Vec<&str> = what.lines().collect();
                self.tell(&format!("STATUS={}", line.join(" ")));
            }
            (seen, said) = (now, what);
        };
        while stop.wait_real_time(look).is_ok() {
            tell();
        }
        self.tell("STOPPING=1");
        while done.wait_real_time(look).is_ok() {
            tell();
        }
    }
}

/// Returns whether `stream` is what `JOURNAL_STREAM` says leads to the journal, by device and file
/// number (systemd.exec(5)); what is started by the service inherits the variable, not the stream.
pub fn is_the_journal(stream: &impl AsFd, variable: Option<OsString>) -> bool {
    let said = variable.and_then(|it| it.into_string().ok());
    let said = said.as_deref().and_then(|it| it.split_once(':'));
    let found = stream.as_fd().try_clone_to_owned();
    let found = found.and_then(|it| File::from(it).metadata());
    match (said, found) {
        (Some((device, number)), Ok(found)) => {
            device.parse() == Ok(found.dev()) && number.parse() == Ok(found.ino())
        }
        _ => false,
    }
}

/// Returns the address that a name stands for: a path, or behind `@` an abstract name.
fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok(),
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

/// Returns within what time systemd wants a sign of life, if it wants one of this very process.
fn watchdog(variable: &dyn Fn(&str) -> Option<OsString>, process: u32) -> Option<Duration> {
    let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
    let is_ours = match variable("WATCHDOG_PID") {
        None => true,
        Some(_) => number("WATCHDOG_PID") == Some(u64::from(process)),
    };
    let within = number("WATCHDOG_USEC").filter(|it| is_ours && *it > 0)?;
    Some(Duration::from_micros(within))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::Supervisor;
    use super::*;

    fn systemd(variables: &[(&str, &str)]) -> Option<Systemd> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(found.1))
        };
        Systemd::of(&variable, 4711)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buf = [0; 256];
        let length = socket.recv(&mut buf).unwrap();
        String::from_utf8(buf[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_socket_in_the_file_system_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor =
            Supervisor::Systemd(systemd(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).unwrap());
        supervisor.running();
        let over = StopSignal::new();
        over.stop();
        supervisor.watch(&|| 0, &String::new, &over, &over);
        let told = [(); 2].map(|()| heard(&socket));
        assert_eq!(told, ["READY=1", "STOPPING=1"]);
    }

    #[test]
    fn a_socket_with_an_abstract_name_is_told() {
        let name = format!("e3-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let at = format!("@{name}");
        systemd(&[("NOTIFY_SOCKET", &at)]).unwrap().tell("READY=1");
        assert_eq!(heard(&socket), "READY=1");
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        assert!(systemd(&[]).is_none());
        assert!(systemd(&[("NOTIFY_SOCKET", "relative")]).is_none());
        let gone = systemd(&[("NOTIFY_SOCKET", "/no/such/socket")]).unwrap();
        gone.tell("READY=1");
    }

    #[test]
    fn the_watchdog_is_that_of_this_process() {
        let within = |variables: &[(&str, &str)]| {
            let mut all = vec![("NOTIFY_SOCKET", "/x")];
            all.extend(variables);
            systemd(&all).unwrap().watchdog
        };
        let usec = ("WATCHDOG_USEC", "300000000");
        let five_minutes = Some(Duration::from_secs(300));
        assert_eq!(within(&[]), None);
        assert_eq!(within(&[usec]), five_minutes);
        assert_eq!(within(&[usec, ("WATCHDOG_PID", "4711")]), five_minutes);
        assert_eq!(within(&[usec, ("WATCHDOG_PID", "1")]), None);
        assert_eq!(within(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(within(&[("WATCHDOG_USEC", "soon")]), None);
    }

    #[test]
    fn systemd_hears_of_a_service_only_while_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let told = systemd(&[
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "20000"),
        ]);
        // It lives for three looks, is seen to do nothing for two more, is stopped, lives for one
        // more, and ends.
        let looks = Cell::new(0_u64);
        let (stop, done) = (StopSignal::new(), StopSignal::new());
        let beats = || {
            looks.set(looks.get() + 1);
            match looks.get() {
                6 => stop.stop(),
                7 => done.stop(),
                _ => {}
            }
            [1, 2, 3, 4, 4, 4, 5][looks.get() as usize - 1]
        };
        let says = || match looks.get() {
            ..4 => "one run\nof two".to_owned(),
            _ => "waiting".to_owned(),
        };
        Supervisor::Systemd(told.unwrap()).watch(&beats, &says, &stop, &done);
        socket.set_nonblocking(true).unwrap();
        let signs = std::iter::from_fn(|| {
            let mut buf = [0; 64];
            let length = socket.recv(&mut buf).ok()?;
            Some(String::from_utf8(buf[..length].to_vec()).unwrap())
        });
        let expected = [
            "WATCHDOG=1",
            "STATUS=one run of two",
            "WATCHDOG=1",
            "WATCHDOG=1",
            "STATUS=waiting",
            "STOPPING=1",
            "WATCHDOG=1",
        ];
        assert_eq!(signs.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_the_stream_that_leads_to_the_journal_is_it() {
        let (stream, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let name = |file: &File| {
            let found = file.metadata().unwrap();
            Some(OsString::from(format!("{}:{}", found.dev(), found.ino())))
        };
        assert!(is_the_journal(&stream, name(&stream)));
        assert!(!is_the_journal(&stream, name(&other)));
        assert!(!is_the_journal(&stream, Some("8".into())));
        assert!(!is_the_journal(&stream, None));
    }
}
