# SPDX-License-Identifier: Apache-2.0
"""Line 17: an access decision at a million devices, beside a bare HTTP answer of the same front.

Both come over the socket for gateways of the same machine. The bare answer is a 404 that asks nobody; the decision goes to the status
process and back, for another certificate each time. Two loads: as fast as answers come (rate, CPU), and 2,000 a second (latency).
Memory is what inkan-status has above the same service without decisions. With INKAN_BENCH_LEDGERS=DIR the ledger of a million is made
once and kept there; without it one of 100,000 stands in and the claims count as not measured.
"""
import contextlib
import os
import sqlite3
import time

import ledgerlib

ASKED = 20000


def fingerprints(bench, s):
    """Evenly taken from all certificates of devices that are good."""
    path = os.path.join(bench.work, "fingerprints")
    with contextlib.closing(sqlite3.connect(f"file:{s.dir}/state/ledger/ledger.db?mode=ro", uri=True)) as db:
        count = db.execute("SELECT max(id) FROM cert").fetchone()[0]
        rows = db.execute("SELECT lower(hex(der_hash)) FROM cert WHERE id % ? = 0 AND status = 0 AND device IS NOT NULL AND kind = 3",
                          (max(1, count // ASKED),)).fetchall()
    with open(path, "w") as f:
        f.writelines(h + "\n" for h, in rows)
    return path, len(rows)


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
        path, asked = fingerprints(bench, s)
        sock = os.path.join(s.dir, "run/decision.sock")

        def load(*options):
            before = s.cpu()
            done = bench.run([bench.tool("decision_load"), "--socket", sock, "--seconds", str(seconds), *options], core=bench.load_core).json()
            after = s.cpu()
            if done["bad"]:
                raise RuntimeError(f"decisions: {done}")
            done["us"] = sum(after[k] - before.get(k, 0) for k in after) * 1e6 / done["ok"]
            return done

        decisions, bare = ["--fingerprints", path], ["--bare", "/v1/other"]
        load(*decisions)
        m = bench.alternate({"decision": lambda: load(*decisions), "bare": lambda: load(*bare)})
        paced = bench.alternate({"decision": lambda: load(*decisions, "--rate", "2000"), "bare": lambda: load(*bare, "--rate", "2000")})
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
