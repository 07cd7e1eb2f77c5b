# SPDX-License-Identifier: Apache-2.0
"""Line 17: an access decision at a million devices, beside a bare HTTP answer of the same front.

Both come over the socket for gateways of the same machine. The bare answer is a 404 that asks nobody; the decision goes to the status
process and back, for another certificate each time. Two loads: as fast as answers come (rate, CPU), and 2,000 a second (latency).
Memory is what inkan-status has above the same service without decisions. Then the same questions of inkan-gate, which has the snapshot of
that service: asked by serial, since the certificates of a filled ledger are not signed. With INKAN_BENCH_LEDGERS=DIR the ledger of a
million is made once and kept there; without it one of 100,000 stands in and the claims count as not measured.
"""
import contextlib
import http.client
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time

import benchlib
import ledgerlib

ASKED = 20000


def units(bench, s):
    """Evenly taken from all certificates of devices that are good: files of header fields that name them by fingerprint and by serial, and how many."""
    with contextlib.closing(sqlite3.connect(f"file:{s.dir}/state/ledger/ledger.db?mode=ro", uri=True)) as db:
        count = db.execute("SELECT max(id) FROM cert").fetchone()[0]
        rows = db.execute("SELECT lower(hex(der_hash)), lower(hex(serial)) FROM cert WHERE id % ? = 0 AND status = 0 AND device IS NOT NULL AND kind = 3",
                          (max(1, count // ASKED),)).fetchall()
    ski = subprocess.run(["openssl", "x509", "-in", f"{s.dir}/fleet-ca.pem", "-noout", "-ext", "subjectKeyIdentifier"], check=True,
                         stdout=subprocess.PIPE, text=True).stdout.split()[-1].replace(":", "").lower()
    fingerprints, serials = os.path.join(bench.work, "fingerprints"), os.path.join(bench.work, "serials")
    with open(fingerprints, "w") as f:
        f.writelines(f"X-Client-Fingerprint: {h}\n" for h, _ in rows)
    with open(serials, "w") as f:
        f.writelines(f"X-Client-Issuer: {ski}\tX-Client-Serial: {n}\n" for _, n in rows)
    return fingerprints, serials, len(rows)


def table_ready(s, since):
    """Seconds from the start of the status process until decisions were made, and the log's word of the table."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        lines = [(at, line) for at, line in ledgerlib.log_times(s, "access-table") if at > since]
        if lines:
            return lines[-1][0] - since, dict(f.split("=", 1) for f in lines[-1][1].split() if "=" in f)
        time.sleep(0.1)
    raise TimeoutError("no access table")


def run(bench):
    whole = bool(os.environ.get("INKAN_BENCH_LEDGERS")) and not bench.quick
    large = 1000000 if whole else 100000
    seconds = 0.5 if bench.quick else 3.0
    with ledgerlib.filled(bench, large, revoked=large // 100, config={"decisions": "true"}) as s:
        without = restarted(bench, s, "false")
        with_table = restarted(bench, s, "true")
        s.shell("stop_service")
        since = time.time()
        s.shell("start_service")
        loading, table = table_ready(s, since)
        ledgerlib.wait_ready(s)
        path, serials, asked = units(bench, s)
        sock = os.path.join(s.dir, "run/decision.sock")

        def load(*options, sock=sock, cpu=s.cpu):
            before = cpu()
            done = bench.run([bench.tool("decision_load"), "--socket", sock, "--seconds", str(seconds), *options], core=bench.load_core).json()
            after = cpu()
            if done["bad"]:
                raise RuntimeError(f"decisions: {done}")
            done["us"] = sum(after[k] - before.get(k, 0) for k in after) * 1e6 / done["ok"]
            return done

        decisions, bare = ["--fields", path], ["--bare", "/v1/other"]
        load(*decisions)
        m = bench.alternate({"decision": lambda: load(*decisions), "bare": lambda: load(*bare)})
        paced = bench.alternate({"decision": lambda: load(*decisions, "--rate", "2000"), "bare": lambda: load(*bare, "--rate", "2000")})
        with gate(bench, s) as g:
            fetched_s, peak = g.ready(), g.memory("VmHWM")
            g.stop()
            g.start()
            loaded_s = g.ready()
            at_gate = {"sock": g.sock, "cpu": g.cpu}
            load("--fields", serials, **at_gate)
            gm = bench.alternate({"decision": lambda: load("--fields", serials, **at_gate), "bare": lambda: load(*bare, **at_gate)})
            gp = bench.alternate({"decision": lambda: load("--fields", serials, "--rate", "2000", **at_gate)})
            gate_memory = g.memory("VmRSS")
    memory = (with_table - without) / 1024
    ratio = m.ratio("decision", "bare", "us")
    p50, p99 = paced.median("decision", "p50_us"), paced.median("decision", "p99_us")
    latency = {name: {p: paced.median(name, p + "_us") for p in ("p50", "p99", "p999")} for name in ("decision", "bare")}
    note = "" if whole else "Set INKAN_BENCH_LEDGERS for a million."
    bench.report(17, f"access decision at {large} devices: CPU of all our processes against a bare HTTP answer", ratio, "<= 5 x",
                 ratio.median <= 5 if whole else None, measured=m, latency=latency, note=note,
                 rows=[("CPU per decision", m.of("decision", "us"), "us"), ("CPU per bare answer", m.of("bare", "us"), "us"),
                       ("decisions, all processes on one core", f"{m.of('decision', 'rate'):.0f}", "1/s"),
                       ("bare answers", f"{m.of('bare', 'rate'):.0f}", "1/s"), ("different certificates asked about", str(asked), "")],
                 reference="404 over the same socket")
    bench.report(17, f"access decision at {large} devices: p99 at 2,000 a second", p99 / 1000, "< 5 ms, p50 < 1 ms",
                 p99 < 5000 and p50 < 1000 if whole else None, measured=paced, latency=latency, note=note,
                 rows=[("p50", f"{p50 / 1000:.3f}", "ms"), ("p99", f"{p99 / 1000:.3f}", "ms")], reference="404 over the same socket")
    bench.report(17, f"memory of inkan-status for decisions about {large} devices", memory, "< 250 MiB", memory < 250 if whole else None,
                 measured=m, rows=[("by its own count", f"{int(table['octets']) / 1048576:.0f}", "MiB"),
                                   ("certificates", table["certificates"], ""), ("the table is there after", f"{loading:.1f}", "s")],
                 reference="the same service without decisions", note=note)
    gate_p99 = gp.median("decision", "p99_us")
    bench.report(17, f"inkan-gate with {large} devices: p99 at 2,000 a second", gate_p99 / 1000, "< 5 ms", gate_p99 < 5000 if whole else None, measured=gp,
                 latency={p: gp.median("decision", p + "_us") for p in ("p50", "p99", "p999")}, note=note,
                 rows=[("CPU per decision", gm.of("decision", "us"), "us"), ("CPU per bare answer, 404 over the same socket", gm.of("bare", "us"), "us"),
                       ("decisions, on one core", f"{gm.of('decision', 'rate'):.0f}", "1/s"), ("memory", f"{gate_memory / large:.0f}", "octets a device"),
                       ("... at most, while it took its snapshots", f"{peak / large:.0f}", "octets a device"),
                       ("decides after a start without a snapshot", f"{fetched_s:.1f}", "s"), ("... with the snapshot it kept", f"{loaded_s:.1f}", "s")])


class Gate:
    """inkan-gate on the server core, following the service, with a directory of its own."""

    def __init__(self, bench, s):
        self.bench, self.dir = bench, os.path.join(bench.work, "gate")
        self.sock = os.path.join(self.dir, "gate.sock")
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(os.path.join(self.dir, "state"), 0o755)
        key, csr, cert = (os.path.join(self.dir, "gateway." + kind) for kind in ("key", "csr", "pem"))
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=bench",
                        "-keyout", key, "-out", csr], check=True, stderr=subprocess.DEVNULL)
        s.inkan("cert", "issue", "--profile", "gateway", "--name", "bench-gateway", "--csr", csr, "--out", cert)
        with open(os.path.join(self.dir, "gate.yaml"), "w") as f:
            f.write(f"state: {self.dir}/state\nuser: nobody\nlisten: ['unix:{self.sock}']\nurls: ['https://localhost:{s.port}']\n"
                    f"ca: {s.dir}/fleet-root.pem\ncert: {cert}\nkey: {key}\n")
        for path in (self.dir, os.path.join(self.dir, "state"), key):
            shutil.chown(path, "nobody")
        os.chmod(os.path.join(self.dir, "state"), 0o700)

    def start(self):
        self.started = time.monotonic()
        with open(os.path.join(self.dir, "log"), "a") as log:
            self.child = self.bench.popen([f"{self.bench.programs}/inkan-gate", "-c", os.path.join(self.dir, "gate.yaml")], core=self.bench.server_core,
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self):
        self.child.terminate()
        self.child.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.sock)

    def ready(self):
        """Seconds from the start until it had a table."""
        while time.monotonic() - self.started < 120:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("gate", timeout=20)
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.connect(self.sock)
                connection.request("GET", "/v1/gate/status")
                if json.load(connection.getresponse())["feed"].get("certificates"):
                    return time.monotonic() - self.started
            time.sleep(0.05)
        raise TimeoutError("the gate has no table")

    def cpu(self):
        return {"inkan-gate": benchlib.process_cpu(self.child.pid)}

    def memory(self, which):
        """VmRSS or VmHWM in octets."""
        with open(f"/proc/{self.child.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith(which + ":"))


@contextlib.contextmanager
def gate(bench, s):
    g = Gate(bench, s)
    g.start()
    try:
        yield g
    finally:
        g.stop()


def restarted(bench, s, decisions):
    """PSS of inkan-status in KiB, started anew with decisions on or off and in step with the ledger; the second start, since the first one
    builds the replica."""
    s.settings["decisions"] = decisions
    for _ in range(2):
        since = time.time()
        s.shell("stop_service; write_config && start_service")
        ledgerlib.wait_current(s, since, 600)
        if decisions == "true":
            table_ready(s, since)
    ledgerlib.wait_ready(s)
    time.sleep(1)
    return s.pss()["inkan-status"]
