//! URLs as others may see them: in messages, rows, logs and pages. What gives access does not belong there, and a
//! target is known by its name, so that its URL need not be whole.

use percent_encoding::percent_decode_str;

/// What stands in place of a secret.
const MASK: &str = "***";
/// Words that make a parameter's name that of a secret.
const WORDS: [&str; 26] = [
    "key",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "pw",
    "sig",
    "sign",
    "signature",
    "auth",
    "authorization",
    "oauth",
    "credential",
    "credentials",
    "session",
    "sid",
    "jwt",
    "otp",
    "hmac",
    "sas",
    "bearer",
    "ticket",
    "assertion",
];
/// The same where words are written together.
const PARTS: [&str; 10] =
    ["token", "secret", "passw", "apikey", "accesskey", "privatekey", "authkey", "signature", "credential", "session"];
/// Names that are those of secrets when there is nothing else in them.
const NAMES: [&str; 2] = ["code", "pin"];

/// A URL, or a reference to one such as a redirect has, without what may give access: the values of parameters whose
/// names look like those of secrets, the fragment, and user information are `***`.
pub fn url(text: &str) -> String {
    let (rest, fragment) = text.split_once('#').map_or((text, None), |(rest, fragment)| (rest, Some(fragment)));
    let (base, query) = rest.split_once('?').map_or((rest, None), |(base, query)| (base, Some(query)));
    let mut shown = without_user(base);
    if let Some(query) = query {
        shown.push('?');
        shown.extend(query.split_inclusive(['&', ';']).map(parameter));
    }
    if let Some(fragment) = fragment {
        shown.push('#');
        shown.push_str(if fragment.is_empty() { "" } else { MASK });
    }
    shown
}

/// Scheme, host and path; a path may have parameters, too (`/cart;jsessionid=1`).
fn without_user(base: &str) -> String {
    let is_slash = |c: char| c == '/' || c == '\\';
    let authority = base.find(['/', '\\']).filter(|at| base[at + 1..].starts_with(is_slash)).map_or(0, |at| at + 2);
    let path = base[authority..].find(is_slash).map_or(base.len(), |at| authority + at);
    let path = if authority == 0 { 0 } else { path };
    let mut shown = match base[..path].rsplit_once('@') {
        Some((_, host)) => format!("{}{MASK}@{host}", &base[..authority]),
        None => base[..path].to_owned(),
    };
    for piece in base[path..].split_inclusive(['/', ';']) {
        if shown.ends_with(';') { shown.push_str(&parameter(piece)) } else { shown.push_str(piece) }
    }
    shown
}

/// `name=value` with the separator behind it.
fn parameter(piece: &str) -> String {
    let (pair, separator) = piece.split_at(piece.len() - usize::from(piece.ends_with(['&', ';', '/'])));
    match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && (is_secret(name) || has_secret(value)) => {
            format!("{name}={MASK}{separator}")
        }
        _ => piece.to_owned(),
    }
}

/// Whether a parameter of this name holds a secret, as far as a name can tell.
fn is_secret(name: &str) -> bool {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let mut words = vec![String::new()];
    let mut after_small = false;
    for c in name.chars() {
        let begins = !c.is_alphanumeric() || after_small && c.is_uppercase();
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        after_small = c.is_lowercase() || c.is_numeric();
    }
    let word = |word: &String| WORDS.contains(&word.trim_end_matches(|c: char| c.is_ascii_digit()));
    let whole = words.concat();
    words.iter().any(word) || NAMES.contains(&&*whole) || PARTS.iter().any(|part| whole.contains(part))
}

/// Whether a value is a URL that has a secret itself.
fn has_secret(value: &str) -> bool {
    let value = percent_decode_str(value).decode_utf8_lossy();
    value.contains("://") && url(&value) != value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_access_is_masked() {
        let table = [
            ("https://a.example/p?token=t0p", "https://a.example/p?token=***"),
            ("https://a.example/?a=1&api_key=t0p&b=2", "https://a.example/?a=1&api_key=***&b=2"),
            ("/login?accessToken=t0p;x=1", "/login?accessToken=***;x=1"),
            ("?X-Amz-Signature=t0p&X-Amz-Date=20260101", "?X-Amz-Signature=***&X-Amz-Date=20260101"),
            ("?sig=t0p&sv=2020", "?sig=***&sv=2020"),
            ("?user%5Bpassword%5D=t0p", "?user%5Bpassword%5D=***"),
            ("?p%61ss=t0p", "?p%61ss=***"),
            ("?PHPSESSIONID=t0p", "?PHPSESSIONID=***"),
            ("?code=t0p&PIN=t0p&state=1", "?code=***&PIN=***&state=1"),
            ("?key=t0p=t0p==", "?key=***"),
            ("?clientsecret=t0p?&secret2=t0p", "?clientsecret=***&secret2=***"),
            ("/cart;jsessionid=t0p/x;v=1?a", "/cart;jsessionid=***/x;v=1?a"),
            ("https://a.example/#access_token=t0p", "https://a.example/#***"),
            ("https://a.example/?next=https%3A%2F%2Fb.example%2F%3Ftoken%3Dt0p", "https://a.example/?next=***"),
            ("https://user:t0p@a.example/", "https://***@a.example/"),
            ("https://t0p@t0p@a.example?a@b", "https://***@a.example?a@b"),
            ("//user:t0p@a.example/x@y", "//***@a.example/x@y"),
            ("https:\\\\user:t0p@a.example\\x", "https:\\\\***@a.example\\x"),
        ];
        for (text, expected) in table {
            assert_eq!(url(text), expected, "{text}");
            assert_eq!(url(expected), expected, "what is masked stays as it is");
        }
    }

    #[test]
    fn what_gives_none_stays() {
        for text in [
            "",
            "https://a.example",
            "https://a.example/a@b;c=d",
            "/search?q=token&page=2",
            "?author=me&keyword=x&monkey=1&design=2&status_code=200&compass=n&zipcode=1",
            "?token=&key",
            "?next=https%3A%2F%2Fb.example%2F",
            "a?b?c=d",
            "#",
        ] {
            assert_eq!(url(text), text);
        }
    }
}
