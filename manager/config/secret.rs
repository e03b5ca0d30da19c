//! Which settings are secrets: masked wherever a configuration is shown (dump, log, status, crash reports).

use std::borrow::Cow;

/// A setting whose name contains one of these words, in any case, is a secret.
pub const SECRET_WORDS: [&str; 9] = ["pass", "pwd", "secret", "token", "key", "dsn", "credential", "auth", "private"];

/// What is shown instead of a secret.
pub const MASK: &str = "****";

/// Whether a setting of this name is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// The value to show: masked if its name is a secret's, and without the passwords in URLs.
pub fn shown<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if is_secret(name) {
        return Cow::Borrowed(MASK);
    }
    let mut shown = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("://") {
        // Up to the last `@` of this part: a password may contain one.
        let end = after.find(['/', '?', '#', ' ', ',']).unwrap_or(after.len());
        let (authority, path) = after.split_at(end);
        shown.push_str(before);
        shown.push_str("://");
        match authority.rsplit_once('@').map(|(user, host)| (user.split_once(':').map_or(user, |(user, _)| user), host))
        {
            Some((user, host)) if authority.contains(':') => shown.extend([user, ":", MASK, "@", host]),
            _ => shown.push_str(authority),
        }
        rest = path;
    }
    if shown.is_empty() {
        return Cow::Borrowed(value);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H5.
    #[test]
    fn secrets_by_name() {
        for name in
            ["password", "DB_PASS", "api.key", "Token", "dsn", "http_auth", "private_pem", "client_secret", "pwd"]
        {
            assert!(is_secret(name), "{name}");
            assert_eq!(shown(name, "hunter2"), MASK);
        }
        for name in ["size", "database", "url", "host"] {
            assert_eq!(shown(name, "value"), "value");
        }
    }

    #[test]
    fn passwords_in_urls() {
        for (value, expected) in [
            ("redis://:hunter2@db:6379/0", "redis://:****@db:6379/0"),
            ("mysql://app:hunt@er2@db/x?y=1", "mysql://app:****@db/x?y=1"),
            ("http://a/,http://u:p@b/", "http://a/,http://u:****@b/"),
            ("http://host:80/a@b", "http://host:80/a@b"),
            ("http://user@host/", "http://user@host/"),
            ("no url", "no url"),
        ] {
            assert_eq!(shown("url", value), expected);
        }
    }
}
