//! Headers of a tar archive: POSIX.1-2001 (`pax`), with records only for what the plain header cannot say.
//!
//! A plain header has 100 bytes for a path, octal numbers of fixed width, and whole seconds. Longer paths, larger
//! numbers, fractions of a second and extended attributes go into a record header before it. Values are UTF-8 by the
//! standard; when one is not, a record `hdrcharset=BINARY` says so first.

/// Everything in an archive is padded to this.
pub(super) const BLOCK: usize = 512;

/// What a header says.
#[derive(Debug, Default)]
pub(super) struct Header<'a> {
    pub path: &'a [u8],
    /// `0` file, `1` another name of an earlier file, `2` symlink, `3` character device, `4` block device,
    /// `5` directory, `6` fifo.
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub user: u32,
    pub group: u32,
    pub user_name: &'a [u8],
    pub group_name: &'a [u8],
    pub size: u64,
    pub seconds: i64,
    pub nanoseconds: u32,
    pub device: (u32, u32),
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl Header<'_> {
    /// The bytes: one block, or more when records are needed.
    pub(super) fn encode(&self) -> Vec<u8> {
        let records = self.records();
        let mut out = Vec::with_capacity(4 * BLOCK + records.len());
        if !records.is_empty() {
            let about = Header {
                path: b"records",
                kind: b'x',
                mode: 0o644,
                size: records.len() as u64,
                ..Header::default()
            };
            about.block(&mut out);
            out.extend_from_slice(&records);
            pad(&mut out);
        }
        self.block(&mut out);
        out
    }

    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut add = |name: &[u8], value: &[u8]| records.push((name.to_vec(), value.to_vec()));
        if !fits_text(self.path, 100) {
            add(b"path", self.path);
        }
        if !fits_text(self.link, 100) {
            add(b"linkpath", self.link);
        }
        if !fits_text(self.user_name, 31) {
            add(b"uname", self.user_name);
        }
        if !fits_text(self.group_name, 31) {
            add(b"gname", self.group_name);
        }
        for (name, number) in [(b"uid", self.user), (b"gid", self.group)] {
            if !fits_octal(u64::from(number), 7) {
                add(name, number.to_string().as_bytes());
            }
        }
        if !fits_octal(self.size, 11) {
            add(b"size", self.size.to_string().as_bytes());
        }
        if self.nanoseconds > 0
            || u64::try_from(self.seconds).is_ok_and(|seconds| !fits_octal(seconds, 11))
            || self.seconds < 0
        {
            add(b"mtime", decimal(self.seconds, self.nanoseconds).as_bytes());
        }
        for (name, value) in self.xattrs {
            add(&xattr_keyword(name), value);
        }
        let is_text = |(name, value): &(Vec<u8>, Vec<u8>)| {
            name.starts_with(b"SCHILY.") || (std::str::from_utf8(value).is_ok())
        };
        let mut out = Vec::new();
        if !records.iter().all(is_text) {
            record(&mut out, b"hdrcharset", b"BINARY");
        }
        records.iter().for_each(|(name, value)| record(&mut out, name, value));
        out
    }

    fn block(&self, out: &mut Vec<u8>) {
        let mut block = [0u8; BLOCK];
        let mut at = 0;
        let mut field = |bytes: &[u8], width: usize| {
            let room = block.iter_mut().skip(at).take(width);
            room.zip(bytes).for_each(|(to, from)| *to = *from);
            at += width;
        };
        field(self.path, 100);
        field(&octal(u64::from(self.mode & 0o7777), 7), 8);
        field(&octal(u64::from(self.user), 7), 8);
        field(&octal(u64::from(self.group), 7), 8);
        field(&octal(self.size, 11), 12);
        field(&octal(u64::try_from(self.seconds).unwrap_or(0), 11), 12);
        field(b"        ", 8);
        field(&[self.kind], 1);
        field(self.link, 100);
        field(b"ustar\x0000", 8);
        field(self.user_name.get(..31).unwrap_or(self.user_name), 32);
        field(self.group_name.get(..31).unwrap_or(self.group_name), 32);
        field(&octal(u64::from(self.device.0), 7), 8);
        field(&octal(u64::from(self.device.1), 7), 8);
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let mut checksum = octal(sum, 6);
        checksum.extend_from_slice(b"\0 ");
        block.iter_mut().skip(148).zip(checksum).for_each(|(to, from)| *to = from);
        out.extend_from_slice(&block);
    }
}

/// Zeros up to the next block.
pub(super) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// Plain headers hold what every reader takes the same way: short ASCII.
fn fits_text(text: &[u8], width: usize) -> bool {
    text.len() <= width && text.is_ascii()
}

fn fits_octal(number: u64, digits: u32) -> bool {
    number < 1 << (3 * digits)
}

/// The number in octal with leading zeros; one that does not fit is said by a record, and here as 0.
fn octal(number: u64, digits: u32) -> Vec<u8> {
    let number = if fits_octal(number, digits) { number } else { 0 };
    format!("{number:0width$o}", width = digits as usize).into_bytes()
}

/// Seconds with a fraction; nanoseconds count forward, so before 1970 the fraction turns round.
fn decimal(seconds: i64, nanoseconds: u32) -> String {
    let (sign, whole, fraction) = match (seconds < 0, nanoseconds) {
        (false, nanoseconds) => ("", seconds.unsigned_abs(), nanoseconds),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, nanoseconds) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
    };
    if fraction == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction:09}") }
}

/// `=` ends a keyword, so it is escaped as GNU tar does it.
fn xattr_keyword(name: &[u8]) -> Vec<u8> {
    let mut out = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => out.extend_from_slice(b"%3D"),
            b'%' => out.extend_from_slice(b"%25"),
            byte => out.push(*byte),
        }
    }
    out
}

/// `LENGTH NAME=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(name);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..1200 {
            let mut out = Vec::new();
            record(&mut out, b"path", &vec![b'x'; length]);
            let said: usize = std::str::from_utf8(&out).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, out.len());
        }
    }

    #[test]
    fn times_before_1970_count_backwards() {
        assert_eq!(decimal(5, 0), "5");
        assert_eq!(decimal(5, 7), "5.000000007");
        assert_eq!(decimal(-5, 0), "-5");
        assert_eq!(decimal(-1, 750_000_000), "-0.250000000");
        assert_eq!(decimal(i64::MIN, 999_999_999), "-9223372036854775807.000000001");
    }

    #[test]
    fn plain_things_need_no_records() {
        let header =
            Header { path: b"etc/hosts", kind: b'0', mode: 0o644, seconds: 100, ..Header::default() };
        let bytes = header.encode();
        assert_eq!(bytes.len(), BLOCK);
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        let sum: u32 = bytes
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        assert_eq!(std::str::from_utf8(&bytes[148..154]).unwrap(), format!("{sum:06o}"));
    }

    #[test]
    fn names_that_are_not_text_are_announced() {
        let header = Header { path: b"a\xff", kind: b'0', ..Header::default() };
        let records = header.records();
        assert_eq!(records, b"21 hdrcharset=BINARY\n11 path=a\xff\n");
        let xattrs = vec![(b"user.a=b".to_vec(), vec![0, 0xff])];
        let header = Header { path: b"a", kind: b'0', xattrs: &xattrs, ..Header::default() };
        assert_eq!(header.records(), b"30 SCHILY.xattr.user.a%3Db=\x00\xff\n");
    }
}
