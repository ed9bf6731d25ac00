//! The program from outside: what it prints, what it leaves behind, and how it exits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod copies;
mod endings;
mod forget;
mod help;
mod json;
mod keys;
mod removed;
mod runs;
mod start;
mod world;
