//! Reading: one request for each call, and no more memory than the object has and the caller allows.

use std::ops::Range;

use bytes::Bytes;
use futures_util::TryStreamExt;
use opendal::{BytesRange, Error, ErrorKind};

use super::wire::SILENCE;
use super::{Remote, answer, refusal, within};
use crate::{Kind, Operation, StoreError};

/// The largest number that every server can read in a range; more than any object has.
const FAR: u64 = i64::MAX as u64;

/// Why a part of an object cannot be had.
type Unfit = (Kind, &'static str);

impl Remote {
    pub(super) async fn get(&self, object: &str, size_max: u64) -> Result<Bytes, StoreError> {
        let fit = |size: u64| {
            if size > size_max { Err((Kind::TooLarge, "the caller allows less")) } else { Ok(size) }
        };
        Ok(self.read(Operation::Get, object, BytesRange::default(), fit).await?.0)
    }

    pub(super) async fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let operation = Operation::GetRange;
        let unfit = |(kind, reason): Unfit| {
            StoreError::new(kind, operation.verb(), object, &self.location).because(reason)
        };
        let ends = (Kind::Truncated, "the object ends before the range does");
        let Some(length) = range.end.checked_sub(range.start) else {
            return Err(unfit((Kind::Other, "the range ends before it starts")));
        };
        // There is no way to ask for no bytes, or for those that no object has.
        if length == 0 || range.start > FAR {
            let size = self.stat(operation, object).await?.size;
            return if range.end > size { Err(unfit(ends)) } else { Ok(Bytes::new()) };
        }
        let asked = BytesRange::new(range.start, Some(length.min(FAR - range.start)));
        let fit = |size| if range.end > size { Err(ends) } else { Ok(length) };
        Ok(self.read(operation, object, asked, fit).await?.0)
    }

    pub(super) async fn get_tail(&self, object: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let operation = Operation::GetTail;
        if length_max == 0 {
            return Ok((Bytes::new(), self.stat(operation, object).await?.size));
        }
        let range = if self.operator.info().capability().read_with_suffix {
            BytesRange::suffix(length_max.min(FAR))
        } else {
            let size = self.stat(operation, object).await?.size;
            if size == 0 {
                return Ok((Bytes::new(), 0));
            }
            BytesRange::new(size.saturating_sub(length_max), None)
        };
        match self.read(operation, object, range, |size| Ok(size.min(length_max))).await {
            // An empty object has no last bytes.
            Err(error) if error.kind == Kind::Truncated => {
                let size = self.stat(operation, object).await?.size;
                if size == 0 { Ok((Bytes::new(), 0)) } else { Err(error) }
            }
            outcome => outcome,
        }
    }

    /// Reads a part of an object. `fit` hears the object's size before any byte is kept, and says how many have to come.
    async fn read(
        &self,
        operation: Operation,
        object: &str,
        range: BytesRange,
        fit: impl FnOnce(u64) -> Result<u64, Unfit>,
    ) -> Result<(Bytes, u64), StoreError> {
        // A folder is no object, but some servers send a page about it.
        if self.has_folders {
            self.stat(operation, object).await?;
        }
        let unfit = |kind, reason: &'static str| {
            StoreError::new(kind, operation.verb(), object, &self.location).because(reason)
        };
        let begin = async {
            let mut stream = self.operator.reader(object).await?.into_stream(range).await?;
            let metadata = stream.metadata().await?;
            Ok((stream, metadata.content_length()))
        };
        let (mut stream, size) = match answer(begin).await {
            Ok(begun) => begun,
            Err(error) => return Err(self.error(operation, object, &error).await),
        };
        let length = fit(size).map_err(|(kind, reason)| unfit(kind, reason))?;
        let length = usize::try_from(length).map_err(|_| unfit(Kind::Other, "not enough memory"))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| unfit(Kind::Other, "not enough memory"))?;
        loop {
            match within(SILENCE, stream.try_next()).await {
                Ok(Some(pieces)) if pieces.len() <= length - bytes.len() => {
                    pieces.for_each(|piece| bytes.extend_from_slice(&piece));
                }
                Ok(Some(_)) => return Err(unfit(Kind::Other, "the server sent more than it announced")),
                Ok(None) => break,
                Err(error) => return Err(self.broken(operation, object, &error)),
            }
        }
        if bytes.len() < length {
            let error = Error::new(ErrorKind::Unexpected, "the answer ended early").set_temporary();
            return Err(self.broken(operation, object, &error));
        }
        Ok((bytes.into(), size))
    }

    /// An error while the bytes came: the connection's rather than the object's, unless the server says otherwise.
    fn broken(&self, operation: Operation, object: &str, error: &Error) -> StoreError {
        let found = self.error_at(operation.verb(), object, error);
        let is_silent = refusal::refusal(error).is_none() && found.kind == Kind::Other;
        StoreError { kind: if is_silent { Kind::Unavailable } else { found.kind }, ..found }
    }
}
