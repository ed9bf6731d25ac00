//! What the JSON lines are made of: moments, paths, and objects put together.

use std::time::SystemTime;

use base64::Engine;
use content::tree::Time;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A moment: UTC, RFC 3339, with its nanoseconds; null when no calendar has it.
pub fn json_time(time: Time) -> Value {
    let nanoseconds = i32::try_from(time.nanoseconds).ok();
    let moment = nanoseconds.and_then(|nanoseconds| {
        // From whole seconds and nanoseconds counted forward, before 1970 too.
        Timestamp::from_second(time.seconds).ok()?.checked_add(jiff::SignedDuration::new(0, nanoseconds)).ok()
    });
    moment.map_or(Value::Null, |moment| format!("{moment:.9}").into())
}

/// The same of a moment of the system's, in whole seconds.
pub fn json_moment(moment: SystemTime) -> Value {
    json_time(Time { seconds: vault::clock::seconds(moment), nanoseconds: 0 })
}

/// A path: text, and the bytes as base64 when they are not text.
pub fn json_path(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "path": text }),
        Err(_) => json!({
            "path": String::from_utf8_lossy(bytes),
            "path_base64": base64::engine::general_purpose::STANDARD.encode(bytes),
        }),
    }
}

/// Puts the fields of one object into another.
pub fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_nanoseconds() {
        let text = |seconds, nanoseconds| json_time(Time { seconds, nanoseconds });
        assert_eq!(text(0, 5), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(text(-2, 999_999_999), "1969-12-31T23:59:58.999999999Z");
        assert_eq!(text(i64::MAX, 0), Value::Null);
    }

    #[test]
    fn the_bytes_of_a_path_are_never_lost() {
        assert_eq!(json_path(b"/a"), json!({ "path": "/a" }));
        assert_eq!(json_path(b"/\xff"), json!({ "path": "/\u{fffd}", "path_base64": "L/8=" }));
    }
}
