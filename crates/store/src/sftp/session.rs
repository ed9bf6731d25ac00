//! A connection: the command `ssh`, which knows the user's configuration, keys, agent and known hosts, with the SFTP
//! subsystem at its other end.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::{Error, Sftp, SftpOptions};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Kind;
use crate::location::SshFolder;

/// How long logging in may take.
const LOG_IN: Duration = Duration::from_secs(60);

/// Of what `ssh` complains no more is kept, in bytes.
const COMPLAINT_BYTES_MAX: usize = 2000;

/// Why something did not work.
#[derive(Debug)]
pub(super) struct Failure {
    pub kind: Kind,
    pub reason: String,
    /// Whether the connection is of no use any more.
    pub is_broken: bool,
}

impl Failure {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), is_broken: false }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (kind, is_broken) = match &error {
            Error::SftpError(SftpErrorKind::NoSuchFile, _) => (Kind::NotFound, false),
            Error::SftpError(SftpErrorKind::PermDenied, _) => (Kind::PermissionDenied, false),
            Error::SftpError(..) | Error::UnsupportedExtension(_) | Error::BufferTooLong(_) => {
                (Kind::Other, false)
            }
            _ => (Kind::Unavailable, true),
        };
        Self { kind, reason: clean(&error.to_string()), is_broken }
    }
}

/// An open connection. It ends when the last user lets go of it.
pub(super) struct Session {
    pub sftp: Sftp,
    _ssh: Child,
}

impl Session {
    pub(super) async fn open(folder: &SshFolder, config: Option<&str>) -> Result<Self, Failure> {
        let mut command = Command::new("ssh");
        // Nobody is asked anything, and a server that went away is noticed.
        for option in
            ["BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4"]
        {
            command.arg("-o").arg(option);
        }
        if let Some(config) = config {
            command.arg("-F").arg(config);
        }
        if let Some(port) = folder.port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &folder.user {
            command.arg("-l").arg(user);
        }
        command.args(["-s", "--", &folder.host, "sftp"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut ssh = command
            .spawn()
            .map_err(|error| Failure::new(Kind::Other, format!("the command ssh cannot be run: {error}")))?;
        let (Some(input), Some(output), Some(complaints)) =
            (ssh.stdin.take(), ssh.stdout.take(), ssh.stderr.take())
        else {
            return Err(Failure::new(Kind::Other, "the command ssh has no pipes"));
        };
        let heard = Arc::new(Mutex::new(String::new()));
        let listening = tokio::spawn(listen(complaints, heard.clone()));
        match timeout(LOG_IN, Sftp::new(input, output, SftpOptions::new())).await {
            Ok(Ok(sftp)) => Ok(Self { sftp, _ssh: ssh }),
            Ok(Err(error)) => {
                // It ends now, if it has not yet, and has said why.
                let _ = timeout(Duration::from_secs(2), listening).await;
                let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                Err(refused(&heard, &error))
            }
            Err(_) => Err(Failure::new(Kind::Unavailable, "no log-in in time")),
        }
    }
}

/// What `ssh` says when it cannot log in.
fn refused(heard: &str, error: &Error) -> Failure {
    let refuses = ["Permission denied", "Host key verification failed", "Too many authentication failures"];
    let kind = if refuses.iter().any(|text| heard.contains(text)) {
        Kind::PermissionDenied
    } else {
        Kind::Unavailable
    };
    let reason = if heard.trim().is_empty() { error.to_string() } else { heard.trim().to_owned() };
    Failure::new(kind, format!("ssh: {}", clean(&reason)))
}

/// Keeps the beginning of what is said, and reads the rest so that the speaker can go on.
async fn listen(mut complaints: impl AsyncRead + Unpin, heard: Arc<Mutex<String>>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = complaints.read(&mut buffer).await {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < COMPLAINT_BYTES_MAX {
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
}

/// One line without control characters: a server may say anything.
fn clean(text: &str) -> String {
    let spaced = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    spaced.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}
