//! Backing up what a command writes, as one file.

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use content::tree::{Entry, FileContent, Node, Owner};
use crossbeam_channel::{Sender, bounded};

use super::plan::{PlanStep, Portion};
use super::read::{ChunkStream, FileFacts, ReadJob, ReadOutput};
use super::session::Session;
use super::{BackupReport, BackupRequest, commit, run_pipeline};
use crate::{Error, Progress, Vault};

const BLOCK: usize = 256 << 10;

/// Stores everything from `input` as the file `name` at the top of a snapshot. When the input has ended, `finish` says
/// whether it ended well; if not, there is no snapshot.
pub fn back_up_stream(
    vault: &Arc<Vault>,
    request: &BackupRequest,
    name: &str,
    input: &mut dyn Read,
    finish: &mut dyn FnMut() -> Result<(), String>,
    progress: &Arc<Progress>,
) -> Result<BackupReport, Error> {
    let begun = Instant::now();
    let names: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    if names.is_empty() || names.iter().any(|part| matches!(*part, "." | "..") || part.contains('\0')) {
        return Err(Error::Source(format!("{name:?} is not a name that a file can have")));
    }
    let request = BackupRequest { paths: vec![format!("/{}", names.join("/")).into()], ..request.clone() };
    progress.set_stage("preparing");
    let session = Session::begin(vault, &request, progress)?;
    progress.set_stage("backing up");
    // A command's output is read whole each time: there is nothing to note.
    let outcome = run_pipeline(&session, None, |session, _jobs: Sender<ReadJob>, portions| {
        plan(session, &names, input, finish, &portions)
    })?;
    // The command cannot be asked to say it all again.
    commit::finish(&session, outcome, begun)?.ok_or(Error::Restless)
}

fn plan(
    session: &Session<'_>,
    names: &[&str],
    input: &mut dyn Read,
    finish: &mut dyn FnMut() -> Result<(), String>,
    portions: &Sender<Portion>,
) -> Result<(), Error> {
    let send = |portion| portions.send(portion).map_err(|_| Error::Interrupted);
    let (output, results) = bounded(3);
    let folder = || Node::Directory { pages: Vec::new(), files: 0, bytes: 0 };
    let mut steps = vec![PlanStep::Enter(made_up(session, "", folder(), 0o755))];
    let Some((file, folders)) = names.split_last() else { return Ok(()) };
    steps.extend(folders.iter().map(|name| PlanStep::Enter(made_up(session, name, folder(), 0o755))));
    let content = FileContent::Chunks(Vec::new());
    let node = Node::File { size: 0, content, holes: Vec::new(), changing: false };
    steps.push(PlanStep::Read { entry: made_up(session, file, node, 0o600), changed: false, link: None });
    steps.extend(folders.iter().map(|_| PlanStep::Leave));
    steps.push(PlanStep::Leave);
    send(Portion { steps, results: Some(results) })?;

    let identifier = session.vault.keyring().identifier();
    let chunk = |bytes: Vec<u8>| {
        let id = identifier.identify(&bytes);
        output.send(ReadOutput::Chunk { bytes, id }).map_err(|_| Error::Interrupted)
    };
    let mut chunks = ChunkStream::new(session.cutter.clone());
    let mut size = 0u64;
    loop {
        session.progress.checkpoint()?;
        let got = match chunks.fill(BLOCK, |buffer| input.read(buffer)) {
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(Error::File { path: names.join("/").into(), action: "read", source });
            }
        };
        if got == 0 {
            break;
        }
        size += got as u64;
        session.progress.add_bytes_read(got as u64);
        while let Some(bytes) = chunks.next_chunk() {
            chunk(bytes)?;
        }
    }
    if let Some(bytes) = chunks.finish() {
        chunk(bytes)?;
    }
    finish().map_err(Error::Source)?;
    let time = super::session::now();
    let facts = FileFacts {
        size,
        holes: Vec::new(),
        xattrs: Vec::new(),
        mode: 0o600,
        modified: time,
        changed: time,
        changing: false,
        note: None,
    };
    output.send(ReadOutput::End(Ok(facts))).map_err(|_| Error::Interrupted)?;
    send(Portion { steps: vec![PlanStep::Finished], results: None })
}

/// An entry for something that is on no disk.
fn made_up(session: &Session<'_>, name: &str, node: Node, mode: u32) -> Entry {
    let owner = Owner {
        user: files::machine::user_id(),
        group: rustix::process::getegid().as_raw(),
        ..Owner::default()
    };
    Entry {
        name: name.as_bytes().to_vec(),
        node,
        mode,
        owner: Arc::new(owner),
        modified: session.started,
        changed: session.started,
        inode: 0,
        device: 0,
        links: 1,
        xattrs: Vec::new(),
    }
}
