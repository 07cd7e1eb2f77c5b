#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Certification requests of an attacker who holds a valid secret, sent to a real service as a table.

    csr_attacks.py --port N --cacert FILE --user U --secret S --log FILE --issuer PEM --victim-key FILE --dir DIR

Each row is refused with its status and its own reason in the core's log line of that request, or answered with a certificate
that has nothing of what was asked for (rows "ignored": by design nothing but the key is copied from a request). Each stands
beside a good neighbour, the request from which it was made. Prints one line a row; exit 1 when one is not as it says.
"""
import argparse
import base64
import hashlib
import http.client
import os
import re
import ssl
import sys
import time

from asn1crypto import x509

import raw
from raw import attribute, der, oid, rdn, utf8

CN = "2.5.4.3"
RSA_ALG = der(0x30, oid("1.2.840.113549.1.1.1"), der(5))
SHA256_RSA = der(0x30, oid("1.2.840.113549.1.1.11"), der(5))
EC = "1.2.840.10045.2.1"
P256 = "1.2.840.10045.3.1.7"
ECDSA_SHA256 = der(0x30, oid("1.2.840.10045.4.3.2"))
SAN, BASIC, USAGE, EKU = "2.5.29.17", "2.5.29.19", "2.5.29.15", "2.5.29.37"
# Two primes k * M + 65537^a mod M, M the product of the first 126 primes (CVE-2017-15361).
ROCA = ((7845088047123343, 17559201480616711313), (7662669793182101, 1888570237800257629))


def integer(n):
    return der(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def rsa_spki(n, e):
    return der(0x30, RSA_ALG, der(3, b"\0", der(0x30, integer(n), integer(e))))


def ec_spki(point, curve=None):
    return der(0x30, der(0x30, oid(EC), curve or oid(P256)), der(3, b"\0", point))


def first_primes(count):
    found, n = [], 2
    while len(found) < count:
        if all(n % p for p in found if p * p <= n):
            found.append(n)
        n += 1
    return found


class RsaKey:
    """Signs with numbers alone, so that any modulus and exponent can be."""

    def __init__(self, n, e, d):
        self.n, self.e, self.d = n, e, d
        self.spki, self.algorithm = rsa_spki(n, e), SHA256_RSA

    def sign(self, data):
        size = (self.n.bit_length() + 7) // 8
        digest = der(0x30, der(0x30, oid("2.16.840.1.101.3.4.2.1"), der(5)), der(4, hashlib.sha256(data).digest()))
        padded = b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest
        return pow(int.from_bytes(padded, "big"), self.d, self.n).to_bytes(size, "big")


class FileKey:
    """A key of openssl."""

    def __init__(self, path, *genpkey, algorithm=ECDSA_SHA256, sign=("dgst", "-sha256")):
        if not os.path.exists(path):
            raw.openssl("genpkey", "-out", path, *genpkey)
        self.path, self.algorithm, self.how = path, algorithm, sign
        self.spki = raw.openssl("pkey", "-in", path, "-pubout", "-outform", "DER")

    def sign(self, data):
        if self.how[0] == "pkeyutl":
            with open(self.path + ".in", "wb") as f:
                f.write(data)
            return raw.openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.path, "-in", self.path + ".in")
        return raw.openssl(*self.how, "-sign", self.path, data=data)


class Shop:
    """Keys and requests."""

    def __init__(self, o):
        self.o = o
        self.count = 0
        self.key = self.file_key("good", "P-256")
        self.rsa = FileKey(os.path.join(o.dir, "rsa.pem"), "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", algorithm=SHA256_RSA)
        self.n = x509_modulus(self.rsa.spki)

    def file_key(self, name, curve):
        return FileKey(os.path.join(self.o.dir, name + ".pem"), "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + curve)

    def fresh_key(self):
        self.count += 1
        return self.file_key(f"key-{self.count}", "P-256")

    def request(self, name, key=None, spki=None, subject=None, attributes=(), version=b"\x02\x01\x00", algorithm=None, signature=None, signer=None,
                change=lambda info: info):
        key = key or self.fresh_key()
        info = der(0x30, version, der(0x30, rdn(CN, name) if subject is None else subject), spki or key.spki, der(0xA0, *attributes))
        signature = (signer or key).sign(info) if signature is None else signature
        return der(0x30, change(info), algorithm or (signer or key).algorithm, der(3, b"\0", signature))


def x509_modulus(spki):
    from asn1crypto import keys
    return keys.PublicKeyInfo.load(spki)["public_key"].parsed["modulus"].native


def extensions(*parts):
    return attribute("extensions", der(0x30, *parts))


def extension(name, value, critical=False):
    return der(0x30, oid(name), der(1, b"\xff") if critical else b"", der(4, value))


def rows(shop):
    """(sentence, status or "ignored", what the log says, request for a name)"""
    request, key = shop.request, shop.key
    other = shop.fresh_key()
    p, q = (k * M + pow(65537, a, M) for M in [product(first_primes(126))] for k, a in ROCA)
    roca = RsaKey(p * q, 65537, pow(65537, -1, (p - 1) * (q - 1)))
    with open(shop.o.issuer) as f:
        issuer_spki = x509.Certificate.load(ssl.PEM_cert_to_DER_cert(f.read())).public_key.dump()
    point = key.spki[-65:]
    explicit = raw.openssl("ec", "-in", key.path, "-pubout", "-outform", "DER", "-param_enc", "explicit")
    victim = FileKey(shop.o.victim_key)
    san = [der(0x82, b"h%d.example" % i) for i in range(10000)]

    def bad_text(tag, octets):
        return der(0x31, der(0x30, oid(CN), der(tag, octets)))

    yield "a request as it should be", 200, None, lambda n: request(n)
    # proof of possession
    yield "signed by another key", 400, "proof of possession", lambda n: request(n, signer=other)
    yield "the subject changed after the signature", 400, "proof of possession", lambda n: request(n[:-1] + "x", change=lambda i: i.replace(n[:-1].encode() + b"x", n.encode()))
    yield "a signature of zeros", 400, "proof of possession", lambda n: request(n, signature=der(0x30, integer(0), integer(0)))
    yield "the CA's own key, signed by ours", 400, "proof of possession", lambda n: request(n, spki=issuer_spki, signer=other)
    yield "another device's key, signed by ours", 400, "proof of possession", lambda n: request(n, spki=victim.spki, signer=other)
    yield "another device's key, stolen", 403, "key .*another|another .*key|belongs to", lambda n: request(n, key=victim)
    yield "SHA-1", 400, "signature algorithm", lambda n: request(n, algorithm=der(0x30, oid("1.2.840.10045.4.1")), signature=raw_sha1(key))
    yield "MD5 with RSA", 400, "signature algorithm", lambda n: request(n, key=shop.rsa, algorithm=der(0x30, oid("1.2.840.113549.1.1.4"), der(5)))
    # weak keys
    yield "RSA of 1024 bits", 400, "1024 bits", lambda n: request(n, key=FileKey(os.path.join(shop.o.dir, "rsa1024.pem"), "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", algorithm=SHA256_RSA))
    yield "RSA of 8192 bits", 400, "8192 bits", lambda n: request(n, spki=rsa_spki((1 << 8191) + 1, 65537), algorithm=SHA256_RSA, signature=b"\1" * 1024)
    yield "a ROCA key", 400, "ROCA", lambda n: request(n, key=roca)
    yield "RSA with e = 1 and a signature that anyone can write", 400, "exponent", lambda n: request(n, key=RsaKey(shop.n, 1, 1))
    yield "RSA with e = 3", 400, "exponent", lambda n: request(n, spki=rsa_spki(shop.n, 3), algorithm=SHA256_RSA, signature=b"\1" * 256)
    yield "RSA with an even exponent", 400, "exponent", lambda n: request(n, spki=rsa_spki(shop.n, 65538), algorithm=SHA256_RSA, signature=b"\1" * 256)
    yield "RSA with an even modulus", 400, "even modulus", lambda n: request(n, spki=rsa_spki(shop.n + 1, 65537), algorithm=SHA256_RSA, signature=b"\1" * 256)
    yield "RSA with a small factor", 400, "factor below", lambda n: request(n, spki=rsa_spki(shop.n - shop.n % 3 + (3 if (shop.n - shop.n % 3) % 2 == 0 else 0), 65537), algorithm=SHA256_RSA, signature=b"\1" * 256)
    yield "explicit parameters of the right curve", 400, "explicit", lambda n: request(n, key=key, spki=explicit)
    yield "a point off the curve", 400, "not on the curve", lambda n: request(n, key=key, spki=ec_spki(b"\4" + b"\x11" * 64))
    yield "infinity", 400, "point form 00", lambda n: request(n, key=key, spki=ec_spki(b"\0"))
    yield "a hybrid point", 400, "point form 0[67]", lambda n: request(n, key=key, spki=ec_spki(bytes([6 + (point[-1] & 1)]) + point[1:]))
    yield "P-521", 400, "1.3.132.0.35", lambda n: request(n, key=shop.file_key("p521", "P-521"))
    yield "secp256k1", 400, "1.3.132.0.10", lambda n: request(n, key=shop.file_key("k1", "secp256k1"))
    yield "Ed448", 400, "not RSA", lambda n: request(n, key=FileKey(os.path.join(shop.o.dir, "ed448.pem"), "-algorithm", "ED448", algorithm=der(0x30, oid("1.3.101.113")), sign=("pkeyutl",)))
    yield "X25519", 400, "not RSA", lambda n: request(n, key=key, spki=der(0x30, der(0x30, oid("1.3.101.110")), der(3, b"\0" + b"\x09" * 32)))
    # what a certificate would say
    yield "CA:TRUE", 403, "CA:TRUE", lambda n: request(n, attributes=[extensions(extension(BASIC, der(0x30, der(1, b"\xff")), True))])
    yield "keyCertSign", 403, "keyCertSign", lambda n: request(n, attributes=[extensions(extension(USAGE, der(3, b"\x02\x04"), True))])
    yield "cRLSign", 403, "cRLSign", lambda n: request(n, attributes=[extensions(extension(USAGE, der(3, b"\x01\x02"), True))])
    yield "OCSPSigning", 403, "OCSPSigning", lambda n: request(n, attributes=[extensions(extension(EKU, der(0x30, oid("1.3.6.1.5.5.7.3.9"))))])
    yield "cmcRA", 403, "cmcRA", lambda n: request(n, attributes=[extensions(extension(EKU, der(0x30, oid("1.3.6.1.5.5.7.3.28"))))])
    yield "serverAuth alone", 400, "extKeyUsage|RFC 5272", lambda n: request(n, attributes=[extensions(extension(EKU, der(0x30, oid("1.3.6.1.5.5.7.3.1"))))])
    yield "an unknown critical extension", 403, "critical", lambda n: request(n, attributes=[extensions(extension("1.2.3.4", der(5), True))])
    yield "an extension twice", 400, "twice", lambda n: request(n, attributes=[extensions(*[extension(USAGE, der(3, b"\x07\x80"))] * 2)])
    yield "two extensionRequests", 400, "two extensionRequest", lambda n: request(n, attributes=[extensions(extension(USAGE, der(3, b"\x07\x80")))] * 2)
    yield "10,000 names", 413, "too large", lambda n: request(n, attributes=[extensions(extension(SAN, der(0x30, *san)))])
    yield "1,200 names", 400, "16384 octets", lambda n: request(n, attributes=[extensions(extension(SAN, der(0x30, *san[:1200])))])
    yield "101 names", 400, "more than 100", lambda n: request(n, attributes=[extensions(extension(SAN, der(0x30, *san[:101])))])
    yield "a wildcard", 403, "wildcard", lambda n: request(n, attributes=[extensions(extension(SAN, der(0x30, der(0x82, b"*.example"))))])
    yield "a host name in subjectAltName", 403, "not this device's", lambda n: request(n, attributes=[extensions(extension(SAN, der(0x30, der(0x82, b"victim.example"))))])
    yield "another device's URI in subjectAltName", 403, "not this device's", lambda n: request(n, attributes=[extensions(extension(SAN, der(0x30, der(0x86, b"urn:dev:example:victim"))))])
    yield "NUL in a dNSName", 400, "octet 00", lambda n: request(n, attributes=[extensions(extension(SAN, der(0x30, der(0x82, b"good.example\0.evil"))))])
    # texts
    yield "NUL in CN", 400, "CN", lambda n: request(n, subject=bad_text(0x0C, n.encode() + b"\0.evil"))
    yield "overlong UTF-8 in CN", 400, "UTF-?8|CN", lambda n: request(n, subject=bad_text(0x0C, n.encode() + b"\xc0\xae"))
    yield "a surrogate in CN", 400, "CN", lambda n: request(n, subject=bad_text(0x0C, n.encode() + b"\xed\xa0\x80"))
    yield "a letter that looks like another", 400, "names no device", lambda n: request(n, subject=bad_text(0x0C, "аtk".encode() + n.encode()))
    yield "text that runs backwards", 400, "names no device", lambda n: request(n, subject=bad_text(0x0C, "\u202e".encode() + n.encode()))
    yield "BMPString", 400, "string type 1e", lambda n: request(n, subject=bad_text(0x1E, n.encode("utf-16-be")))
    yield "TeletexString", 400, "string type 14", lambda n: request(n, subject=bad_text(0x14, n.encode()))
    yield "two CNs", 400, "more than one CN", lambda n: request(n, subject=rdn(CN, n) + rdn(CN, "victim"))
    yield "another device's name", 403, "device|secret|victim", lambda n: request("victim")
    yield "a name outside the secret's pattern", 403, "device|secret|pattern", lambda n: request("other-" + n)
    yield "serialNumber of another device", 400, "name two devices", lambda n: request(n, subject=rdn(CN, n) + rdn("2.5.4.5", "victim", 0x13))
    yield "an empty subject", 400, "empty subject", lambda n: request(n, subject=b"")
    # challengePassword
    yield "challengePassword without a value", 400, "no value", lambda n: request(n, attributes=[attribute("challenge")])
    yield "challengePassword of another connection", 400, "binding|challengePassword", lambda n: request(n, attributes=[attribute("challenge", der(0x13, base64.b64encode(b"\1" * 32)))])
    yield "a word as challengePassword", 400, "challengePassword", lambda n: request(n, attributes=[attribute("challenge", utf8("let me in"))])
    yield "two challengePasswords", 400, "two challengePassword", lambda n: request(n, attributes=[attribute("challenge", utf8("AAAA"))] * 2)
    yield "challengePassword of 256", 400, "256 octets", lambda n: request(n, attributes=[attribute("challenge", utf8("A" * 256))])
    yield "challengePassword as OCTET STRING", 400, "string type 04", lambda n: request(n, attributes=[attribute("challenge", der(4, b"AAAA"))])
    yield "otpChallenge", 400, "otpChallenge", lambda n: request(n, attributes=[attribute("otp", utf8("AAAA"))])
    yield "revocationChallenge", 400, "revocationChallenge", lambda n: request(n, attributes=[attribute("revocation", utf8("AAAA"))])
    yield "ChangeSubjectName", 403, "change of the subject", lambda n: request(n, attributes=[attribute("change-subject", der(0x30, der(0x30, rdn(CN, "other"))))])
    # frame
    yield "version 1", 400, "version", lambda n: request(n, version=b"\x02\x01\x01")
    yield "version in two octets", 400, "version", lambda n: request(n, version=b"\x02\x02\x00\x00")
    # By design nothing but the key is copied: asking for more is not an error, and brings nothing.
    yield "another organisation", "ignored", None, lambda n: request(n, subject=rdn(CN, n) + rdn("2.5.4.10", "Somebody Else"))
    yield "name constraints of its own", "ignored", None, lambda n: request(n, attributes=[extensions(extension("2.5.29.30", der(0x30, der(0xA0, der(0x30, der(0x82, b"x"))))))])
    yield "a CRL address of its own", "ignored", None, lambda n: request(n, attributes=[extensions(extension("2.5.29.31", der(0x30, der(0x30, der(0xA0, der(0xA0, der(0x86, b"http://evil/crl")))))))])
    yield "ocsp-nocheck", "ignored", None, lambda n: request(n, attributes=[extensions(extension("1.3.6.1.5.5.7.48.1.5", der(5)))])
    yield "an attribute that nobody knows", "ignored", None, lambda n: request(n, attributes=[attribute("1.2.3.4.5", utf8("x"))])


def product(numbers):
    out = 1
    for n in numbers:
        out *= n
    return out


def raw_sha1(key):
    return raw.openssl("dgst", "-sha1", "-sign", key.path, data=b"anything")


class Service:
    def __init__(self, o):
        self.o = o
        self.context = ssl.create_default_context(cafile=o.cacert)
        self.headers = {"Content-Type": "application/pkcs10", "Authorization": "Basic " + base64.b64encode(f"{o.user}:{o.secret}".encode()).decode()}

    def post(self, request):
        connection = http.client.HTTPSConnection("localhost", self.o.port, context=self.context, timeout=20)
        connection.request("POST", "/.well-known/est/simpleenroll", body=base64.b64encode(request), headers=self.headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def reason(self, body):
        """What the log says of the request that this refusal names."""
        rid = re.match(rb"request ([0-9a-f]+): (.*)", body)
        for _ in range(50):
            with open(self.o.log, errors="replace") as f:
                for line in f:
                    if f"rid={rid.group(1).decode()} " in line and ("event=enroll-refused" in line or "event=est-refused" in line):
                        return line.rstrip("\n")
            time.sleep(0.05)
        return "front: " + rid.group(2).decode()


def what_is_wrong(service, name, want, says, answer):
    status, body = answer
    if want in (200, "ignored"):
        if status != 200:
            return f"{status}: {service.reason(body)}"
        return certificate_fault(body, name)
    if status != want:
        return f"{status}, want {want}: {service.reason(body) if status != 200 else 'issued'}"
    reason = service.reason(body)
    return "" if re.search(says, reason) else "the reason is another: " + reason


def certificate_fault(body, name):
    """The certificate must be what the profile says, whatever was asked for."""
    done = raw.openssl("pkcs7", "-inform", "DER", "-print_certs", "-outform", "PEM", data=base64.b64decode(body)).decode()
    cert = x509.Certificate.load(ssl.PEM_cert_to_DER_cert(re.search(r"-----BEGIN.*?END CERTIFICATE-----", done, re.S).group(0)))
    got = dict(cert.subject.native)
    if got != {"common_name": name, "serial_number": name, "organization_name": "Example Fleet"}:
        return f"subject {got}"
    names = cert.subject_alt_name_value.native
    if names != [f"urn:dev:example:{name}"]:
        return f"names {names}"
    kinds = sorted(e["extn_id"].native for e in cert["tbs_certificate"]["extensions"])
    if kinds != ["authority_information_access", "authority_key_identifier", "crl_distribution_points", "extended_key_usage", "key_identifier", "key_usage",
                 "subject_alt_name"]:
        return f"extensions {kinds}"
    if cert.ca or cert.key_usage_value.native != {"digital_signature"} or cert.extended_key_usage_value.native != ["client_auth"]:
        return "usage"
    if "evil" in str(cert.crl_distribution_points_value.native):
        return "CRL address"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("port", "cacert", "user", "secret", "log", "issuer", "victim-key", "dir"):
        parser.add_argument("--" + name, required=True)
    o = parser.parse_args()
    service, shop = Service(o), Shop(o)
    bad = 0
    for i, (sentence, want, says, make) in enumerate(rows(shop)):
        name = f"atk-{i:03d}"
        wrong = what_is_wrong(service, name, want, says, service.post(make(name)))
        bad += wrong != ""
        print(("ok     " if not wrong else "NOT OK ") + f"{sentence}: {want}" + (f": {wrong}" if wrong else ""), flush=True)
    print(f"{i + 1} rows, {bad} not as they say")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
