//! Amounts as people type them.

/// Bytes with an optional unit: K, M, G, T (binary, with or without iB).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("{unit:?} is not a unit; use K, M, G or T")),
    };
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a size such as 500M"))?;
    let bytes = value * factor as f64;
    if bytes >= 1.0 && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err("the size is out of range".into())
    }
}

/// How many threads: at least one.
pub fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("it must be a number from 1 to 1024".into()),
    }
}

/// A share: more than 0 and at most 100, with or without a percent sign.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a percentage"))?;
    if value > 0.0 && value <= 100.0 {
        Ok(value)
    } else {
        Err("it must be more than 0 and at most 100".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("500"), Ok(500));
        assert_eq!(parse_size("1.5K"), Ok(1536));
        assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
        for wrong in ["lots", "5 parsecs", "0", "", "-1", "1e3", "99999999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn shares_and_threads_have_limits() {
        assert_eq!(parse_percent("2.5%"), Ok(2.5));
        assert_eq!(parse_percent("100"), Ok(100.0));
        for wrong in ["0", "101", "NaN", "", "%"] {
            assert!(parse_percent(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse_threads("8"), Ok(8));
        assert!(parse_threads("0").is_err() && parse_threads("many").is_err());
    }
}
