#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client of inkan-admin that does not read its answer.

    slow_reader.py PORT CACERT CERT KEY CORE-PID < REQUEST
        asks, reads nothing until no more comes, stops the core, and reads what is on its way; then lets the core go on and reads the rest.
        Prints {"held": octets that had left the core unread, "whole": octets in all, "last": the last line}
    slow_reader.py --never PORT CACERT CERT KEY < REQUEST
        asks, prints a line, and never reads
"""
import array
import fcntl
import json
import os
import signal
import socket
import ssl
import sys
import termios
import time

PAUSE_S = 2.0
PATIENCE_S = 60
KEPT = 16384


def ask(port, cacert, cert, key, request):
    context = ssl.create_default_context(cafile=cacert)
    context.load_cert_chain(cert, key)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT)
    sock.connect(("localhost", int(port)))
    conn = context.wrap_socket(sock, server_hostname="localhost")
    conn.sendall(b"POST /v1/admin HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jose\r\nContent-Length: %d\r\n\r\n%s"
                 % (len(request), request))
    return conn


def waiting(conn):
    """How many octets the kernel has for us."""
    n = array.array("i", [0])
    fcntl.ioctl(conn.fileno(), termios.FIONREAD, n)
    return n[0]


def wait_until_full(conn):
    """Until what the kernel keeps for us is there and no more comes."""
    end, had = time.monotonic() + PATIENCE_S, 0
    while time.monotonic() < end and (had < KEPT // 2 or had != waiting(conn)):
        had = waiting(conn)
        time.sleep(PAUSE_S)


def read(conn, done, silence):
    """What comes until it ends with `done`, or nothing comes for so long."""
    conn.settimeout(silence)
    got = bytearray()
    try:
        while not got.endswith(done):
            piece = conn.recv(65536)
            if not piece:
                break
            got += piece
    except TimeoutError:
        pass
    return bytes(got)


def main():
    never = sys.argv[1] == "--never"
    args = sys.argv[1 + never:]
    conn = ask(*args[:4], sys.stdin.buffer.read().strip())
    if never:
        print("asked", flush=True)
        time.sleep(600)
    core = int(args[4])
    wait_until_full(conn)
    os.kill(core, signal.SIGSTOP)
    try:
        held = read(conn, b"0\r\n\r\n", PAUSE_S)
    finally:
        os.kill(core, signal.SIGCONT)
    rest = read(conn, b"\r\n0\r\n\r\n", PATIENCE_S)
    lines = (held + rest).split(b"\r\n")
    print(json.dumps({"held": len(held), "whole": len(held) + len(rest), "last": next(ln.decode() for ln in reversed(lines) if ln.startswith(b"{"))}))


if __name__ == "__main__":
    main()
