//! HTTP/1.1 as object stores speak it: requests and answers with limits, what refusals mean, and reading objects. Used
//! where there is no client library between us and the server: by Swift, and by those who have grants only.

mod failure;
mod http;
pub(crate) mod object;
pub(crate) mod refusal;
mod response;
mod secret;
pub(crate) mod time;
mod upload;

pub(crate) use failure::Failure;
pub(crate) use http::{Http, IDLE_TIMEOUT, Request};
pub(crate) use response::Response;
pub(crate) use secret::Secret;
pub(crate) use upload::{hex, md5_of};
