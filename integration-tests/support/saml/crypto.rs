//! Signing and encrypting for the forger, by Debian's `xmlsec1` and by OpenSSL.

use std::io::Read;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::{ASSERTION, Manner, fixture, piece};

pub fn rand() -> u128 {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    u128::from_ne_bytes(bytes)
}

const IDS: [&str; 10] = [
    "--id-attr:ID",
    "urn:oasis:names:tc:SAML:2.0:protocol:AuthnRequest",
    "--id-attr:ID",
    "urn:oasis:names:tc:SAML:2.0:protocol:Response",
    "--id-attr:ID",
    "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
    "--id-attr:ID",
    "urn:oasis:names:tc:SAML:2.0:protocol:LogoutRequest",
    "--id-attr:ID",
    "urn:oasis:names:tc:SAML:2.0:protocol:LogoutResponse",
];

/// Fills the template that the path leads to.
pub fn sign(text: &str, path: &str, manner: &Manner) -> String {
    let key = format!(
        "{},{}",
        fixture(&format!("{}-key.pem", manner.key)).display(),
        fixture(&format!("{}-cert.pem", manner.key)).display()
    );
    let how = match manner.key {
        // The certificate's own bytes as a shared secret.
        "hmac" => ["--hmackey".to_owned(), fixture("idp-cert.pem").display().to_string()],
        _ => ["--privkey-pem".to_owned(), key],
    };
    xmlsec(
        text,
        &[&["--sign"], IDS.as_slice(), &["--node-xpath", path, &how[0], &how[1]]].concat(),
    )
    .unwrap_or_else(|error| panic!("xmlsec1 does not sign: {error}"))
}

/// What `xmlsec1` thinks of the signature that the path leads to.
pub fn xmlsec_agrees(text: &str, path: &str, certificate: &str) -> bool {
    let certificate = fixture(certificate).display().to_string();
    let keys = [
        "--node-xpath",
        path,
        "--enabled-key-data",
        "rsa",
        "--pubkey-cert-pem",
        &certificate,
    ];
    xmlsec(text, &[&["--verify"], IDS.as_slice(), &keys].concat()).is_ok()
}

/// Runs it on a document; what it writes to its output file, or its complaint.
fn xmlsec(text: &str, arguments: &[&str]) -> Result<String, String> {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("in.xml"), folder.path().join("out.xml"));
    std::fs::write(&input, text).unwrap();
    let is_verdict = arguments[0] == "--verify";
    let mut command = Command::new("xmlsec1");
    command.args(arguments);
    if !is_verdict {
        command.arg("--output").arg(&output);
    }
    let done = command
        .arg(&input)
        .output()
        .expect("xmlsec1 runs; integration-tests/setup.sh saml installs it");
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    Ok(if is_verdict {
        String::new()
    } else {
        std::fs::read_to_string(&output).unwrap()
    })
}

/// How an assertion is encrypted for the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Cipher {
    /// `aes128-cbc`, `aes256-cbc`, `aes128-gcm`, `aes256-gcm`.
    pub content: &'static str,
    /// `sha1` or `sha256`, of OAEP and of its mask; `rsa-1_5` for what must not be taken.
    pub digest: &'static str,
    pub mask: &'static str,
    /// Whether the key stands beside the data, with a pointer to it.
    pub beside: bool,
}

impl Default for Cipher {
    fn default() -> Self {
        Self {
            content: "aes256-gcm",
            digest: "sha1",
            mask: "sha1",
            beside: false,
        }
    }
}

/// The response with its assertion encrypted: by OpenSSL, but for GCM, which its command does not do.
pub fn encrypt(response: &str, cipher: Cipher) -> String {
    let assertion = piece(response, "saml:Assertion");
    // What the response declares is not there any more once the assertion is alone.
    let alone = assertion.replacen(
        "<saml:Assertion",
        &format!("<saml:Assertion xmlns:saml=\"{ASSERTION}\""),
        1,
    );
    response.replace(assertion, &encrypted(alone.as_bytes(), cipher))
}

