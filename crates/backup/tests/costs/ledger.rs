//! What an operation asked of a store: its calls, and the bytes that went each way, by folder; and what became of the
//! store by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use store::{Call, MemoryStore, Operation, Recorded, Store};

use crate::world::wait;

/// A store whose calls are written down.
#[derive(Debug)]
pub struct Watched {
    memory: Arc<MemoryStore>,
    recorded: Arc<Recorded>,
}

/// What was spent on one operation.
pub struct Spent {
    calls: Vec<Call>,
    before: BTreeMap<String, u64>,
    after: BTreeMap<String, u64>,
}

impl Watched {
    pub fn new() -> Self {
        let memory = Arc::new(MemoryStore::new());
        let recorded = Arc::new(Recorded::new(memory.clone()));
        Self { memory, recorded }
    }

    /// What the operations work with.
    pub fn store(&self) -> Arc<dyn Store> {
        self.recorded.clone()
    }

    /// The same without being written down: for tests that change or look at the store themselves.
    pub fn unwatched(&self) -> &MemoryStore {
        &self.memory
    }

    /// What an operation costs, and what it returns.
    pub fn spend<T>(&self, work: impl FnOnce() -> T) -> (T, Spent) {
        let before = self.sizes();
        self.recorded.forget_calls();
        let outcome = work();
        let calls = self.recorded.calls();
        (outcome, Spent { calls, before, after: self.sizes() })
    }

    /// The size of each object.
    pub fn sizes(&self) -> BTreeMap<String, u64> {
        let listed = wait(self.memory.list("")).unwrap();
        listed.into_iter().map(|object| (object.name, object.size)).collect()
    }

    /// The bytes of all objects in a folder.
    pub fn holds(&self, folder: &str) -> u64 {
        self.sizes().iter().filter(|(name, _)| name.starts_with(folder)).map(|(_, size)| size).sum()
    }

    /// How many objects a folder has.
    pub fn count(&self, folder: &str) -> usize {
        self.sizes().keys().filter(|name| name.starts_with(folder)).count()
    }
}

impl Spent {
    /// All calls.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The calls of one kind for what is in a folder.
    pub fn count(&self, operation: Operation, folder: &str) -> usize {
        self.of(operation, folder).count()
    }

    /// How many objects of a folder were asked for in one way.
    pub fn objects(&self, operation: Operation, folder: &str) -> usize {
        self.of(operation, folder).map(|call| &call.name).collect::<BTreeSet<_>>().len()
    }

    /// Bytes that such calls moved.
    pub fn bytes_of(&self, operation: Operation, folder: &str) -> u64 {
        self.bytes(&[operation], folder)
    }

    /// Calls that give bytes of what is in a folder.
    pub fn reads(&self, folder: &str) -> usize {
        READS.into_iter().map(|operation| self.count(operation, folder)).sum()
    }

    /// Bytes that came from a folder.
    pub fn read(&self, folder: &str) -> u64 {
        self.bytes(&READS, folder)
    }

    /// Bytes that went into a folder.
    pub fn written(&self, folder: &str) -> u64 {
        self.bytes(&[Operation::Put, Operation::Replace], folder)
    }

    /// The bytes of the objects that came into a folder and are there now.
    pub fn came(&self, folder: &str) -> u64 {
        difference(&self.after, &self.before, folder).map(|(_, size)| size).sum()
    }

    /// How many these are.
    pub fn came_count(&self, folder: &str) -> usize {
        difference(&self.after, &self.before, folder).count()
    }

    /// How many objects went from a folder.
    pub fn went_count(&self, folder: &str) -> usize {
        difference(&self.before, &self.after, folder).count()
    }

    /// Objects that were read whole more than once, but leases, which change.
    pub fn read_again(&self) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let reads =
            self.of(Operation::Get, "").filter(|call| call.bytes > 0 && !call.name.starts_with("leases/"));
        reads.filter(|call| !seen.insert(&call.name)).map(|call| call.name.as_str()).collect()
    }

    fn of(&self, operation: Operation, folder: &str) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.operation == operation && call.name.starts_with(folder))
    }

    fn bytes(&self, operations: &[Operation], folder: &str) -> u64 {
        operations.iter().flat_map(|operation| self.of(*operation, folder)).map(|call| call.bytes).sum()
    }
}

const READS: [Operation; 3] = [Operation::Get, Operation::GetRange, Operation::GetTail];

fn difference<'a>(
    of: &'a BTreeMap<String, u64>,
    without: &'a BTreeMap<String, u64>,
    folder: &'a str,
) -> impl Iterator<Item = (&'a String, &'a u64)> {
    of.iter().filter(move |(name, _)| name.starts_with(folder) && !without.contains_key(*name))
}

/// By kind of call and folder: how many, and how many bytes.
impl fmt::Debug for Spent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<(Operation, &str), (usize, u64)> = BTreeMap::new();
        for call in &self.calls {
            let folder = call.name.split('/').next().unwrap_or_default();
            let sum = kinds.entry((call.operation, folder)).or_default();
            *sum = (sum.0 + 1, sum.1 + call.bytes);
        }
        writeln!(formatter, "{} calls:", self.calls.len())?;
        for ((operation, folder), (calls, bytes)) in kinds {
            writeln!(formatter, "  {operation:?} {folder}: {calls} calls, {bytes} bytes")?;
        }
        Ok(())
    }
}
