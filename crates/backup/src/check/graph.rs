//! The pages of all trees, and what each refers to.

use std::collections::HashMap;

use content::Address;
use vault::PackId;

/// A page's place, with its pack by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    pack: u32,
    segment: u32,
    offset: u32,
    length: u32,
}

/// Segments that follow one another in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub pack: u32,
    pub first: u32,
    pub count: u32,
}

/// What a page lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entries,
    Extents,
}

#[derive(Debug)]
struct Page {
    place: Place,
    kind: Kind,
    read: bool,
    runs: (usize, usize),
    children: (usize, usize),
}

/// All pages of all trees and what they refer to.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pages: Vec<Page>,
    by_place: HashMap<Place, u32>,
    runs: Vec<Run>,
    children: Vec<u32>,
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
    /// Pages with something wrong, and the findings.
    trouble: HashMap<u32, usize>,
    /// First and last name of pages of directories that have several, once they are read.
    ends: HashMap<u32, Option<Ends>>,
    /// Directories of several pages whose order was not looked at yet, as ranges of children.
    directories: Vec<(usize, usize)>,
}

type Ends = (Vec<u8>, Vec<u8>);

/// Where the notes of a page began.
#[derive(Debug)]
pub(super) struct Begun {
    runs: usize,
    children: usize,
}

impl Graph {
    /// The page at an address, made when it is new.
    pub(super) fn page(&mut self, address: &Address, kind: Kind) -> u32 {
        let pack = self.number_of(address.pack);
        let Address { segment, offset, length, .. } = *address;
        let place = Place { pack, segment, offset, length };
        let next = self.pages.len() as u32;
        let number = *self.by_place.entry(place).or_insert(next);
        if number == next {
            self.pages.push(Page { place, kind, read: false, runs: (0, 0), children: (0, 0) });
        }
        number
    }

    /// A page that nobody took to read before: where it is and what it lists.
    pub(super) fn take_unread(&mut self, page: u32) -> Option<(Address, Kind)> {
        let page = self.pages.get_mut(page as usize).filter(|page| !page.read)?;
        page.read = true;
        let Place { pack, segment, offset, length } = page.place;
        let pack = *self.packs.get(pack as usize)?;
        Some((Address { pack, segment, offset, length }, page.kind))
    }

    /// Begins to note what a page refers to; one page at a time.
    pub(super) fn begin(&self) -> Begun {
        Begun { runs: self.runs.len(), children: self.children.len() }
    }

    /// Notes that the page refers to a chunk of file data.
    pub(super) fn add_chunk(&mut self, begun: &Begun, address: &Address) {
        let pack = self.number_of(address.pack);
        let segment = address.segment;
        if self.runs.len() > begun.runs
            && let Some(last) = self.runs.last_mut()
            && last.pack == pack
            && (last.first..=last.first + last.count).contains(&segment)
        {
            last.count = last.count.max(segment - last.first + 1);
            return;
        }
        self.runs.push(Run { pack, first: segment, count: 1 });
    }

    /// Notes that the page refers to other pages, which together are one directory or one list of extents.
    pub(super) fn add_pages(&mut self, addresses: &[Address], kind: Kind) {
        let first = self.children.len();
        for address in addresses {
            let child = self.page(address, kind);
            self.children.push(child);
            if addresses.len() > 1 && kind == Kind::Entries {
                self.ends.entry(child).or_insert(None);
            }
        }
        if addresses.len() > 1 && kind == Kind::Entries {
            self.directories.push((first, self.children.len()));
        }
    }

    /// Keeps the first and the last name of a page, if its order among others matters.
    pub(super) fn keep_ends(&mut self, page: u32, first: &[u8], last: &[u8]) {
        if let Some(ends) = self.ends.get_mut(&page) {
            *ends = Some((first.to_vec(), last.to_vec()));
        }
    }

    /// All that the page refers to is noted.
    pub(super) fn end(&mut self, page: u32, begun: &Begun) {
        let ends = (self.runs.len(), self.children.len());
        if let Some(page) = self.pages.get_mut(page as usize) {
            (page.runs, page.children) = ((begun.runs, ends.0), (begun.children, ends.1));
        }
    }

    /// Pages that do not follow the one before them in their directory, among directories not looked at before.
    pub(super) fn out_of_order(&mut self) -> Vec<u32> {
        let mut found = Vec::new();
        for (first, end) in std::mem::take(&mut self.directories) {
            for pair in self.children.get(first..end).unwrap_or_default().windows(2) {
                let [before, after] = pair else { continue };
                let ends = |page: &u32| self.ends.get(page).and_then(Option::as_ref);
                if let (Some((_, last)), Some((first, _))) = (ends(before), ends(after))
                    && last >= first
                {
                    found.push(*after);
                }
            }
        }
        found
    }

    /// Says that a page has something wrong; the first finding stays.
    pub(super) fn set_trouble(&mut self, page: u32, finding: usize) {
        self.trouble.entry(page).or_insert(finding);
    }

    /// Whether some page has a finding of its own.
    pub(super) fn has_trouble(&self) -> bool {
        !self.trouble.is_empty()
    }

    /// How many pages there are; they are numbered from 0.
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// The finding about a page.
    pub(super) fn trouble(&self, page: u32) -> Option<usize> {
        self.trouble.get(&page).copied()
    }

    /// The number of the page at an address.
    pub(super) fn find(&self, address: &Address) -> Option<u32> {
        let pack = *self.numbers.get(&address.pack)?;
        let Address { segment, offset, length, .. } = *address;
        self.by_place.get(&Place { pack, segment, offset, length }).copied()
    }

    /// The pack and segment a page is in.
    pub(super) fn segment_of(&self, page: u32) -> Option<Run> {
        let place = self.pages.get(page as usize)?.place;
        Some(Run { pack: place.pack, first: place.segment, count: 1 })
    }

    /// The segments of file data that a page refers to.
    pub(super) fn runs(&self, page: u32) -> &[Run] {
        let range = self.pages.get(page as usize).map(|page| page.runs.0..page.runs.1);
        range.and_then(|range| self.runs.get(range)).unwrap_or_default()
    }

    /// The pages that a page refers to.
    pub(super) fn children(&self, page: u32) -> &[u32] {
        let range = self.pages.get(page as usize).map(|page| page.children.0..page.children.1);
        range.and_then(|range| self.children.get(range)).unwrap_or_default()
    }

    /// A pack by its number.
    pub(super) fn pack(&self, number: u32) -> Option<PackId> {
        self.packs.get(number as usize).copied()
    }

    fn number_of(&mut self, pack: PackId) -> u32 {
        let next = self.packs.len() as u32;
        let number = *self.numbers.entry(pack).or_insert(next);
        if number == next {
            self.packs.push(pack);
        }
        number
    }
}
