//! What a certificate says about itself, as far as we have to know it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, DnsName};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5280::{
    ANY_EXTENDED_KEY_USAGE, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH,
};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use crate::CertError;

/// What a certificate is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Server,
    Client,
}

/// What a certificate says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// DNS names of the subject, lower case; a wildcard begins with `*.`.
    pub(crate) names: Vec<Box<str>>,
    for_servers: bool,
    for_clients: bool,
}

impl Facts {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        // Raw: certificates with odd serial numbers are in use, and rustls takes them.
        let parsed = CertificateInner::<Raw>::from_der(certificate).ok()?;
        let subject = &parsed.tbs_certificate;
        let usage = subject.get::<ExtendedKeyUsage>().ok()?;
        let allows = |wanted| match &usage {
            None => true,
            Some((_, ExtendedKeyUsage(listed))) => {
                listed.contains(&wanted) || listed.contains(&ANY_EXTENDED_KEY_USAGE)
            }
        };
        let alternative = subject.get::<SubjectAltName>().ok()?;
        let names = alternative
            .map(|(_, SubjectAltName(names))| names)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|name| match name {
                GeneralName::DnsName(name) => normal_name(name.as_str()),
                _ => None,
            })
            .collect();
        let validity = &subject.validity;
        Some(Self {
            not_before: UNIX_EPOCH.checked_add(validity.not_before.to_unix_duration())?,
            not_after: UNIX_EPOCH.checked_add(validity.not_after.to_unix_duration())?,
            names,
            for_servers: allows(ID_KP_SERVER_AUTH),
            for_clients: allows(ID_KP_CLIENT_AUTH),
        })
    }

    pub(crate) fn check(&self, usage: Usage, now: SystemTime) -> Result<(), CertError> {
        let allowed = match usage {
            Usage::Server => self.for_servers,
            Usage::Client => self.for_clients,
        };
        if !allowed {
            return Err(CertError::WrongUsage);
        }
        if now < self.not_before {
            let not_before = self.not_before;
            return Err(CertError::NotYetValid { not_before });
        }
        if now > self.not_after {
            let not_after = self.not_after;
            return Err(CertError::Expired { not_after });
        }
        Ok(())
    }
}

/// A host name as we compare it, or `None` if it is none: lower case, no final dot, and nothing
/// but a whole first label may be a wildcard (RFC 6125, 6.4.3).
pub(crate) fn normal_name(name: &str) -> Option<Box<str>> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    DnsName::try_from(plain).ok()?;
    Some(name.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_one_form() {
        let normal = |name| normal_name(name).map(String::from);
        assert_eq!(normal("Example.ORG."), Some("example.org".to_owned()));
        assert_eq!(normal("*.Example.org"), Some("*.example.org".to_owned()));
        for odd in [
            "",
            ".",
            "*",
            "*.",
            "a.*.b",
            "*a.b",
            "a b",
            "é.example",
            "-a.b",
            "a..b",
        ] {
            assert_eq!(normal(odd), None, "{odd}");
        }
        assert_eq!(normal(&"a".repeat(256)), None);
    }
}
