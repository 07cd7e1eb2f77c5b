#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A service that answers a station as docs/factory.md says, and misbehaves on demand: what a real one does too seldom for a test.

    line_stub.py DIR [--quantity N] [--fault KIND:N]...

Makes DIR/ca.pem, DIR/station.pem and DIR/station.key, writes its port to DIR/port and serves one order, WO-1, until it is
killed. Each certificate it has issued is a line of DIR/issued "ID SERIAL", each one that a later key replaced a line of DIR/revoked
"ID SERIAL", each confirmed unit a line of DIR/confirmed. Keys of serverkeygen are sent in clear.

KIND, at each N-th request (of the whole run): `busy` answers 503 with Retry-After: 1; `lost` does the work and closes without
an answer; `later` answers a simpleenroll with 202; `stale` answers a confirm with challenge-stale.
"""
import argparse
import base64
import hashlib
import http.server
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading

ORDER = "WO-1"


def openssl(*args, data=b""):
    done = subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise ValueError(done.stderr.decode())
    return done.stdout


def der(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    length = bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag]) + length + body


def certs_only(cert):
    data = bytes.fromhex("06092a864886f70d010701")
    signed = der(0x30, der(2, b"\1"), der(0x31), der(0x30, data), der(0xA0, cert), der(0x31))
    return der(0x30, bytes.fromhex("06092a864886f70d010702"), der(0xA0, signed))


class Refused(Exception):
    def __init__(self, status, reason, text=""):
        super().__init__(reason)
        self.status, self.reason, self.text = status, reason, text or reason


class Order:
    def __init__(self, directory, quantity):
        self.dir, self.quantity, self.lock = directory, quantity, threading.RLock()
        self.units = {}     # id -> {"spki", "cert", "state"}
        self.tokens = {}

    def log(self, name, text):
        with open(os.path.join(self.dir, name), "a") as f:
            f.write(text + "\n")

    def reserve(self, body):
        with self.lock:
            if "request" in body:
                device = self.tokens.setdefault(body["request"], f"M2-{len(self.tokens) + 1:08d}")
            else:
                device = body["device_id"]
            if device not in self.units and len(self.units) >= self.quantity:
                raise Refused(409, "order-full", f"the order has its {self.quantity} units")
            self.units.setdefault(device, {"state": "reserved", "spki": None})
            return {"order": ORDER, "device_id": device, "state": "reserved"}

    def issue(self, csr, pem=None):
        """The certificate of the request's key, or of the public key `pem`."""
        pem = pem or openssl("req", "-inform", "DER", "-verify", "-noout", "-pubkey", data=csr)
        subject = openssl("req", "-inform", "DER", "-noout", "-subject", "-nameopt", "multiline", data=csr).decode()
        device = re.search(r"commonName *= (.*)", subject).group(1)
        if device.startswith("WRONG"):
            raise Refused(403, "device-not-in-order")
        with self.lock:
            self.reserve({"device_id": device})
            unit = self.units[device]
            if unit["spki"] == pem:
                return unit["cert"]
            if unit["state"] == "confirmed":
                raise Refused(403, "unit-confirmed")
            serial = int.from_bytes(hashlib.sha256(csr + pem).digest()[:8], "big") | 1
            with tempfile.NamedTemporaryFile() as f, tempfile.NamedTemporaryFile() as key:
                for file, content in ((f, csr), (key, pem)):
                    file.write(content)
                    file.flush()
                cert = openssl("x509", "-req", "-inform", "DER", "-in", f.name, "-CA", f"{self.dir}/ca.pem", "-CAkey", f"{self.dir}/ca.key",
                               "-force_pubkey", key.name, "-set_serial", str(serial), "-days", "1", "-outform", "DER")
            if unit["spki"]:
                self.log("revoked", f"{device} {unit['serial']:x}")
            unit.update(spki=pem, cert=cert, serial=serial, state="issued")
            self.log("issued", f"{device} {serial:x}")
            return cert

    def make_key(self, csr):
        """The two parts of RFC 7030 4.4.2; each time another key."""
        key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-outform", "DER")
        info = openssl("pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-outform", "DER", data=key)
        cert = self.issue(csr, openssl("pkey", "-inform", "DER", "-pubout", data=key))
        parts = (("application/pkcs8", info), ("application/pkcs7-mime; smime-type=certs-only", certs_only(cert)))
        return b"".join(b"--limit\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n" % (kind.encode(), base64.b64encode(data))
                        for kind, data in parts) + b"--limit--\r\n"

    def challenge(self, device):
        unit = self.units.get(device)
        if not unit or not unit["spki"]:
            raise Refused(409, "unit-not-issued")
        return f"inkan-confirm-1 {ORDER} {device} {hashlib.sha256(unit['cert']).hexdigest()} 0 00"

    def confirm(self, device, body):
        with self.lock:
            unit = self.units[device]
            if body["challenge"] != self.challenge(device):
                raise Refused(409, "challenge-wrong")
            with tempfile.TemporaryDirectory() as d:
                for name, data in (("key", unit["spki"]), ("sig", base64.b64decode(body["signature"])), ("data", body["challenge"].encode())):
                    with open(f"{d}/{name}", "wb") as f:
                        f.write(data)
                try:
                    openssl("dgst", "-sha256", "-verify", f"{d}/key", "-signature", f"{d}/sig", f"{d}/data")
                except ValueError as problem:
                    raise Refused(403, "signature-wrong") from problem
            if unit["state"] != "confirmed":
                unit["state"] = "confirmed"
                self.log("confirmed", device)
            return {"order": ORDER, "device_id": device, "state": "confirmed"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    order, faults, count, count_lock = None, [], 0, threading.Lock()

    def log_message(self, *args):
        pass

    def fault(self):
        with self.count_lock:
            Handler.count += 1
            return next((kind for kind, n in self.faults if Handler.count % n == 0), None)

    def answer(self, status, kind, body, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self, body):
        """(content type, octets) of the answer."""
        path = self.path.split("/")
        if path[-1] == "serverkeygen":
            return "multipart/mixed; boundary=limit", self.order.make_key(base64.b64decode(body))
        if path[1:3] == [".well-known", "est"]:
            return "application/pkcs7-mime", base64.b64encode(certs_only(self.order.issue(base64.b64decode(body))))
        if path[3] != ORDER:
            raise Refused(404, "unknown-order", "there is no such order")
        if path[4:5] == ["reserve"]:
            done = self.order.reserve(json.loads(body))
        elif path[-1] == "challenge":
            return "text/plain", self.order.challenge(path[5]).encode()
        elif path[-1] == "confirm":
            done = self.order.confirm(path[5], json.loads(body))
        else:
            done = {"order": ORDER, "device_id": path[5], "state": {"pack": "packed", "ship": "shipped"}[path[6]]}
        return "application/json", json.dumps(done).encode()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.fault()
        is_est = self.path.startswith("/.well-known/")
        try:
            if fault == "busy":
                self.answer(503, "text/plain", b"request 1: too many requests\n", ("Retry-After", "1"))
                return
            if fault == "later" and is_est:
                self.answer(202, "text/plain", b"request 1: captured: it is signed later\n", ("Retry-After", "1"))
                return
            if fault == "stale" and self.path.endswith("/confirm"):
                raise Refused(409, "challenge-stale")
            kind, out = self.serve(body)
        except Refused as no:
            text = f"request 1: {no.reason}: {no.text}\n" if is_est else json.dumps({"error": no.reason, "text": no.text})
            self.answer(no.status, "text/plain" if is_est else "application/json", text.encode())
            return
        if fault == "lost":
            self.close_connection = True
            return
        self.answer(200, kind, out)

    do_GET = do_POST


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("--quantity", type=int, default=1000)
    parser.add_argument("--fault", action="append", default=[])
    options = parser.parse_args()
    d = options.dir
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    openssl("req", "-x509", *new, "-keyout", f"{d}/ca.key", "-out", f"{d}/ca.pem", "-subj", "/CN=Line CA")
    for name, san in (("server", "DNS:localhost"), ("station", "DNS:issue-1")):
        openssl("req", "-x509", *new, "-keyout", f"{d}/{name}.key", "-out", f"{d}/{name}.pem", "-subj", f"/CN={name}", "-CA", f"{d}/ca.pem",
                "-CAkey", f"{d}/ca.key", "-addext", f"subjectAltName={san}", "-addext", "basicConstraints=CA:FALSE")
    Handler.order = Order(d, options.quantity)
    Handler.faults = [(kind, int(n)) for kind, n in (f.split(":") for f in options.fault)]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{d}/server.pem", f"{d}/server.key")
    context.load_verify_locations(f"{d}/ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    # The handshake belongs to the thread of the connection: one that stalls holds up nobody.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with open(f"{d}/port.new", "w") as f:
        f.write(str(server.server_address[1]))
    os.rename(f"{d}/port.new", f"{d}/port")
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
