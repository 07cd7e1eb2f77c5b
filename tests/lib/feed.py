#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A reader of the revocation feed, written from docs/access.md alone: verifies every signature, keeps the state, finds gaps and wrong order.

    feed.py SOCKET ROOT.pem snapshot             prints {"seq", "count", "lines": {"n serial": line}}
    feed.py SOCKET ROOT.pem follow FILE SECONDS  keeps the same in FILE, through every end of the service; starts from FILE when it is there
    feed.py SOCKET ROOT.pem changes AFTER WAIT   prints one verified payload, or the HTTP status
"""
import base64, hashlib, http.client, json, os, socket, sys, time

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

DOCUMENT_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")


class Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def b64url(text):
    assert "=" not in text and "+" not in text and "/" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify(jws, typ, root):
    """The payload of a JWS whose signer is certified, under this root and for the feed alone."""
    header64, payload64, signature64 = jws.split(".")
    header = json.loads(b64url(header64))
    assert sorted(header) == ["alg", "typ", "x5c"] and header["typ"] == typ and header["alg"] == "ES256", header
    chain = [x509.load_der_x509_certificate(base64.b64decode(c)) for c in header["x5c"]] + [root]
    for cert, above in zip(chain, chain[1:]):
        assert cert.issuer == above.subject
        above.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(cert.signature_hash_algorithm))
    assert list(chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [DOCUMENT_SIGNING]
    signature = b64url(signature64)
    assert len(signature) == 64
    chain[0].public_key().verify(
        encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")),
        (header64 + "." + payload64).encode(), ec.ECDSA(hashes.SHA256()))
    return json.loads(b64url(payload64))


def key_of(line):
    n, serial = line.split("\t")[:2]
    return n + " " + serial


class Feed:
    def __init__(self, path, root):
        self.path, self.root = path, root
        self.ledger, self.seq, self.time, self.lines = None, None, 0, {}
        self.snapshots = self.answers = self.rows = self.gone = 0

    def get(self, target, headers={}):
        c = Local(self.path)
        try:
            c.request("GET", target, headers=headers)
            r = c.getresponse()
            return r.status, r.read(), r.headers
        finally:
            c.close()

    def snapshot(self):
        status, body, headers = self.get("/v1/feed/snapshot")
        if status != 200:
            return status
        head, rest = body.split(b"\n", 1)
        p = verify(head.decode(), "inkan-snapshot+jws", self.root)
        assert hashlib.sha256(rest).hexdigest() == p["sha256"]
        lines = rest.decode().split("\n")
        assert lines.pop() == "" and len(lines) == p["count"]
        order = [(int(l.split("\t")[0]), int(l.split("\t")[1], 16)) for l in lines]
        assert order == sorted(set(order)), "not sorted, or one twice"
        issuers = {i["n"]: i for i in p["issuers"]}
        for i in issuers.values():
            cert = x509.load_der_x509_certificate(base64.b64decode(i["cert"]))
            ski = cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
            assert ski == i["ski"], i
        assert all(n in issuers for n, _ in order)
        assert self.get("/v1/feed/snapshot", {"If-None-Match": headers["ETag"]})[0] in (200, 304, 503)
        self.ledger, self.seq, self.time = p["ledger"], p["seq"], p["time"]
        self.lines = {key_of(l): l for l in lines}
        self.snapshots += 1
        return 200

    def changes(self, wait):
        status, body, _ = self.get("/v1/feed/changes?after=%d&wait=%d" % (self.seq, wait))
        if status != 200:
            return status
        p = verify(body.decode(), "inkan-changes+jws", self.root)
        assert p["ledger"] == self.ledger and p["after"] == self.seq, (p["after"], self.seq)
        last = self.seq
        for seq, line in p["rows"]:
            assert self.seq < seq <= p["seq"] and seq >= last, ("wrong order", self.seq, last, seq, p["seq"])
            last = seq
            assert len(line.split("\t")) == 11, line
            self.lines[key_of(line)] = line
        assert p["seq"] >= self.seq
        self.seq, self.time = p["seq"], p["time"]
        self.answers += 1
        self.rows += len(p["rows"])
        return 200

    def follow(self, seconds, keep):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                status = self.changes(2) if self.seq is not None else self.snapshot()
                if status == 410:
                    self.gone += 1
                    self.snapshot()
                elif status != 200:
                    time.sleep(0.1)
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
            keep(self)

    def state(self):
        return {"ledger": self.ledger, "seq": self.seq, "count": len(self.lines), "snapshots": self.snapshots, "gone": self.gone,
                "answers": self.answers, "rows": self.rows, "lines": self.lines}


def main():
    path, root, verb = sys.argv[1:4]
    feed = Feed(path, x509.load_pem_x509_certificate(open(root, "rb").read()))
    if verb == "snapshot":
        assert feed.snapshot() == 200
        print(json.dumps(feed.state(), sort_keys=True))
    elif verb == "changes":
        status, body, _ = feed.get("/v1/feed/changes?after=%s&wait=%s" % tuple(sys.argv[4:6]))
        print(json.dumps(verify(body.decode(), "inkan-changes+jws", feed.root)) if status == 200 else status)
    else:
        file, seconds = sys.argv[4], float(sys.argv[5])
        if os.path.exists(file):
            kept = json.load(open(file))
            feed.ledger, feed.seq, feed.lines = kept["ledger"], kept["seq"], kept["lines"]

        def keep(f):
            with open(file + ".new", "w") as out:
                json.dump(f.state(), out, sort_keys=True)
            os.replace(file + ".new", file)

        feed.follow(seconds, keep)


main()
