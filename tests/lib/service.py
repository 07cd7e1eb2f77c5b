# SPDX-License-Identifier: Apache-2.0
"""For test programs in Python: one real service (deploy/instance.sh) in a directory of its own, and TAP."""
import base64
import http.client
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time

from ports import free_port  # noqa: F401

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def wait_until(condition, seconds, every=0.02):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(every)
    return bool(condition())


def element(data, at):
    """(tag, start of content, end) of the DER element at `at`."""
    tag, first = data[at], data[at + 1]
    at += 2
    if first < 0x80:
        length = first
    else:
        n = first & 0x7F
        length = int.from_bytes(data[at:at + n], "big")
        at += n
    return tag, at, at + length


def leaf_of(cms):
    """The one certificate of a certs-only CMS (RFC 5652 5.1)."""
    _, at, _ = element(cms, 0)            # ContentInfo
    _, _, at = element(cms, at)           # contentType
    _, at, _ = element(cms, at)           # [0]
    _, at, end = element(cms, at)         # SignedData
    while at < end:
        tag, content, stop = element(cms, at)
        if tag == 0xA0:
            _, _, first_end = element(cms, content)
            if first_end != stop:
                raise ValueError("more than one certificate in the answer")
            return cms[content:stop]
        at = stop
    raise ValueError("no certificate in the answer")


class Service:
    """`env` is added to the environment of every shell function, and so of the service."""

    def __init__(self, programs, fronts=1, env=None, init=True):
        self.dir = tempfile.mkdtemp(prefix="fault.", dir=os.environ.get("INKAN_TEST_OUT", "/var/tmp"))
        os.chmod(self.dir, 0o755)
        self.programs = programs
        self.fronts = fronts
        self.env = dict(env or {})
        self.port = free_port()
        self.log = os.path.join(self.dir, "log", "inkan.log")
        self.ledger = os.path.join(self.dir, "state", "ledger", "ledger.db")
        self.heads = os.path.join(self.dir, "marks", "audit-heads")
        if init:
            self.init()

    def init(self):
        self.shell("make_instance_dirs && write_config && start_service && init_service")
        self.root = os.path.join(self.dir, "fleet-root.pem")
        with open(self.root, "w") as f:
            f.write(self.inkan("ca", "show", "fleet-root", "--pem"))
        self.context = ssl.create_default_context(cafile=self.root)

    def shell(self, commands):
        script = f". {SOURCE}/deploy/instance.sh; dir={self.dir} port={self.port} programs={self.programs} fronts={self.fronts}; {commands}"
        # A file, not a pipe: a daemon that keeps the descriptor must not hold the caller.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(["bash", "-c", script], env=dict(os.environ, **self.env), stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=subprocess.STDOUT)
            if done.returncode != 0:
                out.seek(0)
                raise RuntimeError(f"{commands}: {out.read()[-2000:]}\n{self.log_tail()}")

    def start(self):
        self.shell("start_service")

    def stop(self):
        self.shell("stop_service")

    def log_tail(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()[-3000:]
        except OSError:
            return ""

    def log_since(self, offset):
        with open(self.log, errors="replace") as f:
            f.seek(offset)
            return f.read()

    def log_size(self):
        return os.path.getsize(self.log)

    def inkan(self, *args):
        return subprocess.run([f"{self.programs}/inkan", "--socket", f"{self.dir}/run/admin.sock", *args], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout

    def group_secret(self, pattern):
        """The Authorization header of a secret for every unit whose name fits."""
        made = json.loads(self.inkan("secret", "add", "--group", pattern, "--quota", "1000000", "--valid", "1d", "--json"))
        return "Basic " + base64.b64encode(f"{made['user']}:{made['secret']}".encode()).decode()

    def pid(self, name):
        try:
            with open(os.path.join(self.dir, "run", name + ".pid")) as f:
                return int(f.read())
        except (OSError, ValueError):
            return 0

    def connect(self, context=None, timeout=20):
        return http.client.HTTPSConnection("localhost", self.port, context=context or self.context, timeout=timeout)

    def ready(self, timeout=2):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port + 2, timeout=timeout)
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def audit_verify(self):
        """(exit status, text); with the heads kept elsewhere when there are any."""
        heads = ["--heads", self.heads] if os.path.exists(self.heads) else []
        done = subprocess.run([f"{self.programs}/inkan", "audit", "verify", "--ledger", self.ledger, *heads], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


class Tap:
    def __init__(self):
        self.n = 0
        self.bad = 0

    def check(self, ok, text, detail=""):
        self.n += 1
        self.bad += not ok
        print(("ok" if ok else "not ok"), self.n, "-", text, flush=True)
        if not ok and detail:
            self.note(str(detail)[:3000])

    def note(self, text):
        print("# " + str(text).replace("\n", "\n# "), flush=True)

    def end(self):
        print(f"1..{self.n}", flush=True)
        return 1 if self.bad else 0
