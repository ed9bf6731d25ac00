//! The noted tree, read beside the walk.

use std::cmp::Ordering;

use content::tree::Entry;

use super::Notes;
use super::reader::Record;

/// Where the merge stands in the notes. Both are in path order, so one pass is enough, and no more is held than a page.
pub(in crate::run) struct NotedTree {
    /// `None` when they have ended, or are damaged from here on.
    notes: Option<Box<Notes>>,
    page: std::vec::IntoIter<Entry>,
    next: Option<Step>,
    /// How many directories the notes are in.
    depth: usize,
    /// For each directory that the walk is in, whether the notes went into it too.
    levels: Vec<bool>,
}

enum Step {
    Entry(Entry),
    Leave,
}

impl NotedTree {
    pub(in crate::run) fn new(notes: Option<Notes>) -> Self {
        Self {
            notes: notes.map(Box::new),
            page: Vec::new().into_iter(),
            next: None,
            depth: 0,
            levels: Vec::new(),
        }
    }

    /// What stood under `name` in the directory the walk is in (for the root: the root).
    pub(in crate::run) fn find(&mut self, name: &[u8]) -> Option<Entry> {
        if self.levels.last() == Some(&false) {
            return None;
        }
        let here = self.levels.len();
        loop {
            self.look_ahead()?;
            // What is deeper is in a directory that is not there any more.
            if self.depth == here {
                match self.next.as_ref()? {
                    Step::Leave => return None,
                    Step::Entry(entry) => match entry.name.as_slice().cmp(name) {
                        Ordering::Less => {}
                        Ordering::Equal => return self.go_on(),
                        Ordering::Greater => return None,
                    },
                }
            }
            self.go_on();
        }
    }

    /// Goes into a directory, beside the one that was just found if there was one.
    pub(in crate::run) fn enter(&mut self, before: Option<&Entry>) {
        self.levels.push(before.is_some_and(Entry::is_directory));
    }

    /// Leaves it. What the notes have left of it is passed over when the next name is looked for.
    pub(in crate::run) fn leave(&mut self) {
        self.levels.pop();
    }

    fn look_ahead(&mut self) -> Option<()> {
        while self.next.is_none() {
            if let Some(entry) = self.page.next() {
                self.next = Some(Step::Entry(entry));
                break;
            }
            match self.notes.as_mut()?.record() {
                Ok(Some(Record::Page(entries))) => self.page = entries.into_iter(),
                Ok(Some(Record::Leave)) => self.next = Some(Step::Leave),
                Ok(None) | Err(_) => {
                    self.notes = None;
                    return None;
                }
            }
        }
        Some(())
    }

    /// Passes the next step, and gives its entry if it has one.
    fn go_on(&mut self) -> Option<Entry> {
        match self.next.take()? {
            Step::Entry(entry) => {
                self.depth += usize::from(entry.is_directory());
                Some(entry)
            }
            Step::Leave => {
                self.depth = self.depth.saturating_sub(1);
                None
            }
        }
    }
}
