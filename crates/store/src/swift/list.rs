//! Listings, page by page.

use reqwest::Method;
use serde::Deserialize;
use std::sync::Arc;

use super::{SwiftStore, gone};
use crate::web::Failure;
use crate::web::Request;
use crate::web::time;
use crate::{Kind, ObjectInfo, name};

/// The largest page that is read, in bytes: ten thousand names of the greatest length, escaped.
const PAGE_BYTES_MAX: u64 = 128 << 20;

/// An entry of a page. One without a name is no object.
#[derive(Deserialize)]
struct Entry {
    name: Option<String>,
    bytes: Option<u64>,
    last_modified: Option<String>,
}

impl SwiftStore {
    pub(super) async fn list_folder(&self, folder: &str) -> Result<Vec<ObjectInfo>, Failure> {
        let mut objects = Vec::new();
        let mut marker = String::new();
        // A page may be short without being the last, so only an empty one ends it.
        loop {
            let entries = self.page(folder, &marker).await?;
            let Some(last) = entries.iter().filter_map(|entry| entry.name.as_ref()).max() else { break };
            if *last <= marker {
                return Err(Failure::strange("a page of a listing does not go on from the one before"));
            }
            marker.clone_from(last);
            for entry in entries {
                objects.extend(self.info(folder, entry)?);
            }
        }
        objects.sort_unstable_by(|a: &ObjectInfo, b| a.name.cmp(&b.name));
        objects.dedup_by(|a, b| a.name == b.name);
        Ok(objects)
    }

    async fn page(&self, folder: &str, marker: &str) -> Result<Vec<Entry>, Failure> {
        let prefix = self.address.full_name(folder);
        let request = |storage: &str| {
            let mut url = self.address.container_url(storage)?;
            url.query_pairs_mut().append_pair("format", "json");
            if !prefix.is_empty() {
                url.query_pairs_mut().append_pair("prefix", &prefix);
            }
            if !marker.is_empty() {
                url.query_pairs_mut().append_pair("marker", marker);
            }
            if let Some(limit) = self.page_objects_max {
                url.query_pairs_mut().append_pair("limit", &limit.to_string());
            }
            Ok(Request::new(Method::GET, url))
        };
        let mut response = self.session.send(&Arc::default(), request).await?;
        if !response.status().is_success() {
            let failure = self.session.failure(response).await;
            return Err(if failure.kind == Kind::NotFound { gone() } else { failure });
        }
        let (body, goes_on) = response.read(0, PAGE_BYTES_MAX).await?;
        if goes_on {
            return Err(Failure::strange("a page of a listing is too large"));
        }
        // Some servers say "no content" instead of an empty list.
        if body.is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_slice(&body).map_err(|_| Failure::strange("a listing is no list in JSON"))
    }

    /// What the entry tells; nothing when it cannot be an object of ours, as in a folder of a disk.
    fn info(&self, folder: &str, entry: Entry) -> Result<Option<ObjectInfo>, Failure> {
        let Entry { name: Some(full_name), bytes, last_modified } = entry else { return Ok(None) };
        let Some(own) = self.address.own_name(&full_name).filter(|own| own.starts_with(folder)) else {
            return Ok(None);
        };
        if name::check(own).is_err() {
            return Ok(None);
        }
        let modified = last_modified.as_deref().and_then(time::from_listing);
        match bytes.zip(modified) {
            Some((size, modified)) => Ok(Some(ObjectInfo { name: own.to_owned(), size, modified })),
            None => Err(Failure::strange("an object of a listing has no size or no time")),
        }
    }
}
