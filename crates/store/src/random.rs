//! Random numbers: from the operating system for names, and a small seeded generator where a run has to be
//! repeatable (faults) or where quality does not matter (jitter). Nothing here guards a secret.

/// The SplitMix64 mixing step: turns a counter or any number into one that looks random.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number in `0.0..1.0` from the upper 53 bits of `value`.
pub(crate) fn unit(value: u64) -> f64 {
    const STEPS: f64 = (1_u64 << 53) as f64;
    (value >> 11) as f64 / STEPS
}

/// Folds bytes into a running number.
pub(crate) fn absorb(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(mix(state ^ bytes.len() as u64), |state, byte| mix(state ^ u64::from(*byte)))
}

/// 32 hex digits that nobody else chooses.
pub(crate) fn unique_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_range_and_names_differ() {
        for counter in 0..10_000 {
            let number = unit(mix(counter));
            assert!((0.0..1.0).contains(&number));
        }
        assert_ne!(unique_name(), unique_name());
        assert_ne!(absorb(1, b"ab"), absorb(1, b"ba"));
    }
}
