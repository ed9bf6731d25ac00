//! A store in a container of OpenStack Swift.
//!
//! Each object is one object of Swift below a prefix, written by a single PUT (at most 5 GiB) with its MD5, so that
//! what was damaged on its way is refused and sent again. `put` asks Swift to refuse a name that exists; that is
//! checked before the bytes are sent, so of simultaneous ones several may be stored and the last stays, each whole.
//!
//! What Swift itself does not promise, this store cannot: in a cluster whose machines lose sight of each other a
//! listing may lag behind the objects, and a `replace` may be seen late. Names are not compared with folders either:
//! `a` and `a/b` can both be objects.
//!
//! In a container that keeps versions (`X-Versions-Enabled`) `delete` removes all versions of the object.
//!
//! A container that was deleted is [`Kind::Gone`](crate::Kind::Gone); nothing but
//! [`create`](SwiftStore::create) makes one.

mod address;
mod clouds;
mod credentials;
mod grant;
mod keystone;
mod list;
mod login;
mod session;
mod survey;
mod versions;
mod write;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use crate::web::object::{self, Object};
use crate::web::{Failure, IDLE_TIMEOUT, Request, Response};
use crate::{Kind, ObjectInfo, Operation, Store, StoreError, name};
use address::Address;
pub use credentials::SwiftCredentials;
use session::Session;

/// Objects below a prefix in one container.
pub struct SwiftStore {
    address: Address,
    session: Session,
    /// How many names a page of a listing has, when it is not left to the server.
    page_objects_max: Option<u32>,
    /// Whether the container keeps what is replaced or deleted as older versions, as far as it was seen until now.
    keeps_versions: AtomicBool,
}

/// Only the place: never the credentials.
impl fmt::Debug for SwiftStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SwiftStore").field(&self.location()).finish()
    }
}

impl SwiftStore {
    /// Logs in and finds the container; [`Kind::NotFound`] with an empty object when there is none,
    /// [`Kind::PermissionDenied`] when the credentials are refused.
    pub async fn open(
        container: &str,
        prefix: &str,
        credentials: SwiftCredentials,
    ) -> Result<Self, StoreError> {
        Self::open_within(container, prefix, credentials, IDLE_TIMEOUT).await
    }

    /// The same with another limit for how long nothing may move on a connection.
    pub(crate) async fn open_within(
        container: &str,
        prefix: &str,
        credentials: SwiftCredentials,
        limit: Duration,
    ) -> Result<Self, StoreError> {
        let store = Self::known(container, prefix, credentials, limit)?;
        let answer = store.container(Method::HEAD).await;
        answer.map_err(|failure| failure.into_error("open", "", store.location()))?;
        Ok(store)
    }

    /// The same without asking for anything: the login comes with the first request.
    pub(crate) fn known(
        container: &str,
        prefix: &str,
        credentials: SwiftCredentials,
        limit: Duration,
    ) -> Result<Self, StoreError> {
        Ok(Self::new("open", container, prefix, credentials)?.with_idle_timeout(limit))
    }

    /// Logs in and makes the container where there is none. The prefix needs no making.
    pub async fn create(
        container: &str,
        prefix: &str,
        credentials: SwiftCredentials,
    ) -> Result<Self, StoreError> {
        Self::create_within(container, prefix, credentials, IDLE_TIMEOUT).await
    }

    /// The same with another limit for how long nothing may move on a connection.
    pub(crate) async fn create_within(
        container: &str,
        prefix: &str,
        credentials: SwiftCredentials,
        limit: Duration,
    ) -> Result<Self, StoreError> {
        let store = Self::new("create", container, prefix, credentials)?.with_idle_timeout(limit);
        // A user who may not make containers may still use one that is there.
        let answer = match store.container(Method::PUT).await {
            Err(failure) if failure.kind == Kind::PermissionDenied => {
                store.container(Method::HEAD).await.map_err(|_| failure)
            }
            answer => answer,
        };
        answer.map_err(|failure| failure.into_error("create", "", store.location()))?;
        Ok(store)
    }

    /// With pages of at most `objects` names in listings, for tests; a server refuses more than its own limit.
    pub fn with_page_size(mut self, objects: u32) -> Self {
        self.page_objects_max = Some(objects.max(1));
        self
    }

