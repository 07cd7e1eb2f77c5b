#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The client's side of EST serverkeygen (RFC 7030 4.4), by other hands than ours: requests written octet by octet, answers taken
apart by asn1crypto, opened by `openssl cms`.

    keygen.py csr OUT ID [option...]      base64 of a request for device ID
        kek=HEX  asym=HEX                 DecryptKeyIdentifier, AsymmetricDecryptKeyIdentifier
        cap=NAME                          one of SMIMECapabilities, in order (see CAPABILITIES); cap= alone: an empty list
        spki=HEX  sig=HEX                 instead of a P-256 point that is none and a signature that is none
        extra=HEX                         one more attribute, as it is
        like=CERT.pem                     the subject of that certificate
    keygen.py split BODY HEADERS DIR      checks the multipart form, writes DIR/key.der and DIR/cert.pem, prints the key part's type
    keygen.py describe FILE               what the EnvelopedData is, in one line
    keygen.py open FILE OUT ANCHORS kek=HEX id=HEX | key=PEM cert=PEM
                                          decrypts, verifies the signature, writes the PrivateKeyInfo
    keygen.py check KEY.der CERT.pem      PrivateKeyInfo as RFC 5958 wants it, and of that certificate; prints the kind of key
    keygen.py secrets KEY.der...          lines "NAME HEX" for secret_search.py: the secret numbers of each key
    keygen.py ski CERT.pem | issuer-serial CERT.pem     identifiers for asym=
