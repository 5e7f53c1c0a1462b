//! Why something ended.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What a callback gives back: go on, or end the process with a [`Reason`].
///
/// `?` works on any error, which then becomes the reason.
pub type Flow = Result<(), Reason>;

/// Why a process or a meta-process ended.
///
/// Watchers of a process get the reason exactly as it was given: nothing is unwrapped or replaced
/// on the way. A meta-process says for itself what its watchers are told; of a TCP connection it is
/// the closest of these to why it was disconnected.
///
/// # Examples
///
/// ```
/// use socktree_kernel::{Flow, Reason};
/// fn parse(text: &str) -> Flow {
///     let _number: u32 = text.parse()?; // a bad number ends the process with that error
///     Ok(())
/// }
/// assert!(matches!(parse("x"), Err(Reason::Error(_))));
/// assert!(Reason::Shutdown.is_clean());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The work is done.
    Normal,
    /// Asked to end, by its parent, its supervisor or the node.
    Shutdown,
    /// Ended from outside without a chance to go on.
    Kill,
    /// A callback panicked; the text is the panic's.
    ///
    /// Where it was, the [panic hook](std::panic::set_hook) has been told before: by default it
    /// writes the place to stderr, and with `RUST_BACKTRACE=1` the way that led there.
    Panic(Arc<str>),
    /// A callback returned this error.
    Error(Arc<dyn Error + Send + Sync>),
    /// The watched target did not exist when the link or monitor was made.
    NoProcess,
    /// The watched name or alias was given up while its process lives on.
    Unregistered,
    /// A supervisor had to restart children more often than its intensity allows.
    RestartsExceeded {
        /// The child whose end was one too many.
        child: Arc<str>,
        /// Why that child ended.
        reason: Arc<Self>,
    },
}

impl Reason {
    /// Makes a reason out of a message.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error(Arc::from(Box::<dyn Error + Send + Sync>::from(
            message.into(),
        )))
    }

    /// Whether this is an end in good order ([`Normal`](Self::Normal) or
    /// [`Shutdown`](Self::Shutdown)): not logged as an error, and no cause for a transient child
    /// to be restarted.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown)
    }

    /// The reason for what `catch_unwind` caught.
    pub(crate) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a message");
        Self::Panic(text.into())
    }
}

// `Reason` itself is no `Error`: that is what lets every error become one through `?`.
impl<E: Error + Send + Sync + 'static> From<E> for Reason {
    fn from(error: E) -> Self {
        Self::Error(Arc::new(error))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Kill => f.write_str("kill"),
            Self::Panic(text) => write!(f, "panic: {text}"),
            Self::Error(error) => {
                write!(f, "{error}")?;
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
            Self::NoProcess => f.write_str("no such process"),
            Self::Unregistered => f.write_str("unregistered"),
            Self::RestartsExceeded { child, reason } => {
                write!(f, "restarts exceeded, last by {child}: {reason}")
            }
        }
    }
}
