#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a port that is free together with the three after it, for TCP and UDP. Each call gets others until all were given out: what a test
has chosen and not bound yet, or let go for a restart, another must not take. They are below those the kernel gives to clients."""
import fcntl
import os
import random
import socket

FIRST, LAST, EACH = 20000, 32000, 4


def is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def free_port():
    with open(os.open(f"/var/tmp/inkan-test-ports.{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        port = int(f.read() or random.randrange(FIRST, LAST, EACH))
        while True:
            port = port + EACH if port + 2 * EACH <= LAST else FIRST
            if all(is_free(port + n) for n in range(EACH)):
                break
        f.seek(0)
        f.write(f"{port}\n")
        f.truncate()
    return port


if __name__ == "__main__":
    print(free_port())
