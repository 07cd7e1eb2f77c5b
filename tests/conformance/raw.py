#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What curl and openssl req do not send: hand-made certification requests, bound requests, raw HTTP octets.

    raw.py csr KEY [options]           base64 of a PKCS#10 request, one line
    raw.py bound --port N ... KEY      one enrollment bound to its TLS connection; prints "STATUS CONNECTION" a request
    raw.py http --port N [--cacert F]  standard input as one connection's octets; prints everything that came back

The standard library and the openssl program only.
"""
import argparse
import base64
import re
import socket
import ssl
import subprocess
import sys

OIDS = {
    "challenge": "1.2.840.113549.1.9.7",
    "otp": "1.2.840.113549.1.9.16.2.56",
    "revocation": "1.2.840.113549.1.9.16.2.57",
    "linking": "1.2.840.113549.1.9.16.2.58",
    "extensions": "1.2.840.113549.1.9.14",
    "change-subject": "1.3.6.1.5.5.7.7.36",
}
HASHES = {"sha256": "1.2.840.10045.4.3.2", "sha1": "1.2.840.10045.4.1"}
NO_EXTENDED_MASTER_SECRET = 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET, which Python gives no name


# ---- DER ----

def der(tag, *parts):
    content = b"".join(parts)
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def oid(text):
    arcs = [int(a) for a in text.split(".")]
    out = b""
    for arc in [arcs[0] * 40 + arcs[1]] + arcs[2:]:
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | arc & 0x7F)
        out += bytes(reversed(octets))
    return der(6, out)


def utf8(text):
    return der(0x0C, text.encode())


def attribute(name, *values):
    return der(0x30, oid(OIDS.get(name, name)), der(0x31, *values))


def rdn(name, text, tag=0x0C):
    return der(0x31, der(0x30, oid(name), der(tag, text.encode())))


def openssl(*args, data=None):
    return subprocess.run(("openssl",) + args, input=data, check=True, capture_output=True).stdout


def csr(key, o, binding=None):
    """DER of a request signed with `key`; `o` are the options of add_csr_options."""
    subject = b""
    if o.cn is not None:
        subject += rdn("2.5.4.3", o.cn)
    if o.serial_number is not None:
        subject += rdn("2.5.4.5", o.serial_number, 0x13)
    if o.organization is not None:
        subject += rdn("2.5.4.10", o.organization)
    attributes = b""
    for name in o.bind_in.split("+") if binding is not None else ():
        attributes += attribute(name, der(0x13, base64.b64encode(binding)))
    for name, text in o.attribute or ():
        attributes += attribute(name, utf8(text)) if text else attribute(name)
    if o.change_subject:
        attributes += attribute("change-subject", der(0x30, der(0x30, rdn("2.5.4.3", "other"))))
    extensions = b""
    for name, critical, value in o.extension or ():
        extensions += der(0x30, oid(name), der(1, b"\xff") if critical == "critical" else b"", der(4, bytes.fromhex(value)))
    if extensions:
        attributes += attribute("extensions", der(0x30, extensions))
    info = der(0x30, der(2, bytes([o.version])), der(0x30, subject),
               openssl("pkey", "-in", key, "-pubout", "-outform", "DER"), der(0xA0, attributes))
    signature = openssl("dgst", "-" + o.hash, "-sign", key, data=info)
    if o.bad_signature:
        info = info.replace(b"\x0c" + bytes([len(o.cn)]) + o.cn.encode(), b"\x0c" + bytes([len(o.cn)]) + o.cn[::-1].encode())
    return der(0x30, info, der(0x30, oid(HASHES[o.hash])), der(3, b"\0", signature))


def add_csr_options(parser):
    parser.add_argument("key")
    parser.add_argument("--cn")
    parser.add_argument("--serial-number")
    parser.add_argument("--organization")
    parser.add_argument("--attribute", nargs=2, action="append", metavar=("NAME", "TEXT"), help="empty TEXT: no value")
    parser.add_argument("--extension", nargs=3, action="append", metavar=("OID", "CRITICAL", "HEX"))
    parser.add_argument("--change-subject", action="store_true")
    parser.add_argument("--bad-signature", action="store_true")
    parser.add_argument("--hash", default="sha256", choices=HASHES)
    parser.add_argument("--version", type=int, default=0)
    parser.set_defaults(bind_in="challenge")


# ---- connections ----

class Tls:
    """A connection of Python's own TLS: TLS 1.2 with its tls-unique, or 1.3 without a binding."""

    def __init__(self, o, version):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(o.cacert)
        context.minimum_version = context.maximum_version = version
        if getattr(o, "no_ems", False):
            context.options |= NO_EXTENDED_MASTER_SECRET
        if o.cert:
            context.load_cert_chain(o.cert, o.cert_key)
        self.s = context.wrap_socket(socket.create_connection(("localhost", o.port), 10), server_hostname="localhost")
        self.binding = self.s.get_channel_binding("tls-unique") if version == ssl.TLSVersion.TLSv1_2 else None

    def send(self, octets):
        self.s.sendall(octets)

    def recv(self):
        try:
            return self.s.recv(65536)
        except (ssl.SSLError, OSError):
            return b""


