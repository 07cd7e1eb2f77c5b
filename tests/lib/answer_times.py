#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long do others wait while a command runs?

    answer_times.py URL ANCHOR STATION ORDER INKAN COMMAND...

Runs the command. Meanwhile a station reserves one unit after the other in ORDER over one connection (each a durable transaction of
the core) and asks how the order stands, and INKAN (with its options) runs `status`. STATION is the path of its certificate and key
without their endings. Prints the longest of each in milliseconds as one JSON object, with how many there were; exit code of the command.
"""
import http.client
import json
import ssl
import subprocess
import sys
import time
import urllib.parse


def main():
    url, anchor, station, order, inkan = sys.argv[1:6]
    command = sys.argv[6:]
    at = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=anchor)
    context.load_cert_chain(station + ".pem", station + ".key")
    http_client = http.client.HTTPSConnection(at.hostname, at.port, context=context)
    longest = {"reserve": 0.0, "order": 0.0, "status": 0.0, "n": 0}

    def timed(name, work):
        start = time.monotonic()
        work()
        longest[name] = max(longest[name], round((time.monotonic() - start) * 1000, 1))

    def ask(method, path, body=None):
        http_client.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = http_client.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {text}")

    ask("GET", f"/v1/factory/{order}")
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while child.poll() is None:
        longest["n"] += 1
        token = f"{child.pid}-{longest['n']}"
        timed("reserve", lambda: ask("POST", f"/v1/factory/{order}/reserve", json.dumps({"request": token})))
        timed("order", lambda: ask("GET", f"/v1/factory/{order}"))
        timed("status", lambda: subprocess.run([*inkan.split(), "status"], stdout=subprocess.DEVNULL, check=True))
    print(json.dumps(longest))
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
