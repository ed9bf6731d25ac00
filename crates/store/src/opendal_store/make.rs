//! Making a bucket of S3 that is missing: with the server's defaults, so that nobody but its owner sees into it, without
//! versions and without locks.

use http::Request;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use opendal::{Buffer, Error, ErrorKind};

use super::{OpendalStore, Remote, answer, s3};
use crate::web::refusal::Refusal;
use crate::{Kind, StoreError, network};

/// Only its address matters.
const OBJECT: &str = "strongroom.vault";
/// The region in which Amazon makes a bucket that names none.
const FIRST_REGION: &str = "us-east-1";

impl OpendalStore {
    /// Makes the bucket; then [`check`](Self::check).
    pub(crate) async fn create_bucket(&self) -> Result<(), StoreError> {
        let remote = self.remote.clone();
        match network::run(async move { remote.create_bucket().await }).await {
            Ok(Ok(())) => self.check().await,
            Ok(Err(error)) => Err(self.remote.error_at("create", "", &error)),
            Err(error) => {
                Err(StoreError::new(Kind::Other, "create", "", &self.remote.location).because(error))
            }
        }
    }
}

impl Remote {
    async fn create_bucket(&self) -> opendal::Result<()> {
        let unknown = || Error::new(ErrorKind::Unsupported, "only a bucket of S3 can be made");
        let service = self.s3.as_ref().ok_or_else(unknown)?;
        let address = self.bucket_address(service, OBJECT).await.ok_or_else(unknown)?;
        let body = Buffer::from(wish(service));
        let request =
            Request::put(address).header(CONTENT_TYPE, "application/xml").header(CONTENT_LENGTH, body.len());
        let made = answer(self.sign_and_send(request, body)).await?;
        let refusal = Refusal::new(made.status(), made.headers(), &made.body().to_bytes());
        // Or somebody with the same rights was quicker.
        if made.status().is_success() || refusal.is_own_bucket() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unexpected, "the bucket was not made").set_source(refusal))
    }
}

/// What Amazon wants to hear of a bucket in another region than its first. Other servers have one place only.
fn wish(service: &s3::Service) -> String {
    let region = service.region();
    if !service.is_amazons() || region == FIRST_REGION {
        return String::new();
    }
    format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{region}\
         </LocationConstraint></CreateBucketConfiguration>"
    )
}