pub fn encrypted(plain: &[u8], cipher: Cipher) -> String {
    let length = if cipher.content.starts_with("aes128") { 16 } else { 32 };
    let key: Vec<u8> = rand()
        .to_ne_bytes()
        .into_iter()
        .chain(rand().to_ne_bytes())
        .take(length)
        .collect();
    let start = rand().to_ne_bytes();
    let bytes = if cipher.content.ends_with("gcm") {
        use ring::aead;
        let algorithm = if length == 16 {
            &aead::AES_128_GCM
        } else {
            &aead::AES_256_GCM
        };
        let nonce: [u8; 12] = start[..12].try_into().unwrap();
        let sealing = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, &key).unwrap());
        let mut sealed = plain.to_vec();
        sealing
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::empty(),
                &mut sealed,
            )
            .unwrap();
        [nonce.as_slice(), &sealed].concat()
    } else {
        let kind = format!("-aes-{}-cbc", length * 8);
        let (key, start_hex) = (hex::encode(&key), hex::encode(start));
        let sealed = openssl(&["enc", &kind, "-K", &key, "-iv", &start_hex], plain);
        [start.as_slice(), &sealed].concat()
    };
    let family = if cipher.content.ends_with("gcm") {
        "http://www.w3.org/2009/xmlenc11#"
    } else {
        "http://www.w3.org/2001/04/xmlenc#"
    };
    let wrapped_key = wrapped(&key, cipher);
    let pointer = "<ds:RetrievalMethod Type=\"http://www.w3.org/2001/04/xmlenc#EncryptedKey\" URI=\"#the-key\"/>";
    let (inside, beside) = if cipher.beside {
        (pointer, wrapped_key.as_str())
    } else {
        (wrapped_key.as_str(), "")
    };
    format!(
        "<saml:EncryptedAssertion><xenc:EncryptedData xmlns:xenc=\"http://www.w3.org/2001/04/xmlenc#\" Type=\"http://www.w3.org/2001/04/xmlenc#Element\">\
         <xenc:EncryptionMethod Algorithm=\"{family}{}\"/><ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{inside}</ds:KeyInfo>\
         <xenc:CipherData><xenc:CipherValue>{}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>{beside}</saml:EncryptedAssertion>",
        cipher.content,
        STANDARD.encode(bytes)
    )
}

fn wrapped(key: &[u8], cipher: Cipher) -> String {
    let certificate = fixture("sp-cert.pem").display().to_string();
    let (digest, mask) = (
        format!("rsa_oaep_md:{}", cipher.digest),
        format!("rsa_mgf1_md:{}", cipher.mask),
    );
    let mut arguments = vec!["pkeyutl", "-encrypt", "-certin", "-inkey", &certificate];
    let method = if cipher.digest == "rsa-1_5" {
        arguments.extend(["-pkeyopt", "rsa_padding_mode:pkcs1"]);
        "<xenc:EncryptionMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#rsa-1_5\"/>".to_owned()
    } else {
        arguments.extend([
            "-pkeyopt",
            "rsa_padding_mode:oaep",
            "-pkeyopt",
            &digest,
            "-pkeyopt",
            &mask,
        ]);
        let digest = match cipher.digest {
            "sha1" => "http://www.w3.org/2000/09/xmldsig#sha1",
            _ => "http://www.w3.org/2001/04/xmlenc#sha256",
        };
        let digest =
            format!("<ds:DigestMethod xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" Algorithm=\"{digest}\"/>");
        match cipher.mask {
            "sha1" => format!(
                "<xenc:EncryptionMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p\">{digest}</xenc:EncryptionMethod>"
            ),
            mask => format!(
                "<xenc:EncryptionMethod Algorithm=\"http://www.w3.org/2009/xmlenc11#rsa-oaep\">{digest}<xenc11:MGF xmlns:xenc11=\"http://www.w3.org/2009/xmlenc11#\" Algorithm=\"http://www.w3.org/2009/xmlenc11#mgf1{mask}\"/></xenc:EncryptionMethod>"
            ),
        }
    };
    let bytes = openssl(&arguments, key);
    format!(
        "<xenc:EncryptedKey xmlns:xenc=\"http://www.w3.org/2001/04/xmlenc#\" Id=\"the-key\">{method}<xenc:CipherData><xenc:CipherValue>{}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>",
        STANDARD.encode(bytes)
    )
}

/// Runs `openssl` on bytes.
pub fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("in");
    std::fs::write(&file, input).unwrap();
    let done = Command::new("openssl")
        .args(arguments)
        .arg("-in")
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
}

/// Signs bytes by RSA with SHA-256, or another digest.
pub fn sign_bytes(bytes: &[u8], key: &str, digest: &str) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("in");
    std::fs::write(&file, bytes).unwrap();
    let key = fixture(&format!("{key}-key.pem"));
    let done = Command::new("openssl")
        .args(["dgst", &format!("-{digest}"), "-sign"])
        .arg(key)
        .arg(&file)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}
