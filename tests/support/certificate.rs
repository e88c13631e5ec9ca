//! Self-signed certificates for tests: a fresh P-256 key and the few fields of X.509 that a verifier reads.

use base64::Engine as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const TEXT: u8 = 0x0c;
const TIME: u8 = 0x17;

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// A certificate for one name, and its key.
pub(crate) struct Pair {
    /// The certificate.
    pub(crate) der: Vec<u8>,
    /// The same in PEM.
    pub(crate) cert_pem: String,
    /// PKCS #8 in PEM.
    pub(crate) key_pem: String,
}

/// A fresh pair for `name`, valid from 2020 to 2049.
pub(crate) fn certificate(name: &str) -> Pair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let algorithm = tlv(SEQUENCE, &[&tlv(OID, &[ECDSA_WITH_SHA256])]);
    let common = [tlv(OID, &[COMMON_NAME]), tlv(TEXT, &[name.as_bytes()])].concat();
    let subject = tlv(SEQUENCE, &[&tlv(SET, &[&tlv(SEQUENCE, &[&common])])]);
    let validity = [tlv(TIME, &[b"200101000000Z"]), tlv(TIME, &[b"491231235959Z"])].concat();
    let kind = [tlv(OID, &[EC_PUBLIC_KEY]), tlv(OID, &[PRIME256V1])].concat();
    let public = [tlv(SEQUENCE, &[&kind]), tlv(BITS, &[&[0], key.public_key().as_ref()])].concat();
    let names = tlv(SEQUENCE, &[&tlv(0x82, &[name.as_bytes()])]);
    let extension = tlv(SEQUENCE, &[&tlv(OID, &[ALTERNATIVE_NAME]), &tlv(OCTETS, &[&names])]);
    let serial = &key.public_key().as_ref()[1..9];
    let told = tlv(
        SEQUENCE,
        &[
            &tlv(0xa0, &[&tlv(INTEGER, &[&[2]])]),
            &tlv(INTEGER, &[&[1], serial]),
            &algorithm,
            &subject,
            &tlv(SEQUENCE, &[&validity]),
            &subject,
            &tlv(SEQUENCE, &[&public]),
            &tlv(0xa3, &[&tlv(SEQUENCE, &[&extension])]),
        ],
    );
    let signature = key.sign(&random, &told).unwrap();
    let der = tlv(SEQUENCE, &[&told, &algorithm, &tlv(BITS, &[&[0], signature.as_ref()])]);
    Pair { cert_pem: pem("CERTIFICATE", &der), key_pem: pem("PRIVATE KEY", pkcs8.as_ref()), der }
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
    let mut out = vec![tag];
    match body.len() {
        ..0x80 => out.push(low),
        0x80..0x100 => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend(body);
    out
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|it| str::from_utf8(it).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
