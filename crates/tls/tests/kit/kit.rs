//! What the tests share: authorities, certificates, and two sides that talk without a socket.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use socktree_tls::{
    CertManager, CertManagerBuilder, ClientTls, ClientTlsBuilder, Identity, Provider, Roots,
    ServeFor, TlsError, TlsSession, Versions,
};

/// Every provider that is compiled in.
pub(crate) fn providers() -> Vec<Provider> {
    vec![
        #[cfg(feature = "ring")]
        Provider::Ring,
        #[cfg(feature = "aws-lc-rs")]
        Provider::AwsLcRs,
    ]
}

pub(crate) const VERSIONS: [Versions; 2] = [Versions::Tls13, Versions::Tls12];

/// Noon of some day in the middle of what certificates are good for.
pub(crate) fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// What a test's certificate is like; the default is right for `localhost`.
pub(crate) struct Leaf<'a> {
    pub(crate) names: &'a [&'a str],
    pub(crate) years: (i32, i32),
    pub(crate) usage: &'a [ExtendedKeyUsagePurpose],
    pub(crate) algorithm: &'static rcgen::SignatureAlgorithm,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self {
            names: &["localhost"],
            years: (2020, 2040),
            usage: &[
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }
}

/// A certificate and its key, in every form.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Issued {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_der(self.chain.clone(), self.key.clone()).unwrap()
    }
}

/// An authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2045, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn issue(&self, leaf: &Leaf<'_>) -> Issued {
        let names: Vec<String> = leaf.names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(leaf.years.0, 1, 1);
        params.not_after = date_time_ymd(leaf.years.1, 1, 1);
        params.extended_key_usages = leaf.usage.to_vec();
        let key = KeyPair::generate_for(leaf.algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: vec![certificate.der().to_vec()],
            key: key.serialize_der(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_der([self.der.clone()]).unwrap()
    }

    /// Options of a server with a right certificate for `localhost`.
    pub(crate) fn server(&self) -> CertManagerBuilder {
        let identity = self.issue(&Leaf::default()).identity();
        CertManager::builder()
            .identity(ServeFor::Default, identity)
            .wall_clock(noon)
    }

    /// Options of a client that trusts this authority.
    pub(crate) fn client(&self) -> ClientTlsBuilder {
        ClientTls::builder().roots(self.roots()).wall_clock(noon)
    }
}

/// Everything that `from` has to send, taken out of it.
pub(crate) fn output(from: &mut TlsSession) -> Vec<u8> {
    let bytes = from.output().to_vec();
    from.sent(bytes.len());
    bytes
}

/// Gives `bytes` to a session in pieces of `cut` bytes and reads all that comes of it.
pub(crate) fn give(
    to: &mut TlsSession,
    bytes: &[u8],
    cut: usize,
    got: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let mut plain = [0; 4096];
    let mut rest = bytes;
    // Once also for no bytes: then this only reads what waits.
    loop {
        let (piece, after) = rest.split_at(cut.min(rest.len()).min(to.room()));
        rest = after;
        let mut piece = piece.to_vec();
        let n = to.receive(&mut piece, &mut plain)?;
        got.extend_from_slice(&plain[..n]);
        while to.has_more() {
            let n = to.read(&mut plain)?;
            got.extend_from_slice(&plain[..n]);
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Two sides.
pub(crate) struct Pair {
    pub(crate) server: TlsSession,
    pub(crate) client: TlsSession,
    /// What each has read.
    pub(crate) at_server: Vec<u8>,
    pub(crate) at_client: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(certs: &CertManager, tls: &ClientTls) -> Self {
        Self {
            server: certs.session(Instant::now()).unwrap(),
            client: tls.session("localhost", Instant::now()).unwrap(),
            at_server: Vec::new(),
            at_client: Vec::new(),
        }
    }

    /// Two sides of a connection that stands.
    pub(crate) fn open(certs: &CertManager, tls: &ClientTls) -> Self {
        let mut pair = Self::new(certs, tls);
        pair.settle().unwrap();
        assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking());
        pair
    }

    /// Carries everything both ways until nobody has anything to say.
    pub(crate) fn settle(&mut self) -> Result<(), TlsError> {
        self.settle_cut(usize::MAX)
    }

    pub(crate) fn settle_cut(&mut self, cut: usize) -> Result<(), TlsError> {
        loop {
            let up = output(&mut self.client);
            let down = output(&mut self.server);
            if up.is_empty() && down.is_empty() {
                return Ok(());
            }
            // Both hear what the other had to say, an alert included, before an error counts.
            let first = give(&mut self.server, &up, cut, &mut self.at_server);
            let second = give(&mut self.client, &down, cut, &mut self.at_client);
            if first.is_err() {
                let alert = output(&mut self.server);
                let _ = give(&mut self.client, &alert, cut, &mut self.at_client);
            }
            if second.is_err() {
                let alert = output(&mut self.client);
                let _ = give(&mut self.server, &alert, cut, &mut self.at_server);
            }
            first.and(second)?;
        }
    }
}
