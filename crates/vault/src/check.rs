//! Checking a vault without a key.
