#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A program in the place of inkan-admin that means harm: it holds the link with the core and says on it whatever a test wants.

Started by inkand as inkan-admin -c CONFIG -n admin. It takes orders from DIR/hostile.in beside the configuration, a line of JSON
each, and answers each with a line in DIR/hostile.out: {"code": number of the core's answer, "text": ...} or {"closed": true}.

    {"signed": JWS, "file": base64?, "swap": base64?}   a request; swap: what the file holds once it was handed over
    {"plain": OP, "args": {...}}     ADMIN_REQUEST, as root's socket takes it
    {"raw": [type, hex]}             any message on a new connection
    {"link": [type, hex]}            any message on the link itself
    {"give": "file"|"stream"}        hands the core a descriptor that is no socket of messages
"""
import array
import base64
import json
import os
import socket
import struct
import sys
import time

CTL_LINK, CTL_STOP, CTL_READY = 0x100, 0x105, 0x107
ADMIN_REQUEST, ADMIN_ROWS, ADMIN_DONE, ADMIN_SIGNED, ADMIN_OPEN = 0x700, 0x701, 0x703, 0x704, 0x780


def message(kind, body=b"", rid=1):
    return struct.pack(">IBBHQ", 16 + len(body), 1, 0, kind, rid) + body


def field(octets):
    return struct.pack(">I", len(octets)) + octets


def send(sock, data, fd=None):
    extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd is not None else []
    sock.sendmsg([data], extra)


def receive(sock):
    data, extra, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(4))
    fds = [array.array("i", e[2])[0] for e in extra if e[1] == socket.SCM_RIGHTS]
    return data, fds[0] if fds else None


def open_core(core):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    send(core, message(ADMIN_OPEN), theirs.fileno())
    theirs.close()
    ours.settimeout(60)
    return ours


def answer(sock):
    while True:
        try:
            data, fd = receive(sock)
        except OSError as e:
            return {"closed": str(e)}
        if fd is not None:
            os.close(fd)
        if not data:
            return {"closed": True}
        kind = struct.unpack(">H", data[6:8])[0]
        if kind == ADMIN_DONE:
            n = struct.unpack(">I", data[25:29])[0]
            return {"code": data[16], "text": data[29:29 + n].decode(errors="replace")}
        if kind == ADMIN_ROWS:
            continue
        return {"message": kind}


def obey(core, order):
    if "link" in order:
        send(core, message(order["link"][0], bytes.fromhex(order["link"][1])))
        return {"sent": True}
    if "give" in order:
        one, two = (os.memfd_create("x"), None) if order["give"] == "file" else socket.socketpair()
        send(core, message(ADMIN_OPEN), one if isinstance(one, int) else one.fileno())
        return {"sent": True}
    sock = open_core(core)
    if "plain" in order:
        send(sock, message(ADMIN_REQUEST, field(order["plain"].encode()) + field(json.dumps(order["args"]).encode())))
    elif "raw" in order:
        send(sock, message(order["raw"][0], bytes.fromhex(order["raw"][1])))
    else:
        fd = None
        if "file" in order:
            fd = os.memfd_create("file")
            os.write(fd, base64.b64decode(order["file"]))
        send(sock, message(ADMIN_SIGNED, field(order["signed"].encode())), fd)
        if "swap" in order:
            os.pwrite(fd, base64.b64decode(order["swap"]), 0)
        if fd is not None:
            os.close(fd)
    said = answer(sock)
    sock.close()
    return said


def main():
    control = socket.socket(fileno=3)
    at = os.path.dirname(sys.argv[sys.argv.index("-c") + 1])
    core = None
    control.setblocking(True)
    control.settimeout(0.05)
    done = 0
    send(control, message(CTL_READY))
    while True:
        try:
            data, fd = receive(control)
            if not data:
                return
            kind = struct.unpack(">H", data[6:8])[0]
            if kind == CTL_STOP:
                return
            if kind == CTL_LINK:
                core = socket.socket(fileno=fd)
        except TimeoutError:
            pass
        if core is None or not os.path.exists(f"{at}/hostile.in"):
            continue
        with open(f"{at}/hostile.in", encoding="ascii") as f:
            orders = [line for line in f.read().split("\n")[:-1]]
        with open(f"{at}/hostile.out", "a", encoding="utf-8") as f:
            for line in orders[done:]:
                try:
                    said = obey(core, json.loads(line))
                except OSError as e:
                    said = {"closed": str(e)}
                f.write(json.dumps(said) + "\n")
        done = len(orders)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
