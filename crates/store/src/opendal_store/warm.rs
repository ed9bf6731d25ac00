//! Cold objects of S3: whether one can be read, and asking that it can.
//!
//! Whether an object can be read is found out by reading a byte of it, because that is right for every server: a class
//! that is called `GLACIER` may be a shelf of slow disks. Only of one that cannot be read its head is asked for.
//! OpenDAL knows nothing of all this; the address of an object is taken from what it signs.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, Request, StatusCode, Uri};
use md5::{Digest, Md5};
use opendal::{Buffer, Error, ErrorKind};

use super::{Remote, answer, refusal};
use crate::web::refusal::Refusal;
use crate::{Kind, Operation, StoreError, Warming, Warmth};

/// How long a signature for one request is good.
const SIGNED_FOR: Duration = Duration::from_secs(300);

impl Remote {
    pub(super) async fn warmth(&self, object: &str) -> Result<(Warmth, u64), StoreError> {
        match self.get_tail(object, 1).await {
            Ok((_, size)) => Ok((Warmth::Warm, size)),
            Err(error) if error.kind == Kind::Cold => match self.head(object).await {
                Ok(found) => Ok(found),
                Err(error) => Err(self.error(Operation::Stat, object, &error).await),
            },
            Err(error) => Err(error),
        }
    }

    /// What is said of an object that cannot be read.
    async fn head(&self, object: &str) -> opendal::Result<(Warmth, u64)> {
        let signed = answer(self.operator.presign_stat(object, SIGNED_FOR)).await?;
        let transport = self.operator.context().http_transport();
        let found = answer(transport.fetch(Request::from(signed))).await?;
        if !found.status().is_success() {
            return Err(refused(found.status()));
        }
        let header = |name: &str| found.headers().get(name).and_then(|value| value.to_str().ok());
        let size = header(CONTENT_LENGTH.as_str()).and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| Error::new(ErrorKind::Unexpected, "the server tells no size"))?;
        let is_asked_for =
            header("x-amz-restore").is_some_and(|state| state.contains("ongoing-request=\"true\""));
        Ok((if is_asked_for { Warmth::Warming } else { Warmth::Cold }, size))
    }

    pub(super) async fn warm(&self, object: &str, how: Warming) -> Result<(), StoreError> {
        let operation = Operation::Warm;
        match self.ask_to_warm(object, how).await {
            Ok(status) if status.is_success() || status == StatusCode::CONFLICT => Ok(()),
            Ok(status) => {
                let error = match status {
                    StatusCode::NOT_FOUND => Error::new(ErrorKind::NotFound, "there is no such object"),
                    _ => refused(status),
                };
                let error = self.error(operation, object, &error).await;
                let is_unknown = status == StatusCode::METHOD_NOT_ALLOWED;
                Err(if is_unknown { StoreError { kind: Kind::Unsupported, ..error } } else { error })
            }
            Err(error) => {
                let found = self.error_at(operation.verb(), object, &error);
                let is_unknown = refusal::refusal(&error).is_some_and(Refusal::is_unknown);
                // Of what cannot be warmed S3 says the same as of what has to be.
                let is_unsupported = is_unknown || found.kind == Kind::Cold;
                Err(if is_unsupported { StoreError { kind: Kind::Unsupported, ..found } } else { found })
            }
        }
    }

    /// The status of an answer that OpenDAL should judge, if it is not a refusal. It is 409 where somebody asked before.
    async fn ask_to_warm(
        &self,
        object: &str,
        Warming { days, tier }: Warming,
    ) -> opendal::Result<StatusCode> {
        let Some(service) = &self.s3 else {
            return Err(Error::new(ErrorKind::Unsupported, "this store has no storage classes"));
        };
        let tier = tier.name();
        let body = format!(
            "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>{days}</Days>\
             <GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
        );
        let checksum = BASE64_STANDARD.encode(Md5::digest(body.as_bytes()));
        let head = answer(self.operator.presign_stat(object, SIGNED_FOR)).await?;
        let unbuilt = |error: http::Error| {
            Error::new(ErrorKind::Unexpected, "the request cannot be made").set_source(error)
        };
        let mut address = head.uri().clone().into_parts();
        let path = head.uri().path();
        address.path_and_query = format!("{path}?restore=").parse().ok();
        let address = Uri::from_parts(address).map_err(|error| unbuilt(error.into()))?;
        let request = Request::post(address)
            .header(CONTENT_TYPE, "application/xml")
            .header(HeaderName::from_static("content-md5"), checksum)
            .header(CONTENT_LENGTH, body.len())
            .body(Buffer::from(Bytes::from(body)))
            .map_err(unbuilt)?;
        let transport = self.operator.context().http_transport();
        let request = answer(service.sign(request, transport)).await?;
        let answered = answer(transport.send(request)).await?;
        Ok(answered.status())
    }
}

fn refused(status: StatusCode) -> Error {
    Error::new(ErrorKind::Unexpected, format!("the server answered {status}"))
}
