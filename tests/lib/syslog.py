#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server of syslog: syslog.py DIR PORT

What comes by UDP to PORT, by TCP to PORT+1 (RFC 6587 3.4.1: the length stands before each) and to the socket DIR/log.sock is a line of
DIR/syslog.udp, DIR/syslog.tcp and DIR/syslog.unix. What breaks the framing is a line "BROKEN"."""
import os
import socket
import sys
import threading

folder, port = sys.argv[1], int(sys.argv[2])


def keep(way, line):
    with open(f"{folder}/syslog.{way}", "ab") as f:
        f.write(line + b"\n")


def datagrams(way, s):
    while True:
        keep(way, s.recv(1 << 17))


def frames(connection):
    stream = connection.makefile("rb")
    while True:
        length = b""
        while (c := stream.read(1)) not in (b" ", b""):
            length += c
        if not length:
            return
        if not length.isdigit() or length.startswith(b"0") or c == b"":
            return keep("tcp", b"BROKEN " + length)
        line = stream.read(int(length))
        keep("tcp", line if len(line) == int(length) else b"BROKEN " + line)


def connections(s):
    while True:
        threading.Thread(target=frames, args=(s.accept()[0],), daemon=True).start()


def bound(family, kind, at):
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(at)
    return s


local = f"{folder}/log.sock"
if os.path.exists(local):
    os.unlink(local)
udp = bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port))
tcp = bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port + 1))
unix = bound(socket.AF_UNIX, socket.SOCK_DGRAM, local)
os.chmod(local, 0o666)
tcp.listen()
threading.Thread(target=datagrams, args=("udp", udp), daemon=True).start()
threading.Thread(target=datagrams, args=("unix", unix), daemon=True).start()
open(f"{folder}/syslog.up", "w").close()
connections(tcp)
