//! What a container offers besides objects.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, Url};

use super::SwiftStore;
use crate::Kind;
use crate::grant::{Mint, Permission};
use crate::survey::{Survey, Surveyed};
use crate::web::Request;

/// Long enough to try a grant.
const TRIAL: Duration = Duration::from_secs(60);

#[async_trait]
impl Surveyed for SwiftStore {
    async fn survey(&self, object: &str) -> Survey {
        Survey {
            creates_only: Some(true),
            keeps_versions: self.keeps_versions().await,
            // Swift has no such thing.
            locks: Some(false),
            lock_days: None,
            gives_grants: self.gives_grants(object).await,
        }
    }
}

impl SwiftStore {
    /// In one of the two ways that Swift has: a container's own versions, or another container for them.
    async fn keeps_versions(&self) -> Option<bool> {
        let request = |storage: &str| Ok(Request::new(Method::HEAD, self.address.container_url(storage)?));
        let response = self.session.send(&Arc::default(), request).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let keeps = keeps_versions(|name| response.header(name));
        response.finish().await;
        Some(keeps)
    }

    async fn gives_grants(&self, object: &str) -> Option<bool> {
        let grant = match self.grant(Permission::Head, object, TRIAL).await {
            Ok(grant) => grant,
            Err(error) if error.kind == Kind::PermissionDenied => return Some(false),
            Err(_) => return None,
        };
        let request = Request::new(Method::HEAD, Url::parse(&grant.url).ok()?);
        let response = self.session.send_without_token(request).await.ok()?;
        let status = response.status();
        response.finish().await;
        if status.is_success() { Some(true) } else { status.is_client_error().then_some(false) }
    }
}

fn keeps_versions<'a>(header: impl Fn(&str) -> Option<&'a str>) -> bool {
    header("x-versions-enabled").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || ["x-versions-location", "x-history-location"]
            .iter()
            .any(|name| header(name).is_some_and(|place| !place.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_keep_versions_has_its_header() {
        let told = |name: &'static str, value: &'static str| {
            keeps_versions(|asked| (asked == name).then_some(value))
        };
        assert!(told("x-versions-enabled", "True") && !told("x-versions-enabled", "False"));
        assert!(told("x-versions-location", "old") && told("x-history-location", "old"));
        assert!(!told("x-versions-location", "") && !told("x-other", "True"));
    }
}
