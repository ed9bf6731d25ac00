//! The parts of a URL. Reasons are fixed texts, so that no password gets into one.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::{Bucket, SshFolder, WebFolder};

/// Why a text is no location.
type Reason = &'static str;

/// The longest prefix in bytes: with the longest name it is as long as the services allow.
const PREFIX_BYTES_MAX: usize = 500;

const SECRET: Reason = "a location holds no password, key or query: credentials come from the environment";

/// `scheme://rest`, when the text begins with what can be a scheme. A path such as `./a://b` has none.
pub(super) fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let begins_with_letter = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    (begins_with_letter && scheme.bytes().all(letters)).then_some((scheme, rest))
}

/// `HOST/PATH`: the host is empty or this machine.
pub(super) fn file(rest: &str) -> Result<PathBuf, Reason> {
    let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
    if !path.starts_with('/') {
        return Err("a file URL has three slashes before the path: file:///PATH");
    }
    Ok(OsString::from_vec(decode_percent(path)?).into())
}

/// `BUCKET/PREFIX`
pub(super) fn bucket(rest: &str) -> Result<Bucket, Reason> {
    let (name, prefix) = split_path(rest)?;
    if name.contains(['@', ':']) {
        return Err(SECRET);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || !name.bytes().all(allowed) || name.starts_with('.') {
        return Err("the name of a bucket or container comes first, of letters, digits, '-', '.' and '_'");
    }
    Ok(Bucket { name: name.to_owned(), prefix: components(prefix)? })
}

/// `HOST:PORT/PATH`
pub(super) fn web_folder(rest: &str, is_encrypted: bool) -> Result<WebFolder, Reason> {
    let (authority, path) = split_path(rest)?;
    if authority.contains('@') {
        return Err(SECRET);
    }
    host_and_port(authority)?;
    Ok(WebFolder { is_encrypted, authority: authority.to_owned(), path: components(path)? })
}

/// `USER@HOST:PORT/PATH`
pub(super) fn sftp(rest: &str) -> Result<SshFolder, Reason> {
    let (authority, path) = split_path(rest)?;
    let (user, authority) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => return Err(SECRET),
        Some((user, authority)) => (Some(user), authority),
        None => (None, authority),
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'+');
    // The command `ssh` must not take it for an option.
    if user.is_some_and(|user| user.is_empty() || user.starts_with('-') || !user.bytes().all(allowed)) {
        return Err("the name of a user has letters, digits, '-', '.', '_' and '+' only");
    }
    let (host, port) = host_and_port(authority)?;
    let (is_at_home, path) = match path.strip_prefix("~/") {
        Some(path) => (true, path),
        None => (false, path),
    };
    let path = components(path)?;
    if path.is_empty() {
        return Err(
            "a folder on the server is missing: sftp://HOST/PATH, or sftp://HOST/~/PATH below the home",
        );
    }
    let path = if is_at_home { path } else { format!("/{path}") };
    Ok(SshFolder { user: user.map(str::to_owned), host: host.to_owned(), port, path })
}

fn split_path(rest: &str) -> Result<(&str, &str), Reason> {
    if rest.contains(['?', '#']) {
        return Err(SECRET);
    }
    Ok(rest.split_once('/').unwrap_or((rest, "")))
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), Reason> {
    const REASON: Reason = "after the scheme comes HOST or HOST:PORT";
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(REASON)?;
            let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
            (Some(host).filter(|_| is_address).ok_or(REASON)?, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            if host.is_empty() || host.starts_with('-') || !host.bytes().all(allowed) {
                return Err(REASON);
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => Some(port.parse().map_err(|_| "a port is a number up to 65535")?),
        None if port.is_empty() => None,
        None => return Err(REASON),
    };
    Ok((host, port))
}

/// The path without percent signs and without slashes at its ends.
fn components(path: &str) -> Result<String, Reason> {
    let path =
        String::from_utf8(decode_percent(path.trim_matches('/'))?).map_err(|_| "the path is not UTF-8")?;
    if path.len() > PREFIX_BYTES_MAX {
        return Err("the path is too long");
    }
    if path.chars().any(char::is_control) {
        return Err("the path has a control character");
    }
    if !path.is_empty() && path.split('/').any(|component| matches!(component, "" | "." | "..")) {
        return Err("a component of the path is empty, '.' or '..'");
    }
    Ok(path)
}

fn decode_percent(text: &str) -> Result<Vec<u8>, Reason> {
    const REASON: Reason = "a percent sign in a URL is followed by two hex digits";
    let digit =
        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(REASON);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Ok(bytes),
            [b'%', high, low, rest @ ..] => {
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest
            }
            [b'%', ..] => return Err(REASON),
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

/// The opposite, for paths.
pub(super) fn encode_percent(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~+@:,=!$()*'".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
