//! The operations of a store, as values: for error texts, recordings and scripted faults.

/// One of the trait's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// [`put`](crate::Store::put)
    Put,
    /// [`replace`](crate::Store::replace)
    Replace,
    /// [`get`](crate::Store::get)
    Get,
    /// [`get_range`](crate::Store::get_range)
    GetRange,
    /// [`get_tail`](crate::Store::get_tail)
    GetTail,
    /// [`stat`](crate::Store::stat)
    Stat,
    /// [`list`](crate::Store::list)
    List,
    /// [`delete`](crate::Store::delete)
    Delete,
    /// [`warm`](crate::Store::warm)
    Warm,
    /// [`lock`](crate::Store::lock)
    Lock,
}

impl Operation {
    /// The verb for a sentence that begins with "cannot".
    pub fn verb(self) -> &'static str {
        match self {
            Self::Put => "write",
            Self::Replace => "rewrite",
            Self::Get => "read",
            Self::GetRange => "read part of",
            Self::GetTail => "read the end of",
            Self::Stat => "look up",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Warm => "ask for the warming of",
            Self::Lock => "lock",
        }
    }

    /// One word for reports and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Replace => "replace",
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::GetTail => "get_tail",
            Self::Stat => "stat",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Warm => "warm",
            Self::Lock => "lock",
        }
    }

    /// Whether the call changes the store.
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Replace | Self::Delete)
    }

    /// Whether the call returns bytes of an object.
    pub fn reads_bytes(self) -> bool {
        matches!(self, Self::Get | Self::GetRange | Self::GetTail)
    }
}
