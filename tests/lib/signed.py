#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Signed requests of operators, made with nothing but openssl: what docs/people.md says is enough to write a client.

    signed.py sign --cert C --key K --node N OP [ARGS] [--file F] [--iat T] [--life S] [--header JSON] [--payload JSON]
        prints the request; --header and --payload replace members, for requests that must be refused
    signed.py mutate COUNT SEED < REQUEST
        prints so many requests, one a line, each differing from the one given in one to three places
"""
import argparse
import base64
import functools
import hashlib
import json
import os
import random
import subprocess
import sys
import time


def openssl(*args, data=b""):
    return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, check=True).stdout


def b64(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def raw_of_der(der):
    """r || s of 32 octets each from an Ecdsa-Sig-Value (P-256: every length is one octet)."""
    r_len = der[3]
    r, s = der[4:4 + r_len], der[6 + r_len:]
    return b"".join(int.from_bytes(n, "big").to_bytes(32, "big") for n in (r, s))


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@functools.lru_cache
def names(cert, key):
    """What the header says of them: x5t#S256 and kid."""
    der = openssl("x509", "-in", cert, "-outform", "DER")
    spki = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    return b64(hashlib.sha256(der).digest()), hashlib.sha256(spki).hexdigest()[:32]


def sign(cert, key, node, op, args, file=None, iat=None, life=300, header=None, payload=None):
    x5t, kid = names(cert, key)
    now = int(time.time()) if iat is None else iat
    head = {"alg": "ES256", "kid": kid, "typ": "inkan-request+jws", "x5t#S256": x5t}
    body = {"node": node, "op": op, "args": args, "nonce": os.urandom(16).hex(), "iat": now, "exp": now + life}
    if file is not None:
        body["file_sha256"] = hashlib.sha256(file).hexdigest()
    head.update(header or {})
    body.update(payload or {})
    body = {k: v for k, v in body.items() if v is not None}
    head = {k: v for k, v in head.items() if v is not None}
    text = f"{b64(canonical(head))}.{b64(canonical(body))}"
    return f"{text}.{b64(raw_of_der(openssl('dgst', '-sha256', '-sign', key, data=text.encode())))}"


def mutations(request, count, seed):
    rnd = random.Random(seed)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    seen = {request}
    while len(seen) <= count:
        text = list(request)
        for _ in range(rnd.randint(1, 3)):
            at = rnd.randrange(len(text))
            kind = rnd.randrange(4)
            if kind == 0:
                text[at] = rnd.choice(alphabet)
            elif kind == 1:
                del text[at]
            elif kind == 2:
                text.insert(at, rnd.choice(alphabet))
            else:
                to = rnd.randrange(len(text))
                text[at], text[to] = text[to], text[at]
        made = "".join(text)
        if made not in seen:
            seen.add(made)
            yield made


def main():
    p = argparse.ArgumentParser()
    sub = p.add_subparsers(dest="what", required=True)
    s = sub.add_parser("sign")
    s.add_argument("op")
    s.add_argument("args", nargs="?", default="{}")
    for name in ("cert", "key", "node"):
        s.add_argument(f"--{name}", required=True)
    s.add_argument("--file")
    s.add_argument("--iat", type=int)
    s.add_argument("--life", type=int, default=300)
    s.add_argument("--header", default="{}")
    s.add_argument("--payload", default="{}")
    m = sub.add_parser("mutate")
    m.add_argument("count", type=int)
    m.add_argument("seed", type=int)
    o = p.parse_args()
    if o.what == "mutate":
        for text in mutations(sys.stdin.read().strip(), o.count, o.seed):
            print(text)
        return
    content = None
    if o.file:
        with open(o.file, "rb") as f:
            content = f.read()
    print(sign(o.cert, o.key, o.node, o.op, json.loads(o.args), content, o.iat, o.life, json.loads(o.header), json.loads(o.payload)))


if __name__ == "__main__":
    main()
