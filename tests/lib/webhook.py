#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Somebody who is told things: webhook.py DIR PORT SECRETFILE CERT KEY

Each delivery is a line of DIR/got.jsonl: {delivery, fresh, good, body}. While DIR/down exists everything is answered 503. What matches
the expression in DIR/poison is always answered 422. DIR/refused has a line with the delivery for each of both. `good`: the signature is right,
and of now by the tests' clock."""
import hashlib
import hmac
import http.server
import json
import os
import re
import ssl
import sys
import time

folder, port, secret_file, cert, key = sys.argv[1:6]
seen = set()


def content(path):
    try:
        return open(path, "rb").read().strip()
    except FileNotFoundError:
        return b""


def now():
    return time.time() + int(content(os.environ.get("INKAN_TEST_CLOCK", "")) or 0)


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        poison = content(f"{folder}/poison")
        refusal = 503 if os.path.exists(f"{folder}/down") else 422 if poison and re.search(poison, body) else 0
        if refusal:
            with open(f"{folder}/refused", "a") as f:
                f.write(self.headers["Inkan-Delivery"] + "\n")
            return self.answer(refusal)
        secret = open(secret_file, "rb").read().rstrip(b"\n")
        stamp = self.headers["Inkan-Timestamp"]
        want = "v1=" + hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        delivery = self.headers["Inkan-Delivery"]
        with open(f"{folder}/got.jsonl", "a") as f:
            f.write(json.dumps({"delivery": delivery, "fresh": delivery not in seen,
                                "good": want == self.headers["Inkan-Signature"] and abs(now() - int(stamp)) < 60,
                                "body": json.loads(body)}) + "\n")
        seen.add(delivery)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
open(f"{folder}/up", "w").close()
server.serve_forever()