class Exporter:
    """A connection of s_client, which exports keying material: EXPORTER-Channel-Binding (RFC 9266)."""

    def __init__(self, o, version):
        args = ["openssl", "s_client", "-connect", f"localhost:{o.port}", "-CAfile", o.cacert, "-ign_eof",
                "-tls1_3" if version == ssl.TLSVersion.TLSv1_3 else "-tls1_2",
                "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"]
        if o.cert:
            args += ["-cert", o.cert, "-key", o.cert_key]
        self.p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        text = b""
        while not (found := re.search(rb"Keying material: ([0-9A-F]{64})\n", text)):
            got = self.p.stdout.read1(65536)
            if not got:
                sys.exit("s_client ended: " + text.decode(errors="replace"))
            text += got
        self.binding = bytes.fromhex(found.group(1).decode())

    def send(self, octets):
        self.p.stdin.write(octets)
        self.p.stdin.flush()

    def recv(self):
        return self.p.stdout.read1(65536)


def answer(connection):
    """(status, value of Connection) of the next answer; (0, "closed") when none comes."""
    text = b""
    while not (found := re.search(rb"HTTP/1\.1 (\d+) .*?\r\n\r\n", text, re.S)):
        got = connection.recv()
        if not got:
            return 0, "closed"
        text += got
    head = found.group(0).decode()
    length = re.search(r"(?i)\ncontent-length: (\d+)", head)
    left = int(length.group(1)) - (len(text) - found.end()) if length else 0
    while left > 0 and (got := connection.recv()):
        left -= len(got)
    kept = re.search(r"(?i)\nconnection: (\S+)", head)
    return int(found.group(1)), kept.group(1) if kept else "-"


def bound(o):
    version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[o.tls]
    connection = (Exporter if o.give == "exporter" else Tls)(o, version)
    if o.give in ("exporter", "tls-unique"):
        value = connection.binding
    elif o.give == "stale":
        value = Tls(o, ssl.TLSVersion.TLSv1_2).binding
    else:
        value = bytes.fromhex(o.give)
    for _ in range(o.times):
        body = base64.b64encode(csr(o.key, o, value))
        try:
            connection.send(b"POST /.well-known/est/%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n"
                            b"Content-Length: %d\r\n\r\n%s" % (o.operation.encode(), len(body), body))
        except OSError:
            pass  # closed already: the answer says so
        status, kept = answer(connection)
        print(status, kept)
        if status == 0:
            break


def http(o):
    if o.cacert:
        connection = Tls(o, ssl.TLSVersion.TLSv1_3)
    else:
        connection = socket.create_connection(("localhost", o.port), 10)
    plain = connection.s if o.cacert else connection
    plain.settimeout(30) # for the first octet
    if o.cacert:
        connection.send(sys.stdin.buffer.read())
        recv = connection.recv
    else:
        connection.sendall(sys.stdin.buffer.read())

        def recv():
            try:
                return connection.recv(65536)
            except OSError:
                return b""
    while got := recv():
        sys.stdout.buffer.write(got)
        plain.settimeout(o.wait)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("csr")
    add_csr_options(one)
    one = commands.add_parser("bound")
    add_csr_options(one)
    one.add_argument("--give", required=True, help="tls-unique, exporter, stale (another connection's), or hexadecimal octets")
    one.add_argument("--bind-in", default="challenge", help="challenge, linking, or several joined by +")
    one.add_argument("--tls", default="1.3", choices=("1.2", "1.3"))
    one.add_argument("--operation", default="simpleenroll")
    one.add_argument("--times", type=int, default=1, help="requests on the one connection")
    one.add_argument("--no-ems", action="store_true", help="TLS 1.2 without the extended master secret")
    two = commands.add_parser("http")
    two.add_argument("--wait", type=float, default=3, help="seconds without another octet after which reading ends")
    for p in (one, two):
        p.add_argument("--port", type=int, required=True)
        p.add_argument("--cacert")
        p.add_argument("--cert")
        p.add_argument("--cert-key")
    o = parser.parse_args()
    if o.command == "csr":
        print(base64.b64encode(csr(o.key, o)).decode())
    elif o.command == "bound":
        bound(o)
    else:
        http(o)


if __name__ == "__main__":
    main()
