#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A local user who means harm: local_user.py SOCKET FILE. Sends a file that is not of memory and prints the answer, then opens connections
until the core takes no more of them, prints "open", and holds them until it is ended."""
import socket
import sys
import time

import hostile_admin as admin


def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(60)
    s.connect(sys.argv[1])
    return s


one = connect()
with open(sys.argv[2], "rb") as given:
    body = admin.field(b"batch.preview_list") + admin.field(b'{"action": "suspend"}')
    admin.send(one, admin.message(admin.ADMIN_REQUEST, body), given.fileno())
print(admin.answer(one), flush=True)
held = [connect() for _ in range(80)]
time.sleep(1)
print("open", flush=True)
time.sleep(600)
