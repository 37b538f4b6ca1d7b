//! What is mounted where: `/proc/self/mountinfo`, a line for each.

use std::path::PathBuf;

/// A mounted volume; mounts without a device behind them are none.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// The numbers of the device, `8:1`.
    pub device: String,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The file system.
    pub file_system: String,
    /// The device's name, `/dev/sda1`.
    pub source: String,
}

/// Reads the lines; those of another form are passed over, as the kernel may add some.
pub fn mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (place, what) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(2);
    let (device, _root, point) = (place.next()?, place.next()?, place.next()?);
    let mut what = what.split(' ');
    let (file_system, source) = (what.next()?, what.next()?);
    source.starts_with("/dev/").then(|| Mount {
        device: device.to_owned(),
        point: PathBuf::from(unescaped(point)),
        file_system: file_system.to_owned(),
        source: unescaped(source),
    })
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal.filter(|_| first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_devices_are_read_with_their_names() {
        let text = "27 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                    22 27 0:21 / /proc rw - proc proc rw\n\
                    40 27 8:2 / /srv/two\\040words\\134 rw shared:1 - xfs /dev/sda2 rw\n\
                    nonsense\n";
        let found = mounts(text);
        let points: Vec<_> = found.iter().map(|it| it.point.to_str().unwrap()).collect();
        assert_eq!(points, ["/", "/srv/two words\\"]);
        assert_eq!(
            (found[1].device.as_str(), found[1].file_system.as_str()),
            ("8:2", "xfs")
        );
    }
}
