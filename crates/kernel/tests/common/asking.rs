//! Messages that ask for an answer, for a puppet.

use socktree_kernel::Reply;

use crate::lab::Do;

/// A message that does this with its reply.
pub(crate) fn ask(f: impl FnOnce(Reply<u64>) + Send + 'static) -> impl FnOnce(Reply<u64>) -> Do {
    |reply| {
        Do::new(move |_| {
            f(reply);
            Ok(())
        })
    }
}
