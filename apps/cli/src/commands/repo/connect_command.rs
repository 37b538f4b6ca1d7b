//! How stock Kopia connects to the same place.

use blob::{Location, S3Location};

/// Returns the command by which stock Kopia connects to the same place; never with secrets.
pub(super) fn connect_command(location: &Location) -> String {
    match location {
        Location::Folder(path) => {
            format!(
                "kopia repository connect filesystem --path={}",
                quoted(&path.display().to_string())
            )
        }
        Location::S3(location) => connect_s3(location),
    }
}

fn connect_s3(location: &S3Location) -> String {
    let mut command = format!(
        "kopia repository connect s3 --bucket={}",
        quoted(&location.bucket)
    );
    let mut option = |name: &str, value: &str| {
        command.push_str(&format!(" --{name}={}", quoted(value)));
    };
    if !location.prefix.is_empty() {
        option("prefix", &location.prefix);
    }
    if let Some(region) = &location.region {
        option("region", region);
    }
    let endpoint = location
        .endpoint
        .as_deref()
        .map(|url| url.split_once("://").unwrap_or(("https", url)));
    if let Some((_, server)) = endpoint {
        option("endpoint", server.trim_end_matches('/'));
    }
    if let Some(ca) = &location.ca {
        option("root-ca-pem-path", &ca.display().to_string());
    }
    if endpoint.is_some_and(|(scheme, _)| scheme == "http") {
        command.push_str(" --disable-tls");
    }
    if location.insecure {
        command.push_str(" --disable-tls-verification");
    }
    command
}

/// Puts what a shell of this system would take apart between quotes.
fn quoted(text: &str) -> String {
    quoted_for(text, cfg!(windows))
}

fn quoted_for(text: &str, windows: bool) -> String {
    let plain = |letter: char| {
        letter.is_alphanumeric() || "/._-:+@=,".contains(letter) || (windows && letter == '\\')
    };
    if text.chars().all(plain) && !text.is_empty() {
        text.to_owned()
    } else if windows {
        // No name there has such a quote in it.
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_systems_shell_gets_its_own_quotes() {
        for (text, unix, windows) in [
            ("/srv/a", "/srv/a", "/srv/a"),
            ("it's", r"'it'\''s'", "\"it's\""),
            (r"D:\a", r"'D:\a'", r"D:\a"),
            (r"D:\a b", r"'D:\a b'", "\"D:\\a b\""),
            ("", "''", "\"\""),
        ] {
            assert_eq!(quoted_for(text, false), unix);
            assert_eq!(quoted_for(text, true), windows);
        }
    }

    #[cfg(unix)]
    #[test]
    fn stock_kopia_is_told_the_same_place() {
        for (location, expected) in [
            (
                "/srv/backup",
                "kopia repository connect filesystem --path=/srv/backup",
            ),
            (
                "/srv/it's here",
                r"kopia repository connect filesystem --path='/srv/it'\''s here'",
            ),
            ("s3://b", "kopia repository connect s3 --bucket=b"),
            (
                "s3://b/a/c?endpoint=http://127.0.0.1:9000&region=r",
                "kopia repository connect s3 --bucket=b --prefix=a/c/ --region=r --endpoint=127.0.0.1:9000 --disable-tls",
            ),
            (
                "s3://b?endpoint=https://s3.example.com&insecure=true&ca=/etc/ca.pem",
                "kopia repository connect s3 --bucket=b --endpoint=s3.example.com --root-ca-pem-path=/etc/ca.pem --disable-tls-verification",
            ),
        ] {
            assert_eq!(connect_command(&location.parse().unwrap()), expected);
        }
    }
}
