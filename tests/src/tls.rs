//! The other side of a TLS connection: a session over a blocking socket, and certificates for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use socktree::tls::{CertManagerBuilder, PeerEnd, TlsSession};
use socktree::{CertManager, ClientTls, Identity, Roots, ServeFor, TlsError};

use crate::net::connect;

/// An authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    pem: String,
}

impl Authority {
    /// One that nobody trusts yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        // A name of its own: OpenSSL takes what has its issuer's name for self-signed.
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random numbers");
        let certificate = params.self_signed(&key).expect("a right certificate");
        Self {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for a name.
    pub fn issue(&self, name: &str) -> Identity {
        self.certificate(name).identity()
    }

    /// The same, to be looked at and written to files.
    pub fn certificate(&self, name: &str) -> Issued {
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("random numbers");
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("a right certificate");
        Issued {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            key_der: key.serialize_der(),
            key_pem: key.serialize_pem(),
        }
    }

    /// Its own certificate in text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Trust in it.
    pub fn roots(&self) -> Roots {
        Roots::from_der([self.der.clone()]).expect("what was made just now")
    }

    /// A server for `localhost`, to be configured.
    pub fn server(&self) -> CertManagerBuilder {
        CertManager::builder().identity(ServeFor::Default, self.issue("localhost"))
    }

    /// The same as it is.
    pub fn certs(&self) -> CertManager {
        self.server().build().expect("a right certificate")
    }

    /// A client that trusts this authority.
    pub fn client(&self) -> ClientTls {
        let client = ClientTls::builder().roots(self.roots()).build();
        client.expect("roots are there")
    }
}

/// A certificate and its key.
#[derive(Clone)]

pub struct Issued {
    /// The certificate.
    pub der: Vec<u8>,
    /// The same in text.
    pub pem: String,
    /// The key.
    pub key_der: Vec<u8>,
    /// The same in text.
    pub key_pem: String,
}

impl Issued {
    /// Both together.
    pub fn identity(&self) -> Identity {
        let made = Identity::from_der([self.der.clone()], self.key_der.clone());
        made.expect("what was made just now")
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issued")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// One side of a connection over a blocking socket.
#[derive(Debug)]
pub struct TlsPeer {
    /// The socket.
    pub stream: TcpStream,
    /// The session.
    pub session: TlsSession,
    /// Plaintext that was received with the end of the handshake.
    early: Vec<u8>,
}

impl TlsPeer {
    /// Connects to `localhost` at this address, handshake included.
    ///
    /// # Errors
    ///
    /// What the handshake fails with.
    pub fn connect(addr: SocketAddr, client: &ClientTls) -> Result<Self, TlsError> {
        let session = client.session("localhost", Instant::now());
        let session = session.expect("a right name");
        Self::over(connect(addr), session).shaken()
    }

    /// Takes a client's connection, handshake included.
    ///
    /// # Errors
    ///
    /// What the handshake fails with.
    pub fn accept(stream: TcpStream, certs: &CertManager) -> Result<Self, TlsError> {
        let session = certs.session(Instant::now());
        Self::over(stream, session.expect("room for one")).shaken()
    }

    /// A session over a socket, before its handshake.
    pub fn over(stream: TcpStream, session: TlsSession) -> Self {
        let early = Vec::new();
        Self {
            stream,
            session,
            early,
        }
    }

    /// The same after it.
    ///
    /// # Errors
    ///
    /// What the handshake fails with.
    pub fn shaken(mut self) -> Result<Self, TlsError> {
        while self.session.is_handshaking() {
            self.send_output();
            let mut early = [0; 4096];
            let n = self.receive(&mut early)?;
            self.early.extend_from_slice(&early[..n]);
        }
        self.send_output();
        Ok(self)
    }

    /// Sends what the session has to say. A peer that has gone does not hear it.
    pub fn send_output(&mut self) {
        let _heard = self.stream.write_all(self.session.output());
        self.session.sent(self.session.output().len());
    }

    /// Reads once.
    fn receive(&mut self, plain: &mut [u8]) -> Result<usize, TlsError> {
        if self.session.has_more() || !self.session.wants_read() {
            return self.session.read(plain);
        }
        let mut sealed = vec![0; self.session.room().min(16 << 10)];
        match self.stream.read(&mut sealed) {
            Ok(0) => self.session.receive_eof().map(|()| 0),
            Ok(n) => self.session.receive(&mut sealed[..n], plain),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.session.receive_eof().map(|()| 0)
            }
            Err(error) => panic!("reading in vain: {error}"),
        }
    }

    /// Says something.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = self.session.write(bytes).expect("a live session");
            bytes = &bytes[n..];
            self.send_output();
        }
    }

    /// Reads exactly so many bytes.
    pub fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.early);
        let mut plain = vec![0; 64 << 10];
        while bytes.len() < len {
            let n = self.receive(&mut plain).expect("good records");
            assert!(
                n > 0 || self.session.peer_end().is_none(),
                "{} of {len} bytes, then {:?}",
                bytes.len(),
                self.session.peer_end()
            );
            bytes.extend_from_slice(&plain[..n]);
        }
        self.early = bytes.split_off(len);
        bytes
    }

    /// Reads to the end, and says how that came.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Result<PeerEnd, TlsError>) {
        let mut bytes = std::mem::take(&mut self.early);
        let mut plain = vec![0; 64 << 10];
        loop {
            match self.receive(&mut plain) {
                Ok(n) => bytes.extend_from_slice(&plain[..n]),
                Err(error) => return (bytes, Err(error)),
            }
            if let Some(end) = self.session.peer_end() {
                return (bytes, Ok(end));
            }
        }
    }

    /// Ends our direction in good order.
    pub fn finish(&mut self) {
        self.session.close().expect("a live session");
        self.send_output();
        // A peer that has gone already has no direction to end.
        let _gone = self.stream.shutdown(Shutdown::Write);
    }
}
