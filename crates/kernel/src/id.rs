//! Addresses: pids, names and aliases, and [`Target`], which is any of them.

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Identifies one process for as long as its node lives.
///
/// A number is given once and never again, so a message to a pid whose process has ended is an
/// error and can never reach a stranger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(NonZeroU64);

/// Identifies a meta-process, or serves as a further address of a process.
///
/// As with [`Pid`], a number is never used twice while the node lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias(NonZeroU64);

/// A registered name, at most [`Name::MAX_LEN`] bytes long, cheap to clone.
///
/// Printed, it stands in quotes, so that a name with spaces in it is seen to be one;
/// [`as_str`](Self::as_str) is the name itself.
///
/// # Examples
///
/// ```
/// use socktree_kernel::Name;
/// let name = Name::from("worker 1");
/// assert_eq!(name.to_string(), "'worker 1'");
/// assert_eq!(name.as_str(), "worker 1");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Whom a message, a link, a monitor or an exit is meant for.
///
/// Everything that takes a target takes `impl Into<Target>`, so a [`Pid`], a name as `&str`,
/// `String` or [`Name`], and an [`Alias`] serve alike. A name is looked up at the moment of use.
///
/// # Examples
///
/// ```
/// use socktree_kernel::Target;
/// let by_name: Target = "counter".into();
/// assert_eq!(by_name.to_string(), "'counter'");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all the kinds of address there are"
)]
pub enum Target {
    /// A process by its number.
    Pid(Pid),
    /// A process by the name it is registered under.
    Name(Name),
    /// A meta-process, or a process by one of its aliases.
    Alias(Alias),
}

impl Pid {
    /// The bare number, for tables and logs.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl Alias {
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The bare number, for tables and logs.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl Name {
    /// The longest name there can be, in bytes. Erlang's atoms have the same bound.
    pub const MAX_LEN: usize = 255;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gives out numbers that never repeat: 64 bits last for longer than any node.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// The first ordinary number, as in Ergo: the ones below are for the node itself.
    const FIRST: u64 = 1001;

    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(Self::FIRST))
    }

    fn next(&self) -> NonZeroU64 {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        NonZeroU64::new(n).expect("the counter starts above zero and does not wrap in 584 years")
    }

    pub(crate) fn next_pid(&self) -> Pid {
        Pid(self.next())
    }

    pub(crate) fn next_ticket(&self) -> u64 {
        self.next().get()
    }

    pub(crate) fn next_alias(&self) -> Alias {
        Alias(self.next())
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}>", self.0.get() >> 32, self.0.get() & 0xffff_ffff)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.get();
        write!(f, "Alias#<{}.{}>", n >> 32, n & 0xffff_ffff)
    }
}

impl fmt::Debug for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.escape_debug())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => pid.fmt(f),
            Self::Name(name) => fmt::Display::fmt(name, f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&String> for Name {
    fn from(name: &String) -> Self {
        name.as_str().into()
    }
}

impl From<&Self> for Name {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl From<Pid> for Target {
    fn from(pid: Pid) -> Self {
        Self::Pid(pid)
    }
}

impl From<Alias> for Target {
    fn from(alias: Alias) -> Self {
        Self::Alias(alias)
    }
}

impl From<Name> for Target {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl From<&Name> for Target {
    fn from(name: &Name) -> Self {
        Self::Name(name.clone())
    }
}

impl From<&str> for Target {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl From<String> for Target {
    fn from(name: String) -> Self {
        Self::Name(name.into())
    }
}

impl From<&String> for Target {
    fn from(name: &String) -> Self {
        name.as_str().into()
    }
}

impl From<&Self> for Target {
    fn from(target: &Self) -> Self {
        target.clone()
    }
}
