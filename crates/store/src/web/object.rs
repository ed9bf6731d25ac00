//! Reading whole objects and parts of them.

use std::ops::Range;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};

use super::failure::Failure;
use super::response::Response;
use super::time;
use super::upload::{hex, md5_of};
use crate::{Kind, ObjectInfo};

/// The largest number that every server can read in a range; more than any object has.
const FAR: u64 = i64::MAX.unsigned_abs();

/// An object that a server has, and the right to ask for it.
pub(crate) trait Object: Sync {
    /// Its name in the store.
    fn name(&self) -> &str;

    /// Sends a request without a body. Only good answers are returned.
    fn ask(
        &self,
        method: Method,
        headers: HeaderMap,
    ) -> impl Future<Output = Result<Response, Failure>> + Send;
}

/// As [`Store::get`](crate::Store::get). Bytes that are not those whose checksum the server tells are read once more.
pub(crate) async fn read_whole(object: &impl Object, size_max: u64) -> Result<Bytes, Failure> {
    let (bytes, is_right) = read_and_compare(object, size_max).await?;
    if is_right {
        return Ok(bytes);
    }
    // Damaged on their way, perhaps. If the server has them so, the caller has to see it.
    Ok(read_and_compare(object, size_max).await?.0)
}

/// A whole object, and whether it has the checksum that the server tells; true when that tells none.
async fn read_and_compare(object: &impl Object, size_max: u64) -> Result<(Bytes, bool), Failure> {
    let too_large = || Failure::new(Kind::TooLarge, "the caller allows less");
    let mut response = object.ask(Method::GET, HeaderMap::new()).await?;
    if response.length().is_some_and(|length| length > size_max) {
        return Err(too_large());
    }
    let told = checksum(&response);
    match response.read(0, size_max).await? {
        (bytes, false) => {
            let is_right = match told {
                Some(told) => hex(&md5_of(std::slice::from_ref(&bytes)).await?) == told,
                None => true,
            };
            Ok((bytes, is_right))
        }
        (_, true) => Err(too_large()),
    }
}

/// As [`Store::get_range`](crate::Store::get_range).
pub(crate) async fn read_range(object: &impl Object, range: Range<u64>) -> Result<Bytes, Failure> {
    let truncated = || Failure::new(Kind::Truncated, "the object ends before the range does");
    let Some(length) = range.end.checked_sub(range.start) else {
        return Err(Failure::new(Kind::Other, "the range ends before it starts"));
    };
    let Some(last) = range.end.checked_sub(1).filter(|_| length > 0 && range.start <= FAR) else {
        // HTTP has no words for an empty range, and servers none for one that no object has.
        let size = look_up(object).await?.size;
        return if range.end <= size { Ok(Bytes::new()) } else { Err(truncated()) };
    };
    let mut response = object.ask(Method::GET, part(&format!("{}-{}", range.start, last.min(FAR)))).await?;
    let skip = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let (start, size) = content_range(&response)?;
            if size < range.end {
                return Err(truncated());
            }
            if start != range.start {
                return Err(Failure::strange("another range than the one that was asked for"));
            }
            0
        }
        // The server knows no ranges and sends everything.
        _ => range.start,
    };
    let (bytes, _) = response.read(skip, length).await?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(truncated()) }
}

/// As [`Store::get_tail`](crate::Store::get_tail).
pub(crate) async fn read_tail(object: &impl Object, length_max: u64) -> Result<(Bytes, u64), Failure> {
    if length_max == 0 {
        return Ok((Bytes::new(), look_up(object).await?.size));
    }
    let asked = length_max.min(FAR);
    let mut response = match object.ask(Method::GET, part(&format!("-{asked}"))).await {
        // An empty object has no last byte.
        Err(failure) if failure.kind == Kind::Truncated => {
            return match look_up(object).await?.size {
                0 => Ok((Bytes::new(), 0)),
                _ => Err(Failure::strange("the end of an object was refused")),
            };
        }
        response => response?,
    };
    let (skip, size) = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let (start, size) = content_range(&response)?;
            if start != size.saturating_sub(asked) {
                return Err(Failure::strange("another range than the one that was asked for"));
            }
            (0, size)
        }
        _ => {
            let size = response.length().ok_or_else(|| Failure::strange("the object has no size"))?;
            (size.saturating_sub(asked), size)
        }
    };
    let expected = size.min(asked);
    let (bytes, _) = response.read(skip, expected).await?;
    if bytes.len() as u64 != expected {
        return Err(Failure::new(Kind::Truncated, "the object became shorter while it was read"));
    }
    Ok((bytes, size))
}

/// As [`Store::stat`](crate::Store::stat).
pub(crate) async fn look_up(object: &impl Object) -> Result<ObjectInfo, Failure> {
    let response = object.ask(Method::HEAD, HeaderMap::new()).await?;
    let size = response.length().ok_or_else(|| Failure::strange("the object has no size"))?;
    // The first is more exact, and the one that listings show.
    let modified = response.header("x-timestamp").and_then(time::from_seconds);
    let modified = modified.or_else(|| response.header("last-modified").and_then(time::from_http));
    let modified = modified.ok_or_else(|| Failure::strange("the object has no time"))?;
    Ok(ObjectInfo { name: object.name().to_owned(), size, modified })
}

/// The MD5 of an object in hex, if the server tells it. That of an object in several parts is none of its bytes, and
/// neither is that of an object which S3 encrypts with a key of its own.
pub(crate) fn checksum(response: &Response) -> Option<String> {
    let is_other = ["x-static-large-object", "x-object-manifest", "x-amz-server-side-encryption"];
    if is_other.iter().any(|name| response.header(name).is_some()) {
        return None;
    }
    let tag = response.header("etag")?.trim_matches('"').to_ascii_lowercase();
    (tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(tag)
}

/// The header for a part, such as `5-9` or `-5`.
fn part(part: &str) -> HeaderMap {
    // Digits and a dash are always a header.
    HeaderValue::from_str(&format!("bytes={part}")).map(|value| (RANGE, value)).into_iter().collect()
}

/// Where the answer begins in the object, and how large the object is.
fn content_range(response: &Response) -> Result<(u64, u64), Failure> {
    let range = response.header("content-range").and_then(parse_content_range);
    range.ok_or_else(|| Failure::strange("a part of an object without its place"))
}

/// `bytes START-LAST/SIZE`.
fn parse_content_range(text: &str) -> Option<(u64, u64)> {
    let (part, size) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (start, last) = part.split_once('-')?;
    let (start, last, size) =
        (start.parse::<u64>().ok()?, last.parse::<u64>().ok()?, size.parse::<u64>().ok()?);
    (start <= last && last < size).then_some((start, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_parts() {
        assert_eq!(parse_content_range("bytes 2-4/10"), Some((2, 10)));
        for text in
            ["", "bytes", "bytes */10", "bytes 4-2/10", "bytes 2-10/10", "bytes 2-4/*", "bytes -1-4/10"]
        {
            assert_eq!(parse_content_range(text), None, "{text}");
        }
    }
}
