#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One call over the administration socket (ca/admin.h), as it stands on the wire: what the command line would not send.

    admin_call.py SOCKET OP ARGS-AS-JSON       prints the result; exit 1 and the reason when it is refused
"""
import json
import socket
import struct
import sys

REQUEST, ROWS, PROGRESS, DONE = 0x0700, 0x0701, 0x0702, 0x0703
CODES = ["ok", "invalid", "unauthenticated", "denied", "not found", "conflict", "pending", "busy", "token", "store", "io", "nomem"]


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = CODES[code] if code < len(CODES) else str(code)


def octets(value):
    return struct.pack(">I", len(value)) + value


class Admin:
    """A connection; call() gives (result, rows)."""

    def __init__(self, path, timeout=60):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.next_id = 1

    def close(self):
        self.sock.close()

    def call(self, op, args=None):
        body = octets(op.encode()) + octets(json.dumps(args or {}).encode())
        self.sock.send(struct.pack(">IBBHQ", 16 + len(body), 1, 0, REQUEST, self.next_id) + body)
        self.next_id += 1
        rows = []
        while True:
            packet = self.sock.recv(1 << 17)
            if not packet:
                raise ConnectionError("the service closed the connection")
            kind = struct.unpack(">H", packet[6:8])[0]
            if kind == ROWS:
                rows += json.loads(packet[20:])
            elif kind == DONE:
                code, length = packet[16], struct.unpack(">I", packet[25:29])[0]
                text = packet[29:29 + length].decode()
                if code:
                    raise Refused(code, text)
                return json.loads(packet[33 + length:] or b"{}"), rows


def main():
    try:
        result, rows = Admin(sys.argv[1]).call(sys.argv[2], json.loads(sys.argv[3]))
    except Refused as why:
        print(f"{why.code}: {why}")
        return 1
    print(json.dumps(rows or result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
