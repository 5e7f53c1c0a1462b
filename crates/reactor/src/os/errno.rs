//! What a failed accept means for the listener, by error number.
//!
//! The numbers are written out because the kinds of [`std::io`] have no names for half of
//! them and this crate needs no other part of a binding to the C library.

use std::io;

/// The error numbers that matter, where they differ from system to system.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod codes {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const ENOMEM: i32 = 12;
    pub(crate) const ENFILE: i32 = 23;
    pub(crate) const EMFILE: i32 = 24;
    pub(crate) const ENONET: i32 = 64;
    pub(crate) const EPROTO: i32 = 71;
    pub(crate) const ENOPROTOOPT: i32 = 92;
    pub(crate) const EOPNOTSUPP: i32 = 95;
    pub(crate) const ENETDOWN: i32 = 100;
    pub(crate) const ENETUNREACH: i32 = 101;
    pub(crate) const ECONNABORTED: i32 = 103;
    pub(crate) const ECONNRESET: i32 = 104;
    pub(crate) const ENOBUFS: i32 = 105;
    pub(crate) const ETIMEDOUT: i32 = 110;
    pub(crate) const EHOSTDOWN: i32 = 112;
    pub(crate) const EHOSTUNREACH: i32 = 113;
}

/// The error numbers that matter, where they differ from system to system.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) mod codes {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const ENOMEM: i32 = 12;
    pub(crate) const ENFILE: i32 = 23;
    pub(crate) const EMFILE: i32 = 24;
    pub(crate) const ENOPROTOOPT: i32 = 42;
    pub(crate) const EOPNOTSUPP: i32 = if cfg!(target_vendor = "apple") {
        102
    } else {
        45
    };
    pub(crate) const ENETDOWN: i32 = 50;
    pub(crate) const ENETUNREACH: i32 = 51;
    pub(crate) const ECONNABORTED: i32 = 53;
    pub(crate) const ECONNRESET: i32 = 54;
    pub(crate) const ENOBUFS: i32 = 55;
    pub(crate) const ETIMEDOUT: i32 = 60;
    pub(crate) const EHOSTDOWN: i32 = 64;
    pub(crate) const EHOSTUNREACH: i32 = 65;
    pub(crate) const EPROTO: i32 = if cfg!(target_os = "freebsd") {
        92
    } else if cfg!(target_os = "openbsd") {
        95
    } else if cfg!(target_os = "netbsd") {
        96
    } else {
        100
    };
    // Linux only; repeated so that the table below reads the same everywhere.
    pub(crate) const ENONET: i32 = EPROTO;
}

/// The error numbers that matter, where they differ from system to system.
#[cfg(windows)]
pub(crate) mod codes {
    pub(crate) const EPERM: i32 = 10013;
    pub(crate) const ENOMEM: i32 = 8;
    pub(crate) const ENFILE: i32 = 4;
    pub(crate) const EMFILE: i32 = 10024;
    pub(crate) const EPROTO: i32 = 10041;
    pub(crate) const ENONET: i32 = EPROTO;
    pub(crate) const ENOPROTOOPT: i32 = 10042;
    pub(crate) const EOPNOTSUPP: i32 = 10045;
    pub(crate) const ENETDOWN: i32 = 10050;
    pub(crate) const ENETUNREACH: i32 = 10051;
    pub(crate) const ECONNABORTED: i32 = 10053;
    pub(crate) const ECONNRESET: i32 = 10054;
    pub(crate) const ENOBUFS: i32 = 10055;
    pub(crate) const ETIMEDOUT: i32 = 10060;
    pub(crate) const EHOSTDOWN: i32 = 10064;
    pub(crate) const EHOSTUNREACH: i32 = 10065;
}

/// What the loop does about a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// Nobody is waiting.
    Drained,
    /// Interrupted by a signal: again, at once.
    Again,
    /// One client's affair, and that client is gone: count it and go on.
    Connection,
    /// The system has no room for another socket: come back later.
    Exhausted,
    /// The listener itself is broken.
    Listener,
}

/// Sorts a failed accept; see `accept(2)`, "Error handling".
pub(crate) fn classify_accept(error: &io::Error) -> AcceptFailure {
    match error.kind() {
        io::ErrorKind::WouldBlock => return AcceptFailure::Drained,
        io::ErrorKind::Interrupted => return AcceptFailure::Again,
        io::ErrorKind::OutOfMemory => return AcceptFailure::Exhausted,
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => {
            return AcceptFailure::Connection;
        }
        _ => {}
    }
    match error.raw_os_error() {
        Some(codes::EMFILE | codes::ENFILE | codes::ENOBUFS | codes::ENOMEM) => {
            AcceptFailure::Exhausted
        }
        // Linux hands errors already pending on the new connection to accept.
        Some(
            codes::ECONNABORTED
            | codes::ECONNRESET
            | codes::EPROTO
            | codes::ENONET
            | codes::ENOPROTOOPT
            | codes::EOPNOTSUPP
            | codes::ENETDOWN
            | codes::ENETUNREACH
            | codes::EHOSTDOWN
            | codes::EHOSTUNREACH
            | codes::ETIMEDOUT
            // A firewall rule or security module refused this one client.
            | codes::EPERM,
        ) => AcceptFailure::Connection,
        _ => AcceptFailure::Listener,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_errno_of_the_man_page_has_its_class() {
        let check = |class, numbers: &[i32]| {
            for &number in numbers {
                let error = io::Error::from_raw_os_error(number);
                assert_eq!(classify_accept(&error), class, "{error}");
            }
        };
        check(AcceptFailure::Drained, &[11]);
        check(AcceptFailure::Again, &[4]);
        // A01, A02.
        check(AcceptFailure::Exhausted, &[24, 23, 105, 12]);
        // A03.
        check(
            AcceptFailure::Connection,
            &[103, 71, 100, 113, 92, 95, 110, 1, 112, 64, 101],
        );
        check(AcceptFailure::Listener, &[9, 22, 88, 14]);
    }
}
