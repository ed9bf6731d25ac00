//! Text that compresses like text.
//!
//! A vocabulary of made-up words, shared by all files and used with Zipf's skew; each word has a few words that like
//! to follow it (a Markov chain of order one); and five shapes of file around them. The sizes that come out are held
//! by a test: about 2.5:1 to 3:1 file by file with zstd -3, about 4:1 in runs.

use crate::random::Random;

const WORDS: usize = 6000;
/// How many words may follow one, and how often the next one is taken from them.
const FOLLOWERS: usize = 8;
const FOLLOWS: f64 = 0.8;

/// The words that all text is made of.
pub struct Vocabulary {
    words: Vec<String>,
}

/// What a file looks like.
#[derive(Clone, Copy)]
enum Shape {
    Prose,
    Markup,
    Configuration,
    Records,
    Program,
}

/// Each shape with the ending of its files' names.
const SHAPES: [(&str, Shape); 5] = [
    ("md", Shape::Prose),
    ("html", Shape::Markup),
    ("conf", Shape::Configuration),
    ("json", Shape::Records),
    ("py", Shape::Program),
];

impl Vocabulary {
    pub fn new(seed: u64) -> Self {
        const BEGIN: [&str; 20] = [
            "b", "br", "c", "d", "f", "g", "gr", "h", "l", "m", "n", "p", "pr", "r", "s", "st", "t", "tr",
            "v", "w",
        ];
        const MIDDLE: [&str; 9] = ["a", "e", "i", "o", "u", "ea", "io", "ou", "ai"];
        const END: [&str; 10] = ["", "", "n", "r", "s", "t", "l", "nd", "ng", "ck"];
        let mut random = Random::new(seed, 0x766f_6361);
        let words = (0..WORDS)
            .map(|rank| {
                // Frequent words are short.
                let syllables = 1 + random.below(2) + usize::from(rank > 100) + usize::from(rank > 2000);
                (0..syllables)
                    .map(|_| {
                        let begin = BEGIN[random.below(BEGIN.len())];
                        format!(
                            "{begin}{}{}",
                            MIDDLE[random.below(MIDDLE.len())],
                            END[random.below(END.len())]
                        )
                    })
                    .collect()
            })
            .collect();
        Self { words }
    }

    /// A text of exactly `length` bytes, and the ending that a file of its shape has.
    pub fn text(&self, random: &mut Random, length: usize) -> (&'static str, Vec<u8>) {
        let (ending, shape) = SHAPES[random.below(SHAPES.len())];
        let mut writer =
            Writer { words: &self.words, random, last: 0, out: String::with_capacity(length + 200) };
        while writer.out.len() < length {
            match shape {
                Shape::Prose => writer.prose(),
                Shape::Markup => writer.markup(),
                Shape::Configuration => writer.configuration(),
                Shape::Records => writer.records(),
                Shape::Program => writer.program(),
            }
        }
        let mut bytes = writer.out.into_bytes();
        bytes.truncate(length);
        if let Some(last) = bytes.last_mut() {
            *last = b'\n';
        }
        (ending, bytes)
    }

    /// A word for a name.
    pub fn word(&self, random: &mut Random) -> &str {
        &self.words[random.below(self.words.len())]
    }
}

struct Writer<'a> {
    words: &'a [String],
    random: &'a mut Random,
    last: usize,
    out: String,
}

impl Writer<'_> {
    fn word(&mut self) {
        self.last = if self.random.unit() < FOLLOWS {
            let choice = self.random.skewed(FOLLOWERS);
            let follower = Random::new(self.last as u64, choice as u64).skewed(WORDS);
            follower.min(WORDS - 1)
        } else {
            self.random.skewed(WORDS).min(WORDS - 1)
        };
        self.out.push_str(&self.words[self.last]);
    }

    fn words(&mut self, count: usize, between: &str) {
        for position in 0..count {
            if position > 0 {
                self.out.push_str(between);
            }
            self.word();
        }
    }

    fn sentence(&mut self) {
        let begin = self.out.len();
        let count = 5 + self.random.below(12);
        self.words(count, " ");
        if let Some(first) = self.out.get_mut(begin..=begin) {
            first.make_ascii_uppercase();
        }
        self.out.push_str(". ");
    }

    fn prose(&mut self) {
        if self.random.below(4) == 0 {
            self.out.push_str("\n## ");
            self.words(3, " ");
            self.out.push_str("\n\n");
        }
        for _ in 0..2 + self.random.below(3) {
            self.sentence();
        }
        self.out.push_str("\n\n");
    }

    fn markup(&mut self) {
        self.out.push_str("    <div class=\"");
        self.word();
        self.out.push_str("\">\n      <a href=\"/");
        self.words(2, "/");
        self.out.push_str(".html\">");
        self.words(2, " ");
        self.out.push_str("</a>\n      <p>");
        self.sentence();
        self.out.push_str("</p>\n    </div>\n");
    }

    fn configuration(&mut self) {
        self.out.push_str("\n[");
        self.word();
        self.out.push_str("]\n");
        for _ in 0..3 + self.random.below(4) {
            self.words(2, "_");
            let value = match self.random.below(4) {
                0 => " = true\n".to_owned(),
                1 => " = false\n".to_owned(),
                2 => format!(" = {}\n", self.random.below(5000)),
                _ => " = /usr/share/".to_owned(),
            };
            self.out.push_str(&value);
            if !value.ends_with('\n') {
                self.words(2, "/");
                self.out.push('\n');
            }
        }
    }

    fn records(&mut self) {
        let id = self.random.below(100_000);
        self.out.push_str(&format!("  {{\n    \"id\": {id},\n    \"name\": \""));
        self.words(2, "-");
        self.out.push_str("\",\n    \"enabled\": true,\n    \"description\": \"");
        self.words(6, " ");
        self.out.push_str("\",\n    \"tags\": [\"");
        self.words(2, "\", \"");
        self.out.push_str("\"]\n  },\n");
    }

    fn program(&mut self) {
        self.out.push_str("    def ");
        self.words(2, "_");
        self.out.push_str("(self, ");
        self.word();
        self.out.push_str("):\n        \"\"\"");
        self.sentence();
        self.out.push_str("\"\"\"\n        if self.");
        self.word();
        self.out.push_str(" is None:\n            return self.");
        self.words(2, "_");
        self.out.push_str("()\n        self.");
        self.word();
        self.out.push_str(" = ");
        self.word();
        self.out.push_str("\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::many;

    #[test]
    fn it_compresses_like_text() {
        let vocabulary = Vocabulary::new(1);
        let (mut plain, mut single, mut runs) = (0, 0, 0);
        let mut run = Vec::new();
        for number in 0..4000 {
            let bytes = many::content(&vocabulary, 1, number).1;
            plain += bytes.len();
            single += zstd::bulk::compress(&bytes, 3).unwrap().len();
            run.extend(bytes);
            if run.len() > 512 << 10 {
                runs += zstd::bulk::compress(&run, 3).unwrap().len();
                run.clear();
            }
        }
        runs += zstd::bulk::compress(&run, 3).unwrap().len();
        let (single, runs) = (plain as f64 / single as f64, plain as f64 / runs as f64);
        println!("{single:.2}:1 file by file, {runs:.2}:1 in runs, {} bytes a file", plain / 4000);
        assert!((2.4..3.3).contains(&single), "{single:.2}:1 file by file");
        assert!((3.7..4.6).contains(&runs), "{runs:.2}:1 in runs");
    }
}
