//! A store without a credential: each call asks for a grant and uses it.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, ETAG, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING};
use reqwest::{Method, StatusCode, Url};

use super::{Checksum, Grant, Granted, Granter, Permission};
use crate::networked::Networked;
use crate::web::object::{self, Object, checksum};
use crate::web::{Failure, Http, Request, Response, Secret, hex, md5_of};
use crate::{Kind, ObjectInfo, Operation, Store, StoreError, name};

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Grants to read that are kept for the next call.
const KEPT_MAX: usize = 4096;
/// A kept grant that ends sooner than this is not used, as the request takes its time.
const KEPT_REST: Duration = Duration::from_secs(10);
/// Parameters of a URL as long as this may be signatures, and are kept out of messages.
const SIGNATURE_LENGTH_MIN: usize = 24;

/// Objects that are reached by grants of a [`Granter`] alone.
///
/// `put` creates only, listings are the granter's, and `delete` is refused ([`Kind::PermissionDenied`]), as is all that
/// the granter refuses; so it keeps the contract of [`Store`] for names that are only ever put. A grant that the store
/// refuses is exchanged for a new one, once in each call. Whether the place that holds all objects is gone, it cannot
/// tell from a missing object, but when it writes.
pub struct GrantStore {
    granter: Arc<dyn Granter>,
    http: Http,
    kept: Mutex<HashMap<(Permission, String), Arc<Grant>>>,
}

impl GrantStore {
    /// A store on grants of `granter`, for any number of runtimes. `certificates`, in PEM, are trusted beside those of
    /// this machine. Nothing is sent yet.
    pub fn open(
        granter: Arc<dyn Granter>,
        certificates: Option<&[u8]>,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let http =
            Http::new(certificates).map_err(|failure| failure.into_error("open", "", granter.location()))?;
        Ok(Arc::new(Networked::new(Self { granter, http, kept: Mutex::default() })))
    }

    /// A grant to read, kept or fresh.
    async fn to_read(&self, permission: Permission, name: &str) -> Result<Arc<Grant>, Failure> {
        let key = (permission, name.to_owned());
        let soon = SystemTime::now() + KEPT_REST;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(grant) = kept.filter(|grant| grant.expires > soon) {
            return Ok(grant);
        }
        let grant = Arc::new(self.fresh(permission, name).await?.ok_or_else(strange)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, grant| grant.expires > soon);
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, grant.clone());
        Ok(grant)
    }

    fn forget(&self, grant: &Grant) {
        let key = (grant.permission, grant.name.clone());
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// A new grant; nothing when the object is there already.
    async fn fresh(&self, permission: Permission, name: &str) -> Result<Option<Grant>, Failure> {
        match self.granter.grant(permission, name).await? {
            Granted::Grant(grant) if grant.permission == permission && grant.name == name => Ok(Some(grant)),
            Granted::AlreadyThere if permission == Permission::Put => Ok(None),
            _ => Err(strange()),
        }
    }

    async fn write(&self, permission: Permission, name: &str, parts: Vec<Bytes>) -> Result<(), Failure> {
        let digest = md5_of(&parts).await?;
        let mut refusal = None;
        for _ in 0..2 {
            let Some(grant) = self.fresh(permission, name).await? else { return Ok(()) };
            let mut request = request(&grant)?;
            request = match grant.checksum {
                Some(Checksum::Etag) => request.header(ETAG, &hex(&digest))?,
                Some(Checksum::ContentMd5) => request.header(CONTENT_MD5, &BASE64_STANDARD.encode(digest))?,
                None => request,
            };
            request.body = Some(parts.clone());
            let response = self.http.send(request, Arc::default()).await?;
            let failure = match response.status() {
                status if status.is_success() => {
                    let told = checksum(&response).filter(|_| grant.checksum == Some(Checksum::Etag));
                    response.finish().await;
                    // Without the right to take it away it stays, so trying again would be of no use.
                    return match told {
                        Some(told) if told != hex(&digest) => Err(Failure::new(
                            Kind::Other,
                            "the server says that it stored other bytes than were sent",
                        )),
                        _ => Ok(()),
                    };
                }
                StatusCode::PRECONDITION_FAILED if permission == Permission::Put => {
                    response.finish().await;
                    return Ok(());
                }
                _ => failure(response, &grant).await,
            };
            match failure.kind {
                Kind::PermissionDenied => refusal = Some(failure),
                // What a write does not find is the store.
                Kind::NotFound => return Err(Failure { kind: Kind::Gone, ..failure }),
                _ => return Err(failure),
            }
        }
        Err(refusal.unwrap_or_else(strange))
    }

    fn at<'a>(&'a self, name: &'a str) -> Named<'a> {
        Named { store: self, name }
    }

    async fn run<T>(
        &self,
        operation: Operation,
        object: &str,
        work: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, StoreError> {
        let checked =
            if operation == Operation::List { name::check_folder(object) } else { name::check(object) };
        checked.map_err(|reason| {
            StoreError::new(Kind::InvalidName, operation.verb(), object, self.location()).because(reason)
        })?;
        work.await.map_err(|failure| failure.into_error(operation.verb(), object, self.location()))
    }
}

/// An object by its name.
struct Named<'a> {
    store: &'a GrantStore,
    name: &'a str,
}

