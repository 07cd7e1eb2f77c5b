# SPDX-License-Identifier: Apache-2.0
"""What the OCSP lines of the bench share: certificates to ask about, requests, running the load, checking what came back."""
import base64
import hashlib
import json
import os
import re
import ssl
import subprocess

import benchlib

NONCE_OID = bytes.fromhex("06092b0601050507300102")


def tlv(tag, *content):
    body = b"".join(content)
    n = len(body)
    if n < 0x80:
        return bytes([tag, n]) + body
    size = (n.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + n.to_bytes(size, "big") + body


def elements(data):
    """[(tag, whole element, content)] of a row of DER elements."""
    found, at = [], 0
    while at < len(data):
        tag, first, start = data[at], data[at + 1], at + 2
        if first >= 0x80:
            start += first & 0x7F
            first = int.from_bytes(data[at + 2:start], "big")
        found.append((tag, data[at:start + first], data[start:start + first]))
        at = start + first
    return found


class Certificate:
    """The parts of a certificate (RFC 5280 4.1) that OCSP needs."""

    def __init__(self, der):
        tbs = elements(elements(elements(der)[0][2])[0][2])
        tbs = tbs[tbs[0][0] == 0xA0:]  # without the version
        self.der = der
        self.serial = tbs[0][1]        # as an INTEGER
        self.subject = tbs[4][1]
        self.key_bits = elements(tbs[5][2])[1][2][1:]


def certificate_of(path):
    with open(path) as f:
        return Certificate(ssl.PEM_cert_to_DER_cert(f.read()))


def ocsp_request(issuer, certificate, nonce=None):
    """OCSPRequest (RFC 6960 4.1.1) with a SHA-1 CertID; a nonce ends it, so that the load can change it in place."""
    sha1 = tlv(0x30, bytes.fromhex("06052b0e03021a0500"))
    cert_id = tlv(0x30, sha1, tlv(0x04, hashlib.sha1(issuer.subject).digest()),
                  tlv(0x04, hashlib.sha1(issuer.key_bits).digest()), certificate.serial)
    request = tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, cert_id))))
    return request if nonce is None else with_nonce(request, nonce)


def with_nonce(request, nonce):
    """The same question as an OCSPRequest that has no extension yet."""
    tbs = elements(elements(request)[0][2])[0][2]
    return tlv(0x30, tlv(0x30, tbs, tlv(0xA2, tlv(0x30, tlv(0x30, NONCE_OID, tlv(0x04, tlv(0x04, nonce)))))))


def write_requests(path, requests):
    with open(path, "wb") as f:
        for r in requests:
            f.write(len(r).to_bytes(2, "big") + r)


def enroll(bench, service, prefix, count, connections=8):
    """`count` devices certified over EST: their Certificates."""
    made = json.loads(service.inkan("secret", "add", "--group", prefix + "*", "--quota", str(count), "--valid", "1d", "--json"))
    out = os.path.join(service.dir, prefix + ".certs")
    csrs = os.path.join(service.dir, prefix + ".csrs")
    with open(csrs, "w") as f:
        subprocess.run([os.path.join(bench.programs, "mkcsr"), prefix, str(count)], check=True, stdout=f)
    with open(csrs) as f:
        bench.run([os.path.join(benchlib.SOURCE, "tests/fault/enroll_load"), "--port", str(service.port), "--ca",
                   os.path.join(service.dir, "fleet-root.pem"), "--user", made["user"], "--secret", made["secret"], "--out", out,
                   "--connections", str(connections), "--tries", "20"], core=bench.load_core, stdin=f)
    with open(out) as f:
        certificates = [Certificate(bytes.fromhex(line.split()[1])) for line in f]
    if len(certificates) != count:
        raise RuntimeError(f"{len(certificates)} of {count} devices have a certificate")
    return certificates


def load(bench, port, requests, *options, path="/ocsp", seconds=2.0):
    """Runs ocsp_load on the load core: its figures. A bad answer is an error."""
    done = bench.run([bench.tool("ocsp_load"), "--port", str(port), "--requests", requests, "--path", path, "--seconds",
                      str(seconds), *options], core=bench.load_core, check=False)
    if not done.stdout:  # nobody listens there, for one
        raise RuntimeError(f"ocsp_load {' '.join(options)}: exit {done.returncode}")
    figures = done.json()
    if figures["bad"] or not figures["ok"]:
        raise RuntimeError(f"ocsp_load {' '.join(options)}: {figures}")
    return figures


def samples(path):
    """[(request, response)] that ocsp_load kept."""
    with open(path, "rb") as f:
        data = f.read()
    parts, at = [], 0
    while at < len(data):
        n = int.from_bytes(data[at:at + 2], "big")
        parts.append(data[at + 2:at + 2 + n])
        at += 2 + n
    return list(zip(parts[::2], parts[1::2]))


def check_samples(path, anchors, most=12, status="good"):
    """An OCSP client judges kept exchanges: signature, chain, nonce, the serial asked for, its status. How many it saw."""
    seen = samples(path)
    step = max(1, len(seen) // most)
    for i, (request, response) in enumerate(seen[::step]):
        names = [f"{path}.{i}.req", f"{path}.{i}.resp"]
        for name, octets in zip(names, (request, response)):
            with open(name, "wb") as f:
                f.write(octets)
        done = subprocess.run(["openssl", "ocsp", "-reqin", names[0], "-respin", names[1], "-CAfile", anchors, "-text"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        serials = re.findall(r"Serial Number: ([0-9A-F]+)", done.stdout)
        nonce = re.findall(r"OCSP Nonce:\s*\n\s*([0-9A-F]+)", done.stdout)
        if (done.returncode != 0 or "Response verify OK" not in done.stdout or f"Cert Status: {status}" not in done.stdout or
                len(serials) < 2 or serials[0] != serials[1] or (NONCE_OID in request and (len(nonce) != 2 or nonce[0] != nonce[1]))):
            raise RuntimeError(f"an answer does not hold: {done.stdout[-1500:]}")
        for name in names:
            os.unlink(name)
    if not seen:
        raise RuntimeError("no answer was kept to be checked")
    return len(seen[::step])


def base64_lines(octets):
    return "\n".join(base64.b64encode(o).decode() for o in octets) + "\n"
