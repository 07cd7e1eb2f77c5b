# SPDX-License-Identifier: Apache-2.0
"""A TLS server that begins to do as TROUBLE says once everybody is admitted, and what inkan-gate probe makes of it.

    probe_trouble.py PROBE GW UNITS UNIT TROUBLE

GW has server.pem, other.pem (certificate and key each) and ca.pem. TROUBLE is 5xx, silence or other (another certificate than it should
show): none is a word about the unit. "polite" is no trouble: long answers in chunks, every third one the last of its connection. "refuses"
is what a probe is for: 403. Prints what the probe prints (JSON); exit as the probe's."""
import os, socket, ssl, subprocess, sys, tempfile, threading

probe, gw, units, unit, trouble = sys.argv[1:]


def context(pem):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(pem)
    return c


def hears_request(s):
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        more = s.recv(1000)
        if not more:
            return False
        got += more
    return True


def says(s, status, body="Content-Length: 0\r\n\r\n"):
    s.sendall(f"HTTP/1.1 {status}\r\n{body}".encode())


def answer(s, n):
    """False: it is the last one."""
    now = trouble if os.path.exists(began) else ""
    if now == "silence":
        threading.Event().wait()
    elif now == "5xx":
        says(s, "503 Service Unavailable")
    elif now == "refuses":
        says(s, "403 Forbidden")
    elif trouble == "polite":
        last = n % 3 == 0
        says(s, "200 OK", "Transfer-Encoding: chunked\r\n" + "Connection: close\r\n" * last + "\r\n" + 20 * ("1000\r\n" + 0x1000 * "x" + "\r\n") + "0\r\n\r\n")
        return not last
    else:
        says(s, "200 OK", "Content-Length: 2\r\n\r\nok")
    return True


def serve(raw):
    shown = "other" if trouble == "other" and os.path.exists(began) else "server"
    try:
        with context(f"{gw}/{shown}.pem").wrap_socket(raw, server_side=True) as s:
            n = 1
            while hears_request(s) and answer(s, n):
                n += 1
    except OSError:  # of TLS, too
        pass


def accept(listener):
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()


with tempfile.TemporaryDirectory() as work, socket.create_server(("127.0.0.1", 0)) as listener:
    began = os.path.join(work, "began")
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    command = [probe, "probe", "--host", "localhost", "--port", str(listener.getsockname()[1]), "--ca", f"{gw}/ca.pem",
               "--cert", f"{units}/{unit}.pem", "--key", f"{units}/{unit}.key", "--run", f"touch {began}",
               "--timeout", "1500", "--settle", "200", "--interval", "100", "--json"]
    code = subprocess.run(command, timeout=60).returncode
os._exit(code)  # with connections that wait