    /// With another limit than 60 seconds for how long nothing may move on a connection.
    pub fn with_idle_timeout(mut self, limit: Duration) -> Self {
        self.session.set_idle_timeout(limit);
        self
    }

    /// The server's clock minus that of this machine, in whole seconds, by the latest answer; nothing before the
    /// first one.
    pub fn clock_skew_seconds(&self) -> Option<i64> {
        self.session.skew_seconds()
    }

    fn new(
        verb: &'static str,
        container: &str,
        prefix: &str,
        credentials: SwiftCredentials,
    ) -> Result<Self, StoreError> {
        let failed = |failure: Failure| failure.into_error(verb, "", "swift://…".to_owned());
        let address = Address::new(container, prefix).map_err(failed)?;
        let session = Session::new(credentials).map_err(failed)?;
        Ok(Self { address, session, page_objects_max: None, keeps_versions: AtomicBool::new(false) })
    }

    /// A request about the container itself.
    async fn container(&self, method: Method) -> Result<(), Failure> {
        let request = |storage: &str| {
            let mut request = Request::new(method.clone(), self.address.container_url(storage)?);
            request.body = (method == Method::PUT).then(Vec::new);
            Ok(request)
        };
        let response = self.session.send(&Arc::default(), request).await?;
        if !response.status().is_success() {
            return Err(self.session.failure(response).await);
        }
        if response.header("x-versions-enabled").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            self.keeps_versions.store(true, Ordering::Relaxed);
        }
        response.finish().await;
        Ok(())
    }

    /// A request without a body about an object. Only good answers are returned.
    async fn object(&self, method: Method, name: &str, headers: HeaderMap) -> Result<Response, Failure> {
        let request = |storage: &str| {
            let request = Request::new(method.clone(), self.address.object_url(storage, name)?);
            Ok(Request { headers: headers.clone(), ..request })
        };
        let response = self.session.send(&Arc::default(), request).await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => {
                response.finish().await;
                Err(self.absent().await)
            }
            _ => Err(self.session.failure(response).await),
        }
    }

    /// One object, to read from.
    fn at<'a>(&'a self, name: &'a str) -> Named<'a> {
        Named { store: self, name }
    }

    /// What a missing object means: that, or a missing container.
    async fn absent(&self) -> Failure {
        match self.container(Method::HEAD).await {
            Ok(()) => Failure::new(Kind::NotFound, "Swift has no such object"),
            Err(failure) if failure.kind == Kind::NotFound => gone(),
            Err(failure) => failure,
        }
    }

    fn check(&self, operation: Operation, object: &str) -> Result<(), StoreError> {
        let checked =
            if operation == Operation::List { name::check_folder(object) } else { name::check(object) };
        checked.map_err(|reason| {
            StoreError::new(Kind::InvalidName, operation.verb(), object, self.location()).because(reason)
        })
    }

    /// Checks the name, waits for `work`, and gives its failure the names that a user knows.
    async fn run<T>(
        &self,
        operation: Operation,
        object: &str,
        work: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, StoreError> {
        self.check(operation, object)?;
        work.await.map_err(|failure| failure.into_error(operation.verb(), object, self.location()))
    }
}

/// An object by its name.
struct Named<'a> {
    store: &'a SwiftStore,
    name: &'a str,
}

impl Object for Named<'_> {
    fn name(&self) -> &str {
        self.name
    }

    async fn ask(&self, method: Method, headers: HeaderMap) -> Result<Response, Failure> {
        self.store.object(method, self.name, headers).await
    }
}

/// The container was there when the store was opened.
fn gone() -> Failure {
    Failure::new(Kind::Gone, "the container is not there any more")
}

#[async_trait]
impl Store for SwiftStore {
    fn location(&self) -> String {
        self.address.location()
    }

    fn is_remote(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Put, name, self.write(name, parts, false)).await.map(drop)
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Replace, name, self.write(name, parts, true)).await.map(drop)
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.run(Operation::Put, name, self.write_dated(name, parts, false)).await
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.run(Operation::Replace, name, self.write_dated(name, parts, true)).await
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
        self.run(Operation::List, prefix, self.list_folder(prefix)).await
    }

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        for folder in folders {
            self.check(Operation::List, folder)?;
        }
        let first = folders.first().copied().unwrap_or_default();
        self.run(Operation::List, first, self.list_folders(folders)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete, name, self.remove_all(name)).await
    }
}
