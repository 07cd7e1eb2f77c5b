#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Somebody who is told things: webhook.py DIR PORT SECRETFILE CERT KEY [SYSLOGPORT]

Each delivery is a line of DIR/got.jsonl: {delivery, fresh, good, body}. While DIR/down exists everything is answered 503, and DIR/refused
counts that. `good`: the signature is right. Datagrams to SYSLOGPORT are lines of DIR/syslog."""
import hashlib
import hmac
import http.server
import json
import os
import socket
import ssl
import sys
import threading
import time

folder, port, secret_file, cert, key = sys.argv[1:6]
seen = set()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if os.path.exists(f"{folder}/down"):
            with open(f"{folder}/refused", "a") as f:
                f.write(self.headers["Inkan-Delivery"] + "\n")
            return self.answer(503)
        secret = open(secret_file, "rb").read().rstrip(b"\n")
        stamp = self.headers["Inkan-Timestamp"]
        want = "v1=" + hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        delivery = self.headers["Inkan-Delivery"]
        with open(f"{folder}/got.jsonl", "a") as f:
            f.write(json.dumps({"delivery": delivery, "fresh": delivery not in seen,
                                "good": want == self.headers["Inkan-Signature"] and abs(time.time() - int(stamp)) < 60,
                                "body": json.loads(body)}) + "\n")
        seen.add(delivery)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def syslog(at):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", at))
        while True:
            with open(f"{folder}/syslog", "ab") as f:
                f.write(s.recv(65536) + b"\n")


if len(sys.argv) > 6:
    threading.Thread(target=syslog, args=(int(sys.argv[6]),), daemon=True).start()
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
open(f"{folder}/up", "w").close()
server.serve_forever()
