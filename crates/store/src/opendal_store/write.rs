//! Writing: under the object's own name where the server stores whole objects, else to `tmp/` and from there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use opendal::{Buffer, Error, ErrorKind, Operator};

use super::wire::SILENCE;
use super::{ANSWER, Remote, SINGLE_REQUEST_MAX, answer, refusal, within};
use crate::web::refusal::Refusal;
use crate::{Kind, Operation, StorageClass, StoreError, name, random};

/// The slowest upload that is waited for, in bytes per second. A connection that stands still ends much earlier.
pub(super) const RATE_MIN: u64 = 16 << 10;

/// The size of the parts of an object that is too large for one request.
const PART_BYTES: usize = 256 << 20;

impl Remote {
    /// Puts an object into a class, or where objects usually are.
    pub(super) async fn put(
        &self,
        object: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
    ) -> Result<(), StoreError> {
        let operation = Operation::Put;
        let operator = match (class, &self.s3) {
            (None, _) => self.operator.clone(),
            (Some(class), Some(service)) => service.operator(class)?,
            (Some(_), None) => {
                let error = StoreError::new(Kind::Unsupported, operation.verb(), object, &self.location);
                return Err(error.because("this store has no storage classes"));
            }
        };
        let bytes = Buffer::from(parts);
        if self.creates_only() {
            match self.write(&operator, object, bytes.clone(), true).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConditionNotMatch => return Ok(()),
                Err(error) if refusal::refusal(&error).is_some_and(Refusal::is_unknown) => {
                    self.creates_only.store(false, Ordering::Relaxed);
                }
                Err(error) => return Err(self.unwritten(operation, object, &error)),
            }
        }
        match answer(self.operator.stat(object)).await {
            Ok(found) if found.is_file() => return Ok(()),
            Ok(_) => {
                let error = StoreError::new(Kind::Other, operation.verb(), object, &self.location);
                return Err(error.because("something that is not an object is in its place"));
            }
            Err(error) if refusal::kind(&error) == Kind::NotFound => {}
            Err(error) => return Err(self.unwritten(operation, object, &error)),
        }
        self.write_over(operation, &operator, object, bytes).await
    }

    pub(super) async fn replace(&self, object: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.write_over(Operation::Replace, &self.operator, object, Buffer::from(parts)).await
    }

    async fn write_over(
        &self,
        operation: Operation,
        operator: &Operator,
        object: &str,
        bytes: Buffer,
    ) -> Result<(), StoreError> {
        let written = if self.has_folders {
            self.write_and_move(object, bytes).await
        } else {
            self.write(operator, object, bytes, false).await
        };
        let Err(error) = written else { return Ok(()) };
        let failed = self.unwritten(operation, object, &error);
        // A WebDAV server that overwrites removes first: another writer of this name was in between.
        if self.has_folders && failed.kind == Kind::Gone && self.check().await.is_ok() {
            return Err(StoreError { kind: Kind::Unavailable, ..failed });
        }
        Err(failed)
    }

    async fn write(
        &self,
        operator: &Operator,
        object: &str,
        bytes: Buffer,
        create_only: bool,
    ) -> opendal::Result<()> {
        let size = bytes.len() as u64;
        let limit = ANSWER.saturating_add(Duration::from_secs(size / RATE_MIN));
        let mut write = operator.write_with(object, bytes).if_not_exists(create_only);
        if size > SINGLE_REQUEST_MAX {
            write = write.chunk(PART_BYTES);
        }
        let written = within(limit, write.into_future()).await?;
        self.note_whether_versioned(written.version().is_some());
        Ok(())
    }

    /// For servers whose writes can be seen half done.
    async fn write_and_move(&self, object: &str, bytes: Buffer) -> opendal::Result<()> {
        if answer(self.operator.stat(object)).await.is_ok_and(|found| !found.is_file()) {
            return Err(Error::new(
                ErrorKind::IsADirectory,
                "something that is not an object is in its place",
            ));
        }
        // The server would make the store's folder anew with all others.
        self.check().await?;
        let unique = random::unique_name()
            .map_err(|error| Error::new(ErrorKind::Unexpected, "no random name").set_source(error))?;
        let temporary = format!("{}/{unique}", name::RESERVED);
        let moved = async {
            self.write(&self.operator, &temporary, bytes, false).await?;
            within(ANSWER + SILENCE, self.operator.rename(&temporary, object)).await
        };
        let moved = moved.await;
        if moved.is_err() {
            // Best effort: nobody lists what lies there.
            let _ = answer(self.operator.delete(&temporary)).await;
        }
        moved
    }

    /// What a write does not find is the store.
    pub(super) fn unwritten(&self, operation: Operation, object: &str, error: &Error) -> StoreError {
        let found = self.error_at(operation.verb(), object, error);
        StoreError { kind: if found.kind == Kind::NotFound { Kind::Gone } else { found.kind }, ..found }
    }
}
