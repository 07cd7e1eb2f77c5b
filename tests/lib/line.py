# SPDX-License-Identifier: Apache-2.0
"""A factory line for test programs: work orders, stations, the network between, and records read without the service."""
import base64
import hashlib
import json
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


# -- work orders and stations

def utc(t):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))


def encode(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def sign_order(payload, directory):
    """A flattened JWS (RFC 7515 7.2.2) over the canonical payload, made with openssl alone: what another system would send."""
    spki = openssl("pkey", "-in", f"{directory}/order-signer.key", "-pubout", "-outform", "DER")
    header = {"alg": "ES256", "kid": hashlib.sha256(spki).hexdigest()[:32], "typ": "inkan-work-order"}
    parts = [encode(json.dumps(part, sort_keys=True, separators=(",", ":")).encode()) for part in (header, payload)]
    der = openssl("dgst", "-sha256", "-sign", f"{directory}/order-signer.key", data=".".join(parts).encode())
    n = der[3]
    r, s = der[4:4 + n], der[6 + n:]
    raw = b"".join(i.lstrip(b"\0").rjust(32, b"\0") for i in (r, s))
    return json.dumps({"payload": parts[1], "protected": parts[0], "signature": encode(raw)})


def open_order(inkan, directory, order, quantity, stations, **members):
    """Creates, signs and opens a work order with a range of numbers "PREFIX00000001" on; inkan(*args) runs the administration tool."""
    payload = {"order": order, "domain": "example", "product": "meter", "quantity": quantity, "profile": "idevid", "key_mode": "device",
               "device_ids": {"range": {"prefix": order + "-", "first": 1, "digits": 8}}, "stations": stations,
               "not_before": utc(time.time() - 60), "not_after": utc(time.time() + 86400), "rekeys": 0, "rework": 0,
               "orphan_after_s": 3600, **members}
    path = f"{directory}/{order}"
    with open(path + ".jws", "w") as f:
        f.write(sign_order(payload, directory))
    inkan("order", "open", path + ".jws")


def add_station(inkan, directory, name, roles, line="L1"):
    """Key and certificate of a station, as the options of inkan-station."""
    key, csr, cert = (f"{directory}/{name}.{kind}" for kind in ("key", "csr", "pem"))
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", csr)
    inkan("station", "add", name, "--line", line, "--role", roles, "--csr", csr, "--out", cert)
    return ["--cert", cert, "--key", key]


class Station(threading.Thread):
    """One inkan-station, started again whenever it was killed, until it says by itself that it has done. `code` is its exit then."""

    def __init__(self, command, log):
        super().__init__(daemon=True)
        self.command, self.log = command, log
        self.child = None
        self.code = None
        self.starts = 0
        self.summary = {}

    def run(self):
        while self.code is None:
            with open(self.log, "ab") as log:
                self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
            self.starts += 1
            out = self.child.stdout.read()
            code = self.child.wait()
            self.child.stdout.close()
            if code >= 0:
                self.summary = json.loads(out.splitlines()[-1]) if out else {}
                self.code = code

    def kill(self):
        child = self.child
        if child and self.code is None:
            child.kill()


class Journal:
    """The units of a station between two steps, from its journal, read on as it grows."""

    def __init__(self, path):
        self.path, self.at = path, 0
        self.issued, self.between = [], set()   # issued: (unit, serial, certificate) of every certificate it was given

    def look(self):
        """How many units are between issue and confirm."""
        try:
            with open(self.path, "rb") as f:
                f.seek(self.at)
                for line in f:
                    if not line.endswith(b"\n"):
                        break
                    self.at += len(line)
                    self.take(line.decode().split())
        except OSError:
            pass
        return len(self.between)

    def take(self, words):
        if words[0] == "issue":
            self.issued.append((words[1], words[2], words[3]))
            self.between.add(words[1])
        elif words[0] in ("confirm", "fail", "again"):
            self.between.discard(words[1])


# -- the network between

class Proxy(threading.Thread):
    """Hands octets on between a port of its own and the service, and fails as networks do."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.pairs = {}         # socket -> its other side
        self.lock = threading.Lock()
        self.down_until = 0

    def run(self):
        while True:
            with self.lock:
                watched = [self.listener, *self.pairs]
            ready, _, _ = select.select(watched, [], [], 0.05)
            for s in ready:
                if s is self.listener:
                    self.accept()
                else:
                    self.hand_on(s)

    def accept(self):
        client = self.listener.accept()[0]
        if time.monotonic() < self.down_until:
            self.reset(client)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=2)
        except OSError:
            self.reset(client)
            return
        with self.lock:
            self.pairs[client], self.pairs[server] = server, client

    def hand_on(self, s):
        with self.lock:
            other = self.pairs.get(s)
        if not other:
            return
        try:
            data = s.recv(65536)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        self.drop(s)

    def drop(self, s):
        with self.lock:
            other = self.pairs.pop(s, None)
            self.pairs.pop(other, None)
        for one in (s, other):
            if one:
                self.reset(one)

    @staticmethod
    def reset(s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()

    def cut(self, seconds=0.0):
        """Resets every connection; for so long none is let in."""
        self.down_until = time.monotonic() + seconds
        with self.lock:
            all_of_them = list(self.pairs)
        # In the thread of select() they would be closed under it: shut down, it sees their end and drops them.
        for s in all_of_them:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def mend(self):
        self.down_until = 0

    def cut_one(self):
        with self.lock:
            one = random.choice(list(self.pairs) or [None])
        if one:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


# -- the closing

def check_equations(tap, counts):
    tap.check(counts["reserved"] == counts["issued"] + counts["unused"], "reserved = issued + unused", counts)
    tap.check(counts["issued"] == counts["confirmed"] + counts["void"] + counts["orphan"], "issued = confirmed + void + orphan", counts)
    tap.check(counts["confirmed"] == counts["shipped"] + counts["stock"] + counts["scrapped"], "confirmed = shipped + stock + scrapped", counts)


# -- records, read with openssl alone

def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def der_integer(octets):
    octets = octets.lstrip(b"\0") or b"\0"
    octets = b"\0" + octets if octets[0] & 0x80 else octets
    return bytes([2, len(octets)]) + octets


def read_record(path, certificate, directory):
    """The payload of a flattened JWS (ES256) when the key of that certificate signed it; raises otherwise."""
    with open(path) as f:
        jws = json.load(f)
    if json.loads(decode(jws["protected"]))["alg"] != "ES256":
        raise ValueError("not ES256")
    raw = decode(jws["signature"])
    body = der_integer(raw[:32]) + der_integer(raw[32:])
    with open(f"{directory}/record.sig", "wb") as f:
        f.write(bytes([0x30, len(body)]) + body)
    with open(f"{directory}/record.pub", "wb") as f:
        f.write(openssl("x509", "-in", certificate, "-noout", "-pubkey"))
    openssl("dgst", "-sha256", "-verify", f"{directory}/record.pub", "-signature", f"{directory}/record.sig",
            data=f"{jws['protected']}.{jws['payload']}".encode())
    return json.loads(decode(jws["payload"]))
