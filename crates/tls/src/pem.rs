//! Private keys out of PEM (RFC 7468), without leaving copies behind.
//!
//! Certificates are public and are read by `rustls-pki-types`. Its reader collects the text of a
//! section in a buffer that it frees as it is, so keys are read here.

use zeroize::Zeroizing;

use crate::CertError;

const KINDS: [&[u8]; 3] = [b"PRIVATE KEY", b"EC PRIVATE KEY", b"RSA PRIVATE KEY"];

/// The DER of the first private key in `pem`.
pub(crate) fn private_key(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, CertError> {
    let mut lines = pem.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let kind = lines
        .by_ref()
        .find_map(|line| {
            KINDS
                .into_iter()
                .find(|kind| is_border(line, b"BEGIN", kind))
        })
        .ok_or(CertError::NoKey)?;
    // Never grows, so that no copy is left where it was.
    let mut der = Zeroizing::new(Vec::with_capacity(pem.len()));
    let mut bits = Bits::default();
    for line in lines {
        if is_border(line, b"END", kind) {
            return if bits.are_whole() {
                Ok(der)
            } else {
                Err(CertError::BadPem)
            };
        }
        for byte in line {
            if let Some(octet) = bits.push(*byte)? {
                der.push(octet);
            }
        }
    }
    Err(CertError::BadPem)
}

fn is_border(line: &[u8], word: &[u8], kind: &[u8]) -> bool {
    let inside = line
        .strip_prefix(b"-----")
        .and_then(|rest| rest.strip_suffix(b"-----"))
        .and_then(|rest| rest.strip_prefix(word))
        .and_then(|rest| rest.strip_prefix(b" "));
    inside == Some(kind)
}

/// Base64 (RFC 4648, section 4), a character at a time.
#[derive(Default)]
struct Bits {
    pending: u32,
    count: u32,
    characters: usize,
    padding: usize,
}

impl Bits {
    fn push(&mut self, character: u8) -> Result<Option<u8>, CertError> {
        self.characters += 1;
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                self.padding += 1;
                return Ok(None);
            }
            _ => return Err(CertError::BadPem),
        };
        if self.padding > 0 {
            return Err(CertError::BadPem);
        }
        self.pending = self.pending << 6 | u32::from(value);
        self.count += 6;
        if self.count < 8 {
            return Ok(None);
        }
        self.count -= 8;
        let [.., octet] = (self.pending >> self.count).to_be_bytes();
        self.pending &= (1 << self.count) - 1;
        Ok(Some(octet))
    }

    fn are_whole(&self) -> bool {
        self.characters.is_multiple_of(4) && self.padding <= 2 && self.pending == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[u8], CertError>) {
        let got = private_key(text.as_bytes());
        assert_eq!(
            got.as_deref().map(Vec::as_slice),
            expected.as_deref(),
            "{text}"
        );
    }

    #[test]
    fn a_key_is_found_among_other_sections() {
        let pem = "noise\r\n-----BEGIN CERTIFICATE-----\r\nAAAA\r\n-----END CERTIFICATE-----\r\n\
             -----BEGIN EC PRIVATE KEY-----\r\n AQID\r\nBA==\r\n-----END EC PRIVATE KEY-----\r\n";
        check(pem, Ok(&[1, 2, 3, 4]));
    }

    #[test]
    fn what_is_no_whole_key_is_refused() {
        check("", Err(CertError::NoKey));
        check(
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            Err(CertError::NoKey),
        );
        for inside in [
            "AQID\n",
            "AQI\n-----END PRIVATE KEY-----",
            "AQ=D\n-----END PRIVATE KEY-----",
            "A===\n-----END PRIVATE KEY-----",
            "AQ?D\n-----END PRIVATE KEY-----",
            "AQIDBB==\n-----END PRIVATE KEY-----",
            "AQID\n-----END EC PRIVATE KEY-----",
        ] {
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{inside}");
            check(&pem, Err(CertError::BadPem));
        }
    }
}