"""
import base64
import re
import subprocess
import sys
import tempfile

from asn1crypto import cms, core, keys, x509


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])}: {done.stderr.decode(errors='replace')}")
    return done.stdout


# ---- requests ----

def element(tag, *content):
    body = b"".join(content)
    n = len(body)
    if n < 128:
        return bytes([tag, n]) + body
    octets = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + body


def oid(text):
    return core.ObjectIdentifier(text).dump()


NULL = b"\x05\x00"
SHA = {n: f"2.16.840.1.101.3.4.2.{i}" for n, i in (("256", 1), ("384", 2), ("512", 3))}


def oaep(name):
    algorithm = element(0x30, oid(SHA[name]), NULL)
    mgf = element(0x30, oid("1.2.840.113549.1.1.8"), algorithm)
    return element(0x30, oid("1.2.840.113549.1.1.7"), element(0x30, element(0xa0, algorithm), element(0xa1, mgf)))


def wrap(bits):
    return element(0x30, oid(f"2.16.840.1.101.3.4.1.{5 if bits == 128 else 45}"))


CAPABILITIES = {
    "aes128-wrap": wrap(128), "aes256-wrap": wrap(256),
    "aes128-cbc": element(0x30, oid("2.16.840.1.101.3.4.1.2")), "aes256-cbc": element(0x30, oid("2.16.840.1.101.3.4.1.42")),
    "ecdh256-aes128": element(0x30, oid("1.3.132.1.11.1"), wrap(128)), "ecdh384-aes256": element(0x30, oid("1.3.132.1.11.2"), wrap(256)),
    "rsa": element(0x30, oid("1.2.840.113549.1.1.1"), NULL), "oaep256": oaep("256"), "oaep512": oaep("512"),
    "oaep1": element(0x30, oid("1.2.840.113549.1.1.7"), element(0x30)),
    "des3": element(0x30, oid("1.2.840.113549.3.7")), "aes128-gcm": element(0x30, oid("2.16.840.1.101.3.4.1.6")),
}


def attribute(kind, value):
    return element(0x30, oid(kind), element(0x31, value))


def write_csr(out, device, *options):
    attributes, capabilities = [], None
    spki = element(0x30, element(0x30, oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")), element(0x03, b"\0\4" + b"\x41" * 64))
    signature = b"no signature"
    subject = x509.Name.build({"common_name": device, "serial_number": device}).dump()
    for option in options:
        name, _, value = option.partition("=")
        if name == "kek":
            attributes.append(attribute("1.2.840.113549.1.9.16.2.37", element(0x04, bytes.fromhex(value))))
        elif name == "asym":
            attributes.append(attribute("1.2.840.113549.1.9.16.2.54", element(0x04, bytes.fromhex(value))))
        elif name == "cap":
            capabilities = (capabilities or b"") + (CAPABILITIES[value] if value else b"")
        elif name == "spki":
            spki = bytes.fromhex(value)
        elif name == "sig":
            signature = bytes.fromhex(value)
        elif name == "like":
            subject = certificate(value).subject.dump()
        elif name == "extra":
            attributes.append(bytes.fromhex(value))
        else:
            sys.exit(f"unknown option {option}")
    if capabilities is not None:
        attributes.append(attribute("1.2.840.113549.1.9.15", element(0x30, capabilities)))
    info = element(0x30, b"\x02\x01\x00", subject, spki, element(0xa0, *attributes))
    whole = element(0x30, info, element(0x30, oid("1.2.840.10045.4.3.2")), element(0x03, b"\0" + signature))
    with open(out, "wb") as f:
        f.write(base64.b64encode(whole))


# ---- answers ----

def split(body_file, headers_file, folder):
    headers = open(headers_file, "rb").read().decode()
    boundary = re.search(r"(?im)^content-type: multipart/mixed; boundary=([^\s;]+)\r$", headers)
    if not boundary or not re.search(r"(?im)^cache-control: no-store\r$", headers):
        sys.exit("not a multipart/mixed answer that is not stored")
    if re.search(r"(?im)^content-transfer-encoding:", headers):
        sys.exit("the outer body is not base64")
    mark = b"--" + boundary.group(1).encode()
    body = open(body_file, "rb").read()
    parts = body.split(mark)
    if parts[0] != b"" or parts[-1] != b"--\r\n" or len(parts) != 4:
        sys.exit("not exactly two parts")
    kinds = []
    for n, part in enumerate(parts[1:3]):
        if not part.startswith(b"\r\n") or not part.endswith(b"\r\n"):
            sys.exit("a boundary is not on a line of its own")
        head, _, text = part[2:-2].partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n"))
        if lines.get(b"content-transfer-encoding") != b"base64" or len(lines) != 2:
            sys.exit("a part's head is not type and encoding")
        kinds.append(lines[b"content-type"].decode())
        content = base64.b64decode(text.replace(b"\n", b""), validate=True)
        if n == 0:
            open(f"{folder}/key.der", "wb").write(content)
        else:
            pem = run("openssl", "pkcs7", "-inform", "DER", "-print_certs", stdin=content)
            if pem.count(b"BEGIN CERTIFICATE") != 1:
                sys.exit("not one certificate")
            open(f"{folder}/cert.pem", "wb").write(pem[pem.index(b"-----BEGIN"):])
    if kinds[1] != "application/pkcs7-mime; smime-type=certs-only":
        sys.exit(f"the second part is {kinds[1]}")
    print(kinds[0])


def describe(file):
    info = cms.ContentInfo.load(open(file, "rb").read(), strict=True)
    data = info["content"]
    recipients = data["recipient_infos"]
    if info["content_type"].native != "enveloped_data" or len(recipients) != 1:
        sys.exit("not EnvelopedData for one recipient")
    recipient = recipients[0]
    inner = recipient.chosen
    encrypted = data["encrypted_content_info"]
    words = [data["version"].native, recipient.name, inner["version"].native]
    if recipient.name == "kekri":
        words.append("id=" + inner["kekid"]["key_identifier"].native.hex())
        words.append(inner["key_encryption_algorithm"]["algorithm"].native)
    elif recipient.name == "ktri":
        words += [inner["rid"].name, inner["key_encryption_algorithm"]["algorithm"].native]
        if words[-1] == "rsaes_oaep":
            words.append(inner["key_encryption_algorithm"]["parameters"]["hash_algorithm"]["algorithm"].native)
    else:
        key = inner["recipient_encrypted_keys"][0]
        words += [inner["originator"].name, key["rid"].name, inner["key_encryption_algorithm"]["algorithm"].dotted,
                  "ukm=%d" % len(inner["ukm"].native)]
    words += [encrypted["content_type"].native, encrypted["content_encryption_algorithm"]["algorithm"].native]
    print(*words)


def open_envelope(file, out, anchors, *options):
    how = dict(option.split("=", 1) for option in options)
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-in", file, "-binary"]
    if "kek" in how:
        command += ["-secretkey", how["kek"], "-secretkeyid", how["id"]]
    else:
        command += ["-inkey", how["key"], "-recip", how["cert"]]
    signed = run(*command)
    whole = element(0x30, oid("1.2.840.113549.1.7.2"), element(0xa0, signed))
    data = cms.ContentInfo.load(whole, strict=True)["content"]
    signer = data["signer_infos"][0]
    attributes = {a["type"].dotted: a["values"][0].native for a in signer["signed_attrs"]}
    if data["version"].native != "v3" or data["encap_content_info"]["content_type"].dotted != "2.16.840.1.101.2.1.2.78.5" or \
            attributes.get("1.2.840.113549.1.9.3") != "2.16.840.1.101.2.1.2.78.5" or len(data["certificates"]) != 1:
        sys.exit("the SignedData is not one of a key package")
    with tempfile.NamedTemporaryFile() as f:
        f.write(whole)
        f.flush()
        package = run("openssl", "cms", "-verify", "-inform", "DER", "-in", f.name, "-CAfile", anchors, "-purpose", "any", "-binary")
    # AsymmetricKeyPackage ::= SEQUENCE OF OneAsymmetricKey
    one = core.SequenceOf.load(package, spec=keys.PrivateKeyInfo, strict=True)
    if len(one) != 1:
        sys.exit("not one key")
    open(out, "wb").write(one[0].dump())


def check(key_file, cert_file):
    der = open(key_file, "rb").read()
    info = keys.PrivateKeyInfo.load(der, strict=True)
    if info["version"].native != 0 or info["attributes"].native:
        sys.exit("version, or attributes")
    if info.algorithm == "ec":
        inner = keys.ECPrivateKey.load(bytes(info["private_key"]), strict=True)
        if inner["public_key"].native is None:
            sys.exit("no public key inside ECPrivateKey")
    public = run("openssl", "pkey", "-inform", "DER", "-in", key_file, "-pubout")
    if public != run("openssl", "x509", "-in", cert_file, "-noout", "-pubkey"):
        sys.exit("the certificate is not for this key")
    print(info.algorithm if info.algorithm != "ec" else info.curve[1], info.bit_size if info.algorithm == "rsa" else "")


def secrets(*files):
    for n, file in enumerate(files):
        info = keys.PrivateKeyInfo.load(open(file, "rb").read())
        if info.algorithm == "rsa":
            inner = keys.RSAPrivateKey.load(bytes(info["private_key"]))
            for name in ("private_exponent", "prime1", "exponent1"):
                value = inner[name].native
                print(f"made-{n}-{name} {value.to_bytes((value.bit_length() + 7) // 8, 'big').hex()}")
        elif info.algorithm == "ec":
            inner = keys.ECPrivateKey.load(bytes(info["private_key"]))
            size = 32 if info.curve[1] == "secp256r1" else 48
            print(f"made-{n}-scalar {inner['private_key'].native.to_bytes(size, 'big').hex()}")
        else:
            print(f"made-{n}-seed {bytes(info['private_key'])[-32:].hex()}")


def certificate(file):
    return x509.Certificate.load(run("openssl", "x509", "-in", file, "-outform", "DER"))


def ski(file):
    print(certificate(file).key_identifier.hex())


def issuer_serial(file):
    c = certificate(file)
    print(element(0x30, c.issuer.dump(), core.Integer(c.serial_number).dump()).hex())


VERBS = {"csr": write_csr, "split": split, "describe": describe, "open": open_envelope, "check": check, "secrets": secrets, "ski": ski,
         "issuer-serial": issuer_serial}

if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])
