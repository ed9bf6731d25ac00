//! The whole program on a real Swift and a real S3 behind a proxy that misbehaves. Each fault ends in success, or in one
//! clear error; then the same command goes on from what had arrived, and nothing that was committed is harmed.
//!
//! | fault | ends in |
//! |---|---|
//! | 5xx for a while, from the first request on; or never ending | success; an error |
//! | 429 with Retry-After, short; or longer than anybody waits | success, not asked before; an error at once |
//! | the answer to each upload lost; or no answer at all | success, nothing stored twice |
//! | each upload cut in half once; or every time | success; an error |
//! | each upload damaged on its way; ETags of other bytes | success |
//! | ETags that are never right | an error |
//! | tokens that end during the run; that are refused in the middle of an upload | success |
//! | a name that is not found for a while; or any more | success; an error |
//! | nobody listens for a while; a slow, late line | success |
//! | answers cut, damaged, late or refused while a restore reads | success |
//! | answers that are damaged every time | an error, no wrong file |
//! | the container deleted | an error, and it is not made anew |
//! | the quota full | an error |
//! | this machine's clock off by a day (Swift), by two hours (S3) | success; an error that says by how much |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "store_faults/clocks.rs"]
mod clocks;
#[path = "store_faults/names.rs"]
mod names;
#[path = "store_faults/reading.rs"]
mod reading;
#[path = "store_faults/s3.rs"]
mod s3;
#[path = "store_faults/servers.rs"]
mod servers;
#[path = "store_faults/standing.rs"]
mod standing;
#[path = "store_faults/tokens.rs"]
mod tokens;
#[path = "store_faults/uploads.rs"]
mod uploads;
