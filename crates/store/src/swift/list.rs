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

/// As many names as every server gives at once; more may be refused. Swift's own limit is 10,000.
const SPAN: u32 = 1000;

/// An entry of a page. One without a name is no object.
#[derive(Deserialize)]
struct Entry {
    name: Option<String>,
    bytes: Option<u64>,
    last_modified: Option<String>,
}

/// What one page is to show.
#[derive(Default)]
struct Part<'a> {
    /// How names begin.
    prefix: String,
    /// The name after which it begins.
    marker: &'a str,
    /// The name before which it ends.
    end: String,
    /// How many names it has at most, when that is not left to the server.
    limit: Option<u32>,
}

impl SwiftStore {
    pub(super) async fn list_folder(&self, folder: &str) -> Result<Vec<ObjectInfo>, Failure> {
        let mut objects = Vec::new();
        let mut marker = String::new();
        // A page may be short without being the last, so only an empty one ends it.
        loop {
            let part = Part { prefix: self.address.full_name(folder), marker: &marker, ..Part::default() };
            let entries = self.page(&part).await?;
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

    /// The lists of neighbouring folders by one request, or one for each where there is much in them. A page that is
    /// shorter than it might be ends a listing here.
    pub(super) async fn list_folders(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, Failure> {
        let mut names: Vec<_> = folders.iter().map(|folder| self.address.full_name(folder)).collect();
        names.sort();
        if let (Some(first), Some(last)) =
            (names.first(), names.last().and_then(|last| last.strip_suffix('/')))
        {
            // What comes after a slash.
            let part = Part { marker: first, end: format!("{last}0"), limit: Some(SPAN), ..Part::default() };
            // A server that gives less at once refuses the question, and is asked in its own way.
            if let Ok(entries) = self.page(&part).await
                && entries.len() < SPAN as usize
            {
                let mut lists = vec![Vec::new(); folders.len()];
                for entry in entries {
                    let Some(info) = self.info("", entry)? else { continue };
                    let place = folders.iter().position(|folder| info.name.starts_with(folder));
                    if let Some(list) = place.and_then(|place| lists.get_mut(place)) {
                        list.push(info);
                    }
                }
                for list in &mut lists {
                    list.sort_unstable_by(|a: &ObjectInfo, b| a.name.cmp(&b.name));
                    list.dedup_by(|a, b| a.name == b.name);
                }
                return Ok(lists);
            }
        }
        let mut lists = Vec::with_capacity(folders.len());
        for folder in folders {
            lists.push(self.list_folder(folder).await?);
        }
        Ok(lists)
    }

    async fn page(&self, part: &Part<'_>) -> Result<Vec<Entry>, Failure> {
        let limit = part.limit.or(self.page_objects_max).map(|limit| limit.to_string());
        let parameters = [
            ("prefix", part.prefix.as_str()),
            ("marker", part.marker),
            ("end_marker", part.end.as_str()),
            ("limit", limit.as_deref().unwrap_or_default()),
        ];
        let request = |storage: &str| {
            let mut url = self.address.container_url(storage)?;
            url.query_pairs_mut().append_pair("format", "json");
            for (name, value) in parameters.into_iter().filter(|(_, value)| !value.is_empty()) {
                url.query_pairs_mut().append_pair(name, value);
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
