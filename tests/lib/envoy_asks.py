#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Asks for decisions as Envoy's ext_authz filter does over HTTP, with the settings of deploy/recipes/envoy, all on one connection.

    envoy_asks.py SOCKET CERT METHOD PATH [METHOD PATH]...      a line for each: HTTP status, decision, reason, device

As its sources write it: method, host and Authorization are those of Envoy's client; path_prefix stands before the client's path and query;
content-length 0 and no body, whatever the client sends; names in lower case; the headers allowed_headers names, and x- headers of Envoy's
own. x-forwarded-client-cert is what SANITIZE_SET with cert makes: Hash, then Cert with five characters escaped. Envoy keeps the connection,
so an answer to HEAD with a body would be taken for the next one's.
"""
import hashlib
import http.client
import socket
import ssl
import sys

PREFIX = "/v1/decision"


class OverSocket(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.host)


def client_cert(path):
    with open(path, encoding="ascii") as f:
        pem = f.read()
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    return f'Hash={digest};Cert="{pem.translate(str.maketrans({c: f"%{ord(c):02X}" for c in chr(10) + " +/="}))}"'


def main():
    at, cert, *asked = sys.argv[1:]
    conn = OverSocket(at)
    conn.connect()
    first = conn.sock
    for method, path in zip(asked[::2], asked[1::2]):
        conn.putrequest(method, PREFIX + path, skip_host=True, skip_accept_encoding=True)
        for name, value in (
            ("host", "app.example.com:8443"),
            ("content-length", "0"),
            ("authorization", "Bearer of-the-application"),
            ("x-forwarded-client-cert", client_cert(cert)),
            ("x-envoy-internal", "true"),
            ("x-forwarded-for", "192.0.2.9"),
            ("x-envoy-expected-rq-timeout-ms", "200"),
        ):
            conn.putheader(name, value)
        conn.endheaders()
        answer = conn.getresponse()
        answer.read()
        print(answer.status, *(answer.headers.get(name, "-") for name in ("inkan-decision", "inkan-reason", "inkan-device")))
        assert conn.sock is first, "the connection was not kept"


if __name__ == "__main__":
    main()
