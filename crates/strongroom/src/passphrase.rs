//! What opens a vault: a secret from a file, a command, the environment or a prompt; never from an argument, where
//! other users could see it.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use backup::{Credential, SecretText};
use zeroize::{Zeroize, Zeroizing};

use crate::failure::Failure;
use crate::global::Global;
use crate::interrupt;

/// Where programs may leave the secret.
const VARIABLE: &str = "STRONGROOM_PASSPHRASE";
/// No more of a file or of a command's output is read than this, in bytes.
const SECRET_MAX: u64 = 64 << 10;

/// What was given without asking anybody; `None` when nothing was.
pub fn given(global: &Global) -> Result<Option<Credential>, Failure> {
    let text = if let Some(path) = &global.passphrase_file {
        Some(from_file(path)?)
    } else if let Some(command) = &global.passphrase_command {
        Some(from_command(command)?)
    } else {
        from_environment()?
    };
    Ok(text.map(Credential::recognise))
}

/// Asks for what opens a vault.
pub fn ask() -> Result<Credential, Failure> {
    let text = prompt("Passphrase: ")?;
    Ok(Credential::recognise(SecretText::new(text)))
}

/// Asks for a new passphrase, twice.
pub fn ask_for_new() -> Result<Credential, Failure> {
    let text = Zeroizing::new(prompt("New passphrase: ")?);
    if text.is_empty() {
        return Err(Failure::plain("an empty passphrase protects nothing", "type at least a few words"));
    }
    let again = Zeroizing::new(prompt("Once more: ")?);
    if *again != *text {
        return Err(Failure::plain("the two passphrases are not the same", "run the same command again"));
    }
    Ok(Credential::recognise(SecretText::new(text.to_string())))
}

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The secret in the first line of a file.
pub fn from_file(path: &Path) -> Result<SecretText, Failure> {
    let fail = |error| Failure::file(path, "read", &error);
    let text = read_text(std::fs::File::open(path).map_err(fail)?).map_err(fail)?;
    first_line(&text, &format!("the file {}", path.display()))
}

/// A program that gets no secret through its environment.
pub fn without_secrets(mut command: Command) -> Command {
    command.env_remove(VARIABLE);
    command
}

fn from_environment() -> Result<Option<SecretText>, Failure> {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => Ok(Some(SecretText::new(text))),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            let hint = "give it with --passphrase-file, or set it to text";
            Err(Failure::usage(format!("{VARIABLE} is not UTF-8 text"), hint))
        }
    }
}

/// The command itself is never shown: it may hold a secret.
fn from_command(command: &str) -> Result<SecretText, Failure> {
    const WHAT: &str = "the passphrase command";
    const HINT: &str = "run it by hand with `sh -c` to see why";
    let fail = |error: io::Error| Failure {
        causes: vec![error.to_string()],
        ..Failure::plain(format!("{WHAT} cannot be run"), HINT)
    };
    let mut shell = without_secrets(Command::new("sh"));
    let mut child = shell.arg("-c").arg(command).stdout(Stdio::piped()).spawn().map_err(fail)?;
    let text = match child.stdout.take() {
        Some(output) => read_text(output),
        None => Ok(Zeroizing::default()),
    };
    // Its output may be longer than what was read: the pipe is closed by now, so it ends.
    let status = child.wait().map_err(fail)?;
    if !status.success() {
        return Err(Failure::plain(format!("{WHAT} ended with {status}"), HINT));
    }
    first_line(&text.map_err(fail)?, "the output of the passphrase command")
}

fn read_text(source: impl Read) -> io::Result<Zeroizing<String>> {
    // All at once: a buffer that grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_MAX as usize));
    source.take(SECRET_MAX).read_to_end(&mut bytes)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "its first line is not UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn first_line(text: &str, place: &str) -> Result<SecretText, Failure> {
    match text.strip_suffix('\r').unwrap_or(text) {
        "" => {
            Err(Failure::plain(format!("{place} has nothing in its first line"), "put the passphrase there"))
        }
        line => Ok(SecretText::new(line.to_owned())),
    }
}

fn prompt(question: &str) -> Result<String, Failure> {
    if !can_ask() {
        return Err(Failure::usage(
            "a passphrase is needed and there is no terminal to ask at",
            format!("set {VARIABLE}, or give --passphrase-file or --passphrase-command"),
        ));
    }
    let answer = interrupt::while_prompting(|| rpassword::prompt_password(question));
    if interrupt::was_asked() {
        if let Ok(mut text) = answer {
            text.zeroize();
        }
        return Err(Failure::interrupted());
    }
    answer.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Failure::interrupted(),
        _ => Failure::file(Path::new("/dev/tty"), "read", &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_counts() {
        let read = |bytes: &[u8]| {
            let text = read_text(bytes).unwrap();
            first_line(&text, "it").map(|secret| secret.expose().to_owned())
        };
        assert_eq!(read(b"two words\nmore\n").unwrap(), "two words");
        assert_eq!(read(b" kept as it is \r\n\xff").unwrap(), " kept as it is ");
        assert!(read(b"\nsecond").is_err());
        assert!(read(b"").is_err());
        assert!(read_text(&b"\xff\n"[..]).is_err());
    }
}
