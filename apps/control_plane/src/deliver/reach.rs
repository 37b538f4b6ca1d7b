//! Which addresses webhooks may call. Pure: looking names up is not done here.
//!
//! | address | is called |
//! |---|---|
//! | one at which clouds tell machines their secrets, link-local, multicast, none at all | never |
//! | one of the public Internet | by https |
//! | any other: private, of this machine, reserved | by https and http, where an owner of the installation has allowed it |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses at which clouds tell machines their secrets, beyond those that are link-local.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What of IPv4 is no address of the public Internet (IANA's registry of special-purpose addresses).
const SPECIAL_V4: [(Ipv4Addr, u8); 14] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// What of IPv6's global addresses is none of the public Internet: special protocols, documentation, and 6to4, which leads
/// to an IPv4 address of anybody's choice.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// What an owner of the installation has allowed beyond the public Internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    networks: Vec<(IpAddr, u8)>,
    hosts: Vec<String>,
}

impl Reach {
    /// Reads a list of networks (`10.1.0.0/16`), addresses and hosts' names. The error says what is wrong with which.
    pub fn read(entries: &[String]) -> Result<Self, String> {
        let mut reach = Self::default();
        for entry in entries {
            let text = entry.trim().to_lowercase();
            let wrong = || {
                format!("{text} is no network such as 10.1.0.0/16, no address and no host's name")
            };
            let (address, bits) = match text.split_once('/') {
                Some((address, bits)) => (address, Some(bits)),
                None => (&*text, None),
            };
            match (address.trim_matches(['[', ']']).parse::<IpAddr>(), bits) {
                (Ok(address), bits) => {
                    let longest = if address.is_ipv4() { 32 } else { 128 };
                    let bits = bits.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
                    if bits > longest {
                        return Err(wrong());
                    }
                    reach.networks.push((address, bits));
                }
                (Err(_), None) if is_host(&text) => reach.hosts.push(text),
                (Err(_), _) => return Err(wrong()),
            }
        }
        Ok(reach)
    }

    /// Tells whether an address to which `host` leads may be called. The error does not tell the address: whoever chose the
    /// name need not know what it means in here.
    pub fn check(&self, host: &str, address: IpAddr, scheme: &str) -> Result<(), String> {
        let address = meant(address);
        if is_never_called(address) {
            return Err(format!("{host} leads where webhooks must not call"));
        }
        if is_public(address) {
            return match scheme {
                "http" => Err(format!(
                    "{host} is on the public Internet, and called by https alone"
                )),
                _ => Ok(()),
            };
        }
        let is_allowed = self
            .hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
            || self
                .networks
                .iter()
                .any(|(network, bits)| contains(*network, *bits, address));
        if is_allowed {
            return Ok(());
        }
        Err(format!(
            "{host} leads into a private network, which webhooks call only where an owner of the installation allows it in the settings"
        ))
    }
}

fn is_host(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    // What looks like a number would be read as an address.
    let is_number = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    !text.is_empty() && text.len() <= 253 && text.bytes().all(is_letter) && !is_number
}

/// Returns the address that another one stands for: an IPv4 address within IPv6, as it is or behind NAT64.
fn meant(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) if matches!(it.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _]) => {
            let [.., a, b, c, d] = it.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        other => other,
    }
}

fn is_never_called(address: IpAddr) -> bool {
    let is_local_link = match address {
        IpAddr::V4(it) => it.is_link_local() || it.is_broadcast(),
        IpAddr::V6(it) => it.is_unicast_link_local(),
    };
    is_local_link
        || METADATA.contains(&address)
        || address.is_multicast()
        || address.is_unspecified()
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !SPECIAL_V4
            .iter()
            .any(|(network, bits)| contains((*network).into(), *bits, address)),
        IpAddr::V6(it) => {
            it.segments()[0] >> 13 == 1
                && !SPECIAL_V6
                    .iter()
                    .any(|(network, bits)| contains((*network).into(), *bits, address))
        }
    }
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let share = |a: u128, b: u128, width: u32| {
        let apart = width.saturating_sub(u32::from(bits));
        (a ^ b).checked_shr(apart).unwrap_or(0) == 0
    };
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => share(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => share(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(entries: &[&str]) -> Reach {
        let entries: Vec<String> = entries.iter().map(|it| (*it).to_owned()).collect();
        Reach::read(&entries).expect("a list")
    }

    fn may(reach: &Reach, address: &str, scheme: &str) -> bool {
        let address = address.parse().expect("an address");
        reach.check("some.host", address, scheme).is_ok()
    }

    #[test]
    fn nothing_but_the_public_internet_is_called_unless_it_was_allowed() {
        let nothing = Reach::default();
        for public in ["93.184.215.14", "2606:2800:21f::1", "64:ff9b::5db8:d70e"] {
            assert!(may(&nothing, public, "https"), "{public}");
            assert!(!may(&nothing, public, "http"), "{public}");
        }
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "198.19.0.1",
            "0.1.2.3",
            "240.0.0.1",
            "::1",
            "fd12::1",
            "fec0::1",
            "::ffff:10.1.2.3",
            "::10.1.2.3",
            "64:ff9b::10.1.2.3",
            "64:ff9b:1::1",
            "2002:a01:203::1",
            "2001::1",
        ] {
            assert!(!may(&nothing, inside, "https"), "{inside}");
            assert!(!may(&nothing, inside, "http"), "{inside}");
        }
    }

    #[test]
    fn what_was_allowed_is_called_by_its_network_or_its_name() {
        let some = reach(&["10.1.0.0/16", "fd12::/16", "192.168.0.7", " Hooks.Lan "]);
        for (address, expected) in [
            ("10.1.255.1", true),
            ("::ffff:10.1.2.3", true),
            ("64:ff9b::10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd12:1::1", true),
            ("fd13::1", false),
            ("192.168.0.7", true),
            ("192.168.0.8", false),
        ] {
            assert_eq!(may(&some, address, "http"), expected, "{address}");
        }
        let address = "10.9.9.9".parse().expect("an address");
        assert!(some.check("hooks.lan", address, "http").is_ok());
        let refused = some
            .check("other.lan", address, "http")
            .expect_err("refused");
        assert!(!refused.contains("10.9"), "{refused}");
        assert!(may(&reach(&["0.0.0.0/0"]), "10.9.9.9", "https"));
    }

    #[test]
    fn where_secrets_are_told_nobody_calls_whatever_was_allowed() {
        let all = reach(&["0.0.0.0/0", "::/0", "some.host"]);
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!may(&all, address, "https"), "{address}");
        }
    }

    #[test]
    fn a_list_holds_networks_addresses_and_names() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "::/129",
            "a b",
            "host/8",
            "10.0.0",
            "1.2.3.4.5",
        ] {
            assert!(Reach::read(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
