# SPDX-License-Identifier: Apache-2.0
"""Line 11: enrollment and OCSP at ten million certificates against ten thousand.

Filling ten million takes a quarter to half an hour and 22 GB. With INKAN_BENCH_LEDGERS=DIR that is done once and kept in DIR; without
it a ledger of 100,000 stands in and the claim counts as not measured.

OCSP is asked in two ways. Answers without a nonce come from the front's cache from the second round on, which knows nothing of
the ledger; those with a nonce are looked up in the replica and signed, every one.
"""
import os
import time

import enrolllib
import ledgerlib
import ocsplib

CONNECTIONS = 32
ASKED = 10000  # different certificates


def forget(s):
    """What the kernel kept of the ledger and of the replica leaves its cache."""
    for part in ("ledger", "status"):
        for root, _, names in os.walk(os.path.join(s.dir, "state", part)):
            for name in names:
                fd = os.open(os.path.join(root, name), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)


def some_requests(s):
    """ASKED of the requests the filling left behind, evenly taken: a file of them, and one of the same with a nonce."""
    with open(os.path.join(s.dir, "requests"), "rb") as f:
        data = f.read()
    found, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at:at + 2], "big")
        found.append(data[at + 2:end])
        at = end
    asked = found[::max(1, len(found) // ASKED)][:ASKED]
    path = os.path.join(s.bench.work, f"requests-{os.path.basename(s.dir)}")
    ocsplib.write_requests(path, asked)
    ocsplib.write_requests(path + "-nonce", [ocsplib.with_nonce(r, bytes(16)) for r in asked])
    return path


class Side:
    def __init__(self, bench, s, seconds):
        self.bench, self.s, self.seconds = bench, s, seconds
        prefix = f"n{os.path.basename(s.dir)[:6]}-{time.time_ns() // 1000000:x}-"
        self.devices = enrolllib.make_devices(bench, prefix, 8000 if bench.quick else 200000)
        self.secret = enrolllib.group_secret(s, prefix)
        self.requests = some_requests(s)

    def enroll(self):
        return enrolllib.figures(enrolllib.load(self.bench, self.s.cpu, [
            "--port", str(self.s.port), *self.devices.take(2000 if self.bench.quick else 15000), *self.secret,
            "--connections", str(CONNECTIONS), "--phase", f"0:{self.seconds}"]))

    def ask(self, nonce=False):
        which = ["--requests", self.requests + "-nonce", "--nonce"] if nonce else ["--requests", self.requests]
        before = self.s.cpu()
        done = self.bench.run([self.bench.tool("ocsp_load"), "--port", str(self.s.port + 1), *which, "--connections", "16",
                               "--count", str(2 * ASKED)], core=self.bench.load_core).json()
        after = self.s.cpu()
        if done["bad"]:
            raise RuntimeError(f"OCSP: {done}")
        return {"cpu": sum(after[k] - before[k] for k in after) / done["ok"] * 1e6, "rate": done["rate"]}


def run(bench):
    whole = bool(os.environ.get("INKAN_BENCH_LEDGERS")) and not bench.quick
    large = 10000000 if whole else 100000
    seconds = 0.5 if bench.quick else 3
    with ledgerlib.filled(bench, 10000, revoked=100, every=1) as few, \
         ledgerlib.filled(bench, large, revoked=large // 100, every=max(1, large // 50000)) as many:
        sides = {"many": Side(bench, many, seconds), "few": Side(bench, few, seconds)}
        ledgerlib.warm(many)
        for side in sides.values():
            side.enroll()
            side.ask()
            side.ask(nonce=True)
        asked = bench.alternate({name: side.ask for name, side in sides.items()}, rounds=3)
        signed = bench.alternate({name: lambda side=side: side.ask(nonce=True) for name, side in sides.items()}, rounds=3)
        m = bench.alternate({name: side.enroll for name, side in sides.items()}, rounds=3)
        many.shell("stop_service")
        forget(many)
        since = time.time()
        many.shell("start_service")
        ledgerlib.wait_current(many, since, 60)
        ledgerlib.wait_ready(many)
        cold, cold_signed = sides["many"].enroll(), sides["many"].ask(nonce=True)
        filling = many.filling
    enrolled, answered, looked_up = (x.ratio("many", "few", "rate") for x in (m, asked, signed))

    def holds(ratio):
        return ratio.median >= 0.7 if whole else None

    bench.report(11, f"enrollment with {large} certificates in the ledger: rate, warm", enrolled, ">= 0.7 x", holds(enrolled), measured=m,
                 rows=[("many", m.of("many", "rate"), "1/s"), ("few", m.of("few", "rate"), "1/s"),
                       ("CPU, many", m.of("many", "cpu"), "us"), ("CPU, few", m.of("few", "cpu"), "us"),
                       ("many, cold cache, the first seconds", cold["rate"], "1/s")],
                 latency={"many": enrolllib.latencies(m, "many"), "few": enrolllib.latencies(m, "few"),
                          "many, cold": {q: cold[q] for q in ("p50", "p99", "p999")}},
                 cpu_split=enrolllib.split(m, "many"), reference="10,000 certificates",
                 note="" if whole else "Set INKAN_BENCH_LEDGERS for ten million.")
    bench.report(11, f"OCSP with {large} certificates in the replica, each answer looked up and signed: rate, warm", looked_up, ">= 0.7 x",
                 holds(looked_up), measured=signed,
                 rows=[("many", signed.of("many", "rate"), "1/s"), ("few", signed.of("few", "rate"), "1/s"),
                       ("CPU, many", signed.of("many", "cpu"), "us"), ("CPU, few", signed.of("few", "cpu"), "us"),
                       ("many, cold cache, the first seconds", cold_signed["rate"], "1/s"),
                       ("status follows the log from nothing", float(filling["follow_rate"]), "rows/s")],
                 reference="10,000 certificates", note=f"{ASKED} different certificates, asked in turn with a nonce.")
    bench.report(11, f"OCSP with {large} certificates in the replica, answers that are kept: rate, warm", answered, ">= 0.7 x",
                 holds(answered), measured=asked,
                 rows=[("many", asked.of("many", "rate"), "1/s"), ("few", asked.of("few", "rate"), "1/s"),
                       ("CPU, many", asked.of("many", "cpu"), "us"), ("CPU, few", asked.of("few", "cpu"), "us")],
                 reference="10,000 certificates", note=f"{ASKED} different certificates, asked in turn: the front's cache holds them.")
