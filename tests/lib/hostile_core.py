#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A service that says to the command line whatever a test wants, on a socket like the core's (ca/admin.h).

    hostile_core.py SOCKET ANSWERS     serves until it is killed; ANSWERS: a JSON file,
                                       {OP: {"rows": [...]?, "progress": text?, "done": {...}} or {"error": text} or "gone"}

Texts go out as they are: an octet that is no UTF-8 is written "\\udcXX".
"""
import contextlib
import json
import os
import socket
import struct
import sys

ROWS, PROGRESS, DONE, NODE = 0x0701, 0x0702, 0x0703, 0x0705
DENIED = 3


def field(text):
    octets = text.encode("utf-8", "surrogateescape")
    return struct.pack(">I", len(octets)) + octets


def text_of(value):
    return json.dumps(value, ensure_ascii=False)


def answer(send, a):
    if "rows" in a:
        send(ROWS, field(text_of(a["rows"])))
    if "progress" in a:
        send(PROGRESS, struct.pack(">QQ", 1, 2) + field(a["progress"]))
    send(DONE, struct.pack(">BQ", DENIED if "error" in a else 0, 0) + field(a.get("error", "")) + field(text_of(a.get("done", {}))))


def serve(conn, answers):
    while packet := conn.recv(1 << 17):
        asked, rid = struct.unpack(">HQ", packet[6:16])

        def send(kind, body, rid=rid):
            conn.send(struct.pack(">IBBHQ", 16 + len(body), 1, 0, kind, rid) + body)

        if asked == NODE:
            send(NODE, field("node"))
            continue
        a = answers[packet[20:20 + struct.unpack(">I", packet[16:20])[0]].decode()]
        if a == "gone":
            return
        answer(send, a)


def main():
    with open(sys.argv[2]) as f:
        answers = json.load(f)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(sys.argv[1] + ".new")
    listener.listen()
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    while True:
        conn, _ = listener.accept()
        with conn, contextlib.suppress(ConnectionError):
            serve(conn, answers)


if __name__ == "__main__":
    main()
