# SPDX-License-Identifier: Apache-2.0
"""Line 9: a CRL of a million entries: made and signed from the sorted set, and published by a service that goes on enrolling."""
import os
import threading
import time

import enrolllib
import ledgerlib

PEAK_KIB = 64 * 1024
SERVED_S = 3.0


def cost(bench, maker, entries):
    return bench.run([bench.tool("crl_cost"), maker, str(entries)], core=bench.server_core).json()


def making(bench, entries):
    peak, digests = [], set()

    def one(maker):
        made = cost(bench, maker, entries)
        digests.add(made["tbs_sha256"])
        if maker == "inkan":
            peak.append(made["process_kib"])
        return made["cpu_ms"]

    m = bench.alternate({name: lambda name=name: one(name) for name in ("inkan", "openssl", "openssl-sorted")}, rounds=3)
    if len(digests) != 1:
        raise RuntimeError("the lists differ")
    faster = m.ratio("openssl", "inkan")
    bench.report(9, f"CRL of {entries} entries: CPU to encode and sign it from the sorted set", faster, ">= 50 x faster",
                 faster.median >= 50, reference="X509_CRL API: add, sort, sign, encode",
                 rows=[("ours", m.of("inkan"), "ms"), ("X509_CRL API, entries as they were revoked", m.of("openssl"), "ms"),
                       ("X509_CRL API, entries in the list's order already", m.of("openssl-sorted"), "ms")],
                 note="The same to-be-signed octets from all three, compared.")
    bench.report(9, f"CRL of {entries} entries: the most the process had in memory", f"{max(peak) / 1024:.1f} MiB", "<= 64 MiB",
                 max(peak) <= PEAK_KIB, note="VmHWM of the whole process, its output counted.")


def log_between(s, event, since):
    return [at for at, line in ledgerlib.log_times(s, event) if at >= since and "ca=fleet-ca" in line]


def publishing(bench, s, load, seconds):
    """Enrolls for `seconds` while one list is published; gives the seconds from the order to the list served, and the load's figures."""
    took = {}

    def publish():
        time.sleep(0.5)
        since = time.time()
        s.inkan("crl", "publish", "--issuer", "fleet-ca")
        took["s"] = log_between(s, "crl-published", since)[-1] - since

    thread = threading.Thread(target=publish)
    thread.start()
    figures = load(seconds)
    thread.join()
    return took["s"], figures


def run(bench):
    entries = 50000 if bench.quick else 1000000
    seconds = 2 if bench.quick else 8
    making(bench, entries)
    prefix = f"l{time.time_ns() // 1000000:x}-"  # a kept ledger knows those of earlier runs
    devices = enrolllib.make_devices(bench, prefix, 4000 if bench.quick else 40000)
    with ledgerlib.filled(bench, entries, revoked=entries) as s:
        secret = enrolllib.group_secret(s, prefix)
        rate = 200  # a second: a busy line, far below what would fill the core

        def load(duration):
            return enrolllib.figures(enrolllib.load(bench, s.cpu, [
                "--port", str(s.port), *devices.take(int(rate * duration)), *secret, "--connections", "32", "--phase", f"{rate}:{duration}"]))

        served = []

        def meanwhile():
            took, figures = publishing(bench, s, load, seconds)
            served.append(took)
            return figures

        m = bench.alternate({"alone": lambda: load(seconds), "while a list is published": meanwhile}, rounds=3)
        size = os.path.getsize(os.path.join(s.dir, "state/crl/fleet-ca.crl"))
    worst = max(served)
    slower = m.ratio("while a list is published", "alone", "p99")
    bench.report(9, f"CRL of {entries} entries: ledger, gate, fsync, served", f"{worst:.2f} s", "<= 3 s", worst <= SERVED_S,
                 rows=[("list", f"{size / 1e6:.1f}", "MB"), ("published", len(served), "times")],
                 note=f"The slowest of all, on the core that enrolls {rate} units a second.")
    bench.report(9, "enrollment p99 while that list is published", slower, "<= 2 x", slower.median <= 2,
                 reference="the same load alone",
                 latency={name: enrolllib.latencies(m, name) for name in ("alone", "while a list is published")})
