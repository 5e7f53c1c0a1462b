//! Why a socket could not be taken.

use std::error::Error;
use std::fmt;
use std::io;

/// A socket could not be taken into the loop; it is closed, the owner's data is here.
pub struct RegisterError<T> {
    /// What the system said.
    pub error: io::Error,
    /// What was to be registered along with the socket.
    pub data: T,
}

impl<T> fmt::Debug for RegisterError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for RegisterError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the socket could not be taken into the event loop: {}",
            self.error
        )
    }
}

impl<T> Error for RegisterError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<T> From<RegisterError<T>> for io::Error {
    fn from(error: RegisterError<T>) -> Self {
        error.error
    }
}
