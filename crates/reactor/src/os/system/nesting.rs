//! Pollers in pollers: the descriptor of an epoll instance or a kqueue is itself readable while
//! reports wait in it (`epoll(7)`, question 3; `kqueue(2)`).

pub use here::SystemOuter;

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "macos"
))]
mod here {
    use std::io;
    use std::os::fd::AsRawFd;

    use mio::unix::SourceFd;
    use mio::{Interest, Poll, Registry};

    /// The way into a poller of the [`System`](crate::System) for others: another descriptor of it.
    #[derive(Debug)]
    pub struct SystemOuter(Registry);

    impl SystemOuter {
        pub(crate) fn of(poll: &Poll) -> io::Result<Self> {
            poll.registry().try_clone().map(Self)
        }

        pub(crate) fn take_in(&self, inner: &Poll, token: usize) -> io::Result<()> {
            let fd = inner.as_raw_fd();
            self.0
                .register(&mut SourceFd(&fd), mio::Token(token), Interest::READABLE)
        }

        pub(crate) fn let_go(&self, inner: &Poll) -> io::Result<()> {
            let fd = inner.as_raw_fd();
            self.0.deregister(&mut SourceFd(&fd))
        }
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "macos"
)))]
mod here {
    use std::convert::Infallible;
    use std::io;

    use mio::Poll;

    /// The way into a poller of the [`System`](crate::System) for others: there is none here.
    #[derive(Debug)]
    pub struct SystemOuter(Infallible);

    impl SystemOuter {
        pub(crate) fn of(_poll: &Poll) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn take_in(&self, _inner: &Poll, _token: usize) -> io::Result<()> {
            match self.0 {}
        }

        pub(crate) fn let_go(&self, _inner: &Poll) -> io::Result<()> {
            match self.0 {}
        }
    }
}
