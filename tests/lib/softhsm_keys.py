#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Takes the private keys out of SoftHSM's files, as a thief of the files who has the PIN would.

    softhsm_keys.py TOKENDIR LABEL PINFILE        prints lines "NAME HEX" with the secret scalar of each EC key

For the search of secrets (secret_search.py): what must not be found has to be known. Each scalar is checked against the
public point that the token stores, so a key read wrongly is an error and not a search for nothing.

An object file is a generation number followed by attributes: type, kind, value; numbers are 8 octets, big-endian. Private
values are IV + AES-256-CBC under the token's key, which lies in its object under a key made of the PIN: SHA-256 over salt and
PIN, repeated 1500 + last octet of the salt times.
"""
import hashlib
import os
import subprocess
import sys

BOOLEAN, NUMBER, OCTETS, MAP, MECHANISMS = 1, 2, 3, 4, 5
CKA_CLASS, CKA_VALUE, CKA_KEY_TYPE = 0, 0x11, 0x100
CKO_PRIVATE_KEY, CKK_EC = 3, 3
TOKEN_LABEL, TOKEN_USER_PIN = 0x80005349, 0x8000534D  # SoftHSM's own: 0x80005348 + 1, + 5
MAGIC = b"RJR"


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        if self.at > len(self.data):
            raise ValueError("object file ends early")
        return self.data[self.at - n:self.at]

    def number(self):
        return int.from_bytes(self.take(8), "big")


def attributes(path):
    with open(path, "rb") as f:
        r = Reader(f.read())
    r.number()
    found = {}
    while r.at < len(r.data):
        kind_of, kind = r.number(), r.number()
        if kind == BOOLEAN:
            value = r.take(1) != b"\0"
        elif kind == NUMBER:
            value = r.number()
        elif kind in (OCTETS, MAP):
            value = r.take(r.number())
        elif kind == MECHANISMS:
            value = [r.number() for _ in range(r.number())]
        else:
            raise ValueError(f"{path}: attribute of kind {kind}")
        found[kind_of] = value
    return found


def decrypt(key, iv, text):
    return subprocess.run(["openssl", "enc", "-d", "-aes-256-cbc", "-K", key.hex(), "-iv", iv.hex()], input=text, check=True,
                          stdout=subprocess.PIPE).stdout


def token_key(blob, pin):
    salt, iv, text = blob[:8], blob[8:24], blob[24:]
    digest = hashlib.sha256(salt + pin).digest()
    for _ in range(1500 + salt[-1] - 1):
        digest = hashlib.sha256(digest).digest()
    plain = decrypt(digest, iv, text)
    if plain[:3] != MAGIC:
        raise ValueError("the PIN does not open the token's key")
    return plain[3:]


def public_of(scalar):
    """The uncompressed P-256 point of a scalar, by OpenSSL."""
    der = bytes.fromhex("30310201010420") + scalar.rjust(32, b"\0") + bytes.fromhex("a00a06082a8648ce3d030107")
    spki = subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], input=der, check=True,
                          stdout=subprocess.PIPE).stdout
    return spki[-65:]


def keys(token_dir, pin):
    objects = [attributes(os.path.join(token_dir, f)) for f in sorted(os.listdir(token_dir))
               if f.endswith(".object") and f != "token.object"]
    key = token_key(attributes(os.path.join(token_dir, "token.object"))[TOKEN_USER_PIN], pin)
    open_points = b"".join(v for o in objects for v in o.values() if isinstance(v, bytes))
    closed = [v for o in objects for v in o.values() if isinstance(v, bytes) and len(v) >= 32 and len(v) % 16 == 0]
    for o in objects:
        if o.get(CKA_CLASS) != CKO_PRIVATE_KEY or o.get(CKA_KEY_TYPE) != CKK_EC:
            continue
        scalar = decrypt(key, o[CKA_VALUE][:16], o[CKA_VALUE][16:])
        point = public_of(scalar)
        if point not in open_points and not any(point in attempt(key, v) for v in closed):
            raise ValueError("a scalar without its public point")
        yield scalar, key


def attempt(key, value):
    try:
        return decrypt(key, value[:16], value[16:])
    except subprocess.CalledProcessError:
        return b""


def main():
    tokens, label, pin_file = sys.argv[1:]
    with open(pin_file, "rb") as f:
        pin = f.read().strip()
    for name in os.listdir(tokens):
        here = os.path.join(tokens, name)
        if attributes(os.path.join(here, "token.object"))[TOKEN_LABEL].rstrip() != label.encode():
            continue
        for i, (scalar, key) in enumerate(keys(here, pin)):
            if i == 0:
                print(f"{label}-token-key {key.hex()}")
            print(f"{label}-key-{i} {scalar.hex()}")
        return
    sys.exit(f"softhsm_keys.py: no token {label} in {tokens}")


if __name__ == "__main__":
    main()
