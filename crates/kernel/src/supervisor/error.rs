//! Why a supervisor refuses what is asked of it.

use std::error::Error;
use std::fmt;

use crate::error::SpawnError;
use crate::id::Name;

/// Why a child could not be added, started, enabled or disabled. Nothing has changed then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChildError {
    /// The supervisor has no child, or no template, of this name.
    Unknown,
    /// It has one of this name already.
    Duplicate(Name),
    /// The child runs already.
    Running,
    /// The child has been told to end and has not yet.
    Stopping,
    /// The child is disabled: enable it first.
    Disabled,
    /// Children are just being replaced, or a start is about to be tried again. Ask again later.
    Restarting,
    /// The supervisor is ending.
    Ending,
    /// The template makes its instances from something else.
    WrongArguments,
    /// Only [simple one-for-one](crate::Supervisor::simple_one_for_one) supervisors have templates,
    /// and they have nothing else.
    WrongKind(Name),
    /// A significant child must be able to end for good, which a permanent one cannot.
    PermanentSignificant(Name),
    /// The child could not be started.
    Spawn(SpawnError),
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the supervisor has no such child"),
            Self::Duplicate(name) => write!(f, "there is a child {name} already"),
            Self::Running => f.write_str("the child runs already"),
            Self::Stopping => f.write_str("the child has not ended yet"),
            Self::Disabled => f.write_str("the child is disabled"),
            Self::Restarting => f.write_str("the supervisor is just replacing children"),
            Self::Ending => f.write_str("the supervisor is ending"),
            Self::WrongArguments => f.write_str("the template takes other arguments"),
            Self::WrongKind(name) => {
                write!(
                    f,
                    "{name}: templates belong to simple one-for-one supervisors alone"
                )
            }
            Self::PermanentSignificant(name) => {
                write!(
                    f,
                    "{name} is significant and permanent, so it would never end for good"
                )
            }
            Self::Spawn(error) => error.fmt(f),
        }
    }
}

// Without a source: the text of `Spawn` is the error's, which holds its causes already.
impl Error for ChildError {}

impl From<SpawnError> for ChildError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}
