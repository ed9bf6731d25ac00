//! Work still to be done, in order, where each piece may be replaced by finer pieces in its place.
//!
//! A linked list inside a vector. Pieces keep their number for as long as they exist, so that any of
//! them can be claimed at once, while "the first" is always the one that is needed soonest.

/// A piece's number.
pub(crate) type Place = u32;

/// The end of the list, where no piece is.
const NOWHERE: Place = Place::MAX;

/// Pieces in order. The order is that of the whole tree: what replaces a piece comes where it was.
#[derive(Debug)]
pub(crate) struct Order<T> {
    slots: Vec<Slot<T>>,
    free: Vec<Place>,
    first: Place,
}

#[derive(Debug)]
struct Slot<T> {
    before: Place,
    after: Place,
    linked: bool,
    value: Option<T>,
}

impl<T> Order<T> {
    /// Nothing yet.
    pub fn new() -> Order<T> {
        Order { slots: Vec::new(), free: Vec::new(), first: NOWHERE }
    }

    /// Puts a piece directly before the linked piece `mark`, or first of all.
    pub fn insert_before(&mut self, mark: Option<Place>, value: T) -> Place {
        let after = mark.unwrap_or(self.first);
        let before = if after == NOWHERE { NOWHERE } else { self.slots[after as usize].before };
        let slot = Slot { before, after, linked: true, value: Some(value) };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as Place
            }
        };
        self.join(before, place);
        self.join(place, after);
        place
    }

    /// Takes a piece out of the order, but keeps it.
    pub fn unlink(&mut self, place: Place) {
        let slot = &mut self.slots[place as usize];
        if std::mem::take(&mut slot.linked) {
            let (before, after) = (slot.before, slot.after);
            self.join(before, after);
        }
    }

    /// Takes a piece out altogether; its number may be given out again.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        self.unlink(place);
        let value = self.slots[place as usize].value.take();
        if value.is_some() {
            self.free.push(place);
        }
        value
    }

    /// The piece with this number.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        self.slots[place as usize].value.as_mut()
    }

    /// The first linked piece that `wanted` accepts.
    pub fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<Place> {
        let mut place = self.first;
        while place != NOWHERE {
            let slot = &self.slots[place as usize];
            if slot.value.as_ref().is_some_and(&wanted) {
                return Some(place);
            }
            place = slot.after;
        }
        None
    }

    fn join(&mut self, before: Place, after: Place) {
        match before {
            NOWHERE => self.first = after,
            place => self.slots[place as usize].after = after,
        }
        if after != NOWHERE {
            self.slots[after as usize].before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(order: &Order<u32>) -> Vec<u32> {
        let mut all = Vec::new();
        let mut place = order.first;
        while place != NOWHERE {
            all.extend(order.slots[place as usize].value);
            place = order.slots[place as usize].after;
        }
        all
    }

    proptest! {
        /// Against a plain vector, with random replacing, unlinking and removing.
        #[test]
        fn behaves_like_a_vector(actions in proptest::collection::vec((0..4u8, any::<prop::sample::Index>()), 1..80)) {
            let mut order = Order::new();
            let mut model: Vec<(Place, u32)> = Vec::new();
            let mut unlinked: Vec<(Place, u32)> = Vec::new();
            for (value, (action, index)) in (0u32..).zip(actions) {
                match action {
                    0 => model.insert(0, (order.insert_before(None, value), value)),
                    1 if !model.is_empty() => {
                        let at = index.index(model.len());
                        let place = order.insert_before(Some(model[at].0), value);
                        model.insert(at, (place, value));
                    }
                    2 if !model.is_empty() => {
                        let gone = model.remove(index.index(model.len()));
                        order.unlink(gone.0);
                        unlinked.push(gone);
                    }
                    3 if !model.is_empty() => {
                        let (place, value) = model.remove(index.index(model.len()));
                        prop_assert_eq!(order.remove(place), Some(value));
                    }
                    _ => {
                        if let Some((place, value)) = unlinked.pop() {
                            prop_assert_eq!(order.remove(place), Some(value));
                        }
                    }
                }
                prop_assert_eq!(listed(&order), model.iter().map(|&(_, value)| value).collect::<Vec<_>>());
                let odd = model.iter().find(|(_, value)| value % 2 == 1).map(|&(place, _)| place);
                prop_assert_eq!(order.find(|value| value % 2 == 1), odd);
            }
        }
    }
}
