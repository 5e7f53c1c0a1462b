//! Reading and writing: the calls that are made for every message.

#[cfg(target_os = "linux")]
pub(super) use direct::{read, write, write_vectored};
#[cfg(not(target_os = "linux"))]
pub(super) use library::{read, write, write_vectored};

/// System calls without the C library in between.
///
/// In a program with threads, which ours always is, the library makes each such call a point where
/// the thread can be cancelled. Rust never cancels a thread, and the two changes of its state cost
/// more than everything else that user space does for a read.
#[cfg(target_os = "linux")]
mod direct {
    use std::io::{self, IoSlice};

    use mio::net::TcpStream;
    use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

    /// By `recv(2)`: `read(2)` first goes through what files need.
    #[inline]
    pub(in super::super) fn read(stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        let (_, n) = rustix::net::recv(stream, buf, RecvFlags::empty())?;
        Ok(n)
    }

    /// A peer that is gone is an error, and no signal that ends a program which has not asked for
    /// that to be ignored.
    #[inline]
    pub(in super::super) fn write(stream: &TcpStream, buf: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(stream, buf, SendFlags::NOSIGNAL)?)
    }

    #[inline]
    pub(in super::super) fn write_vectored(
        stream: &TcpStream,
        bufs: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let mut nothing = SendAncillaryBuffer::default();
        let flags = SendFlags::NOSIGNAL;
        Ok(rustix::net::sendmsg(stream, bufs, &mut nothing, flags)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod library {
    use std::io::{self, IoSlice, Read, Write};

    use mio::net::TcpStream;

    pub(in super::super) fn read(mut stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        stream.read(buf)
    }

    pub(in super::super) fn write(mut stream: &TcpStream, buf: &[u8]) -> io::Result<usize> {
        stream.write(buf)
    }

    pub(in super::super) fn write_vectored(
        mut stream: &TcpStream,
        bufs: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        stream.write_vectored(bufs)
    }
}