impl Object for Named<'_> {
    fn name(&self) -> &str {
        self.name
    }

    async fn ask(&self, method: Method, headers: HeaderMap) -> Result<Response, Failure> {
        let permission = if method == Method::HEAD { Permission::Head } else { Permission::Get };
        let mut refusal = None;
        for _ in 0..2 {
            let grant = self.store.to_read(permission, self.name).await?;
            let mut request = request(&grant)?;
            request.headers.extend(headers.clone());
            let response = self.store.http.send(request, Arc::default()).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let failure = failure(response, &grant).await;
            if failure.kind != Kind::PermissionDenied {
                return Err(failure);
            }
            self.store.forget(&grant);
            refusal = Some(failure);
        }
        Err(refusal.unwrap_or_else(strange))
    }
}

/// What a grant allows to send, without a body.
fn request(grant: &Grant) -> Result<Request, Failure> {
    let unusable = |reason: &str| Failure::new(Kind::Other, format!("a grant that cannot be used: {reason}"));
    let url = Url::parse(&grant.url).map_err(|_| unusable("its URL is none"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(unusable("its URL is not one of HTTP"));
    }
    let method = match grant.permission {
        Permission::Put | Permission::Replace => Method::PUT,
        Permission::Get => Method::GET,
        Permission::Head => Method::HEAD,
    };
    let mut request = Request::new(method, url);
    for (name, value) in &grant.headers {
        let name = header_name(name)?;
        // These are the connection's own: with them a request could be made to look like two.
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
            return Err(unusable("it demands a header that is not its to set"));
        }
        request = request.header(name, value)?;
    }
    Ok(request)
}

fn header_name(text: &str) -> Result<HeaderName, Failure> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Failure::new(Kind::Other, "a grant that cannot be used: it names no header"))
}

/// The failure that an answer is, without the signature of the grant.
async fn failure(response: Response, grant: &Grant) -> Failure {
    let query = grant.url.split_once('?').map_or("", |(_, query)| query);
    let values = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
    let headers = grant.headers.iter().map(|(_, value)| value.as_str());
    let secrets: Vec<_> = values
        .chain(headers)
        .filter(|value| value.len() >= SIGNATURE_LENGTH_MIN)
        .map(|value| Secret::new(value.to_owned()))
        .collect();
    response.into_failure(&secrets.iter().collect::<Vec<_>>()).await
}

fn strange() -> Failure {
    Failure::new(Kind::Other, "the granter gave something else than the grant that it was asked for")
}

/// Only where it is.
impl fmt::Debug for GrantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GrantStore").field(&self.location()).finish()
    }
}

#[async_trait]
impl Store for GrantStore {
    fn location(&self) -> String {
        self.granter.location()
    }

    fn is_remote(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Put, name, self.write(Permission::Put, name, parts)).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Replace, name, self.write(Permission::Replace, name, parts)).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.run(Operation::Get, name, object::read_whole(&self.at(name), size_max)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(Operation::GetRange, name, object::read_range(&self.at(name), range)).await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.run(Operation::GetTail, name, object::read_tail(&self.at(name), length_max)).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.run(Operation::Stat, name, object::look_up(&self.at(name))).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let listed = async {
            let mut objects = self.granter.list(prefix).await?;
            objects.retain(|object| object.name.starts_with(prefix) && name::check(&object.name).is_ok());
            objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            objects.dedup_by(|a, b| a.name == b.name);
            Ok(objects)
        };
        self.run(Operation::List, prefix, listed).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let refused = async { Err(Failure::new(Kind::PermissionDenied, "no grant deletes anything")) };
        self.run(Operation::Delete, name, refused).await
    }
}
