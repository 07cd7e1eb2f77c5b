# SPDX-License-Identifier: Apache-2.0
# wan.py LISTEN TARGET: a TCP proxy on the loopback, to be killed where a line is cut.
import selectors
import socket
import sys

listen, target = int(sys.argv[1]), int(sys.argv[2])
select = selectors.DefaultSelector()
server = socket.create_server(("127.0.0.1", listen))
select.register(server, selectors.EVENT_READ, None)


def end(a, b):
    for s in (a, b):
        try:
            select.unregister(s)
        except (KeyError, ValueError):
            pass
        s.close()


while True:
    for key, _ in select.select():
        if key.data is None:
            near, _ = server.accept()
            try:
                far = socket.create_connection(("127.0.0.1", target))
            except OSError:
                near.close()
                continue
            select.register(near, selectors.EVENT_READ, far)
            select.register(far, selectors.EVENT_READ, near)
            continue
        one, other = key.fileobj, key.data
        try:
            data = one.recv(65536)
            if data:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            end(one, other)
