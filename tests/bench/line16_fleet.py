# SPDX-License-Identifier: Apache-2.0
"""Line 16: a mass action on 100,000 units, beside devices that enrol meanwhile."""
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time

import enrolllib
import ledgerlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import fleet  # noqa: E402
from admin_call import Admin  # noqa: E402

UNITS, QUICK_UNITS = 100000, 5000
RATE = 40            # first enrollments a second, open loop
STEP_S = 0.05        # between two looks at the batch
CORES = os.cpu_count() or 1
ASK_RATE = 250       # decisions a second, open loop; as many bare answers


def fill(bench, s, units):
    """As many devices again are not in the lot."""
    s.shell("stop_service")
    requests = os.path.join(s.dir, "requests")
    bench.run(["nice", bench.tool("fill_ledger"), os.path.join(s.dir, "state/ledger/ledger.db"), "--count", str(2 * units), "--lots", "2",
               "--requests", requests, "--every", "100"], timeout=3600)
    since = time.time()
    s.shell("start_service")
    ledgerlib.wait_current(s, since, 60 + units / 500)
    ledgerlib.wait_ready(s)
    os.sync()  # or the disk would still be busy with it, and what is calm would not be
    return fleet.requests_read(requests)[:units // 100]  # of units 1, 101, 201 ... of the lot


class Watch(threading.Thread):
    """Looks at a batch until it is done: how far it is, how long the core takes to say so, and whether OCSP already knows."""

    def __init__(self, s, batch, requests):
        super().__init__(daemon=True)
        self.s, self.batch, self.requests = s, batch, requests
        self.looks_ms, self.ocsp_s, self.wrong, self.durable_s, self.done_s, self.row = [], [], 0, None, None, None
        self.failed = None

    def run(self):
        try:
            self.look()
        except Exception as why:  # told in the main thread
            self.failed = why

    def look(self):
        admin = Admin(f"{self.s.dir}/run/admin.sock")
        begun, asked = time.monotonic(), 0
        while True:
            before = time.monotonic()
            self.row, _ = admin.call("batch.show", {"id": str(self.batch)})
            now = time.monotonic()
            self.looks_ms.append((now - before) * 1000)
            if self.row["done"] == self.row["count"] and self.durable_s is None:
                self.durable_s = now - begun
            # The newest unit of those with a request that is acknowledged.
            newest = (self.row["done"] - 1) // 100
            if newest > asked or (self.durable_s is not None and asked == 0):
                asked = newest
                while fleet.ocsp_says(self.s.port + 1, self.requests[min(newest, len(self.requests) - 1)]) != "revoked":
                    self.wrong += 1
                    if time.monotonic() - now > 10:
                        raise TimeoutError(f"OCSP does not know of unit {newest * 100 + 1} of batch {self.batch}")
                self.ocsp_s.append(time.monotonic() - now)
            if self.row["state"] == "done":
                self.done_s = now - begun
                return
            time.sleep(STEP_S)


def place(s, apart, others):
    """Puts the programs of `apart` on its cores, all others and ourselves on `others`. With one core everybody stays on it."""
    for pid, name in {**s.pids(), os.getpid(): ""}.items():
        for thread in os.listdir(f"/proc/{pid}/task") if CORES > 1 else ():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), apart.get(name, others))


class Decisions:
    """with: asks for decisions about units that nothing happens to, in an open loop, and beside them for answers that ask nobody.

    Who asks never waits for a core, and those who answer have one that the core and its batch are not on, as on a machine with more of them:
    what is measured is how long they keep each other. Afterwards: decision, bare."""

    def __init__(self, bench, s, fields):
        self.bench, self.s = bench, s
        self.commands = [[bench.tool("decision_load"), "--socket", f"{s.dir}/run/decision.sock", "--connections", "8", "--seconds", "3600",
                          "--rate", str(ASK_RATE), "--ahead", *what] for what in (["--fields", fields], ["--bare", "/v1/other"])]

    def __enter__(self):
        place(self.s, {"inkan-status": {self.bench.load_core}, "inkan-front": {self.bench.load_core}}, {self.bench.server_core})
        self.asking = [self.bench.popen(c, core=self.bench.load_core if CORES > 1 else None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                       for c in self.commands]
        return self

    def __exit__(self, *failure):
        for one in self.asking:
            one.terminate()
        said = [one.communicate()[0] for one in self.asking]
        place(self.s, {}, set(range(CORES)))
        if failure[0]:
            return
        found = [json.loads(text) for text in said]
        if any(f["bad"] or not f["ok"] for f in found):
            raise RuntimeError(f"decisions: {found}")
        self.decision, self.bare = [{q: f[q + "_us"] for q in ("p50", "p99", "p999")} for f in found]


def others(s):
    """A file that names units of the other lot, whose access nothing changes."""
    path = os.path.join(s.dir, "others")
    with contextlib.closing(sqlite3.connect(f"file:{s.dir}/state/ledger/ledger.db?mode=ro", uri=True)) as db, open(path, "w") as f:
        for h, in db.execute("SELECT hex(c.der_hash) FROM device d JOIN cert c ON c.device = d.id WHERE d.lot = 'lot-1' LIMIT 1000"):
            f.write(f"X-Client-Fingerprint: {h.lower()}\n")
    return path


def waits(s):
    """{program: (times it was given a core, seconds it waited for one)} so far."""
    found = {}
    for pid, name in s.pids().items():
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
                _, waited, slices = map(int, f.read().split())
            n, seconds = found.get(name, (0, 0.0))
            found[name] = n + slices, seconds + waited / 1e9
    return found


def start(s, verb):
    done = subprocess.run([f"{s.bench.programs}/inkan", "--socket", f"{s.dir}/run/admin.sock", "fleet", verb, "--select", "lot = lot-0", "--yes",
                           "--no-wait", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3):
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)["id"]


def percentile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * q))]


def run(bench):
    units = QUICK_UNITS if bench.quick else UNITS
    calm_s = 4 if bench.quick else 15
    devices = enrolllib.make_devices(bench, "during-", RATE * (600 if bench.quick else 1200))
    both = "0,1" if CORES > 1 else "0"
    with enrolllib.service(bench, births=devices, core=both, decisions="true") as s:
        requests = fill(bench, s, units)

        units_of_others = others(s)

        def enrolling(seconds):
            return enrolllib.load(bench, s.cpu, ["--port", str(s.port), "--new", *devices.take(int(RATE * seconds) + 50), "--connections", "64",
                                                 "--phase", f"{RATE}:{seconds}"], core=None)["phases"][0]

        calm = enrolling(calm_s)
        with Decisions(bench, s, units_of_others) as asked:
            time.sleep(calm_s)
        before, waited = s.cpu(), waits(s)
        quiet = Watch(s, start(s, "suspend"), requests)
        with Decisions(bench, s, units_of_others) as asked_during:
            quiet.run()
        waited = {name: ((seconds - waited[name][1]) / max(1, n - waited[name][0])) for name, (n, seconds) in waits(s).items() if name in waited}
        if quiet.failed:
            raise quiet.failed
        cpu = {name: seconds - before.get(name, 0.0) for name, seconds in s.cpu().items()}
        s.inkan("fleet", "undo", str(quiet.batch), "--yes")
        calm_again = enrolling(calm_s)
        with Decisions(bench, s, units_of_others) as asked_again:
            time.sleep(calm_s)
        # As long as the action on its own took, and some more: what it takes beside the enrollments is not known yet.
        watch = Watch(s, start(s, "revoke"), requests)
        watch.start()
        during = enrolling(max(1.0, quiet.durable_s))
        watch.join()
        if watch.failed:
            raise watch.failed
        memory = s.pss()
    calm_p99 = max(calm["p99_us"], calm_again["p99_us"])
    ratio = during["p99_us"] / calm_p99
    decision_ratio = asked_during.decision["p99"] / max(asked.decision["p99"], asked_again.decision["p99"])
    bare_ratio = asked_during.bare["p99"] / max(asked.bare["p99"], asked_again.bare["p99"])
    worst_ocsp = max(quiet.ocsp_s + watch.ocsp_s)
    rate, rate_beside = units / quiet.durable_s, units / watch.durable_s
    crl_s = max(quiet.done_s - quiet.durable_s, watch.done_s - watch.durable_s)
    bench.report(
        16, f"mass action on {units} units", f"{rate:.0f} units/s ({rate_beside:.0f} beside enrollments); their p99 {ratio:.2f} x, of decisions {decision_ratio:.2f} x",
        "OCSP <= 2 s after each acknowledgement; p99 of enrollments and decisions <= 2 x; >= 3000 units/s",
        worst_ocsp <= 2 and ratio <= 2 and decision_ratio <= 2 and rate >= 3000,
        rows=[("suspended on its own, durable", f"{quiet.durable_s:.1f}", "s"), ("done: status, fronts and lists follow", f"{quiet.done_s:.1f}", "s"),
              ("revoked beside enrollments, durable", f"{watch.durable_s:.1f}", "s"), ("done", f"{watch.done_s:.1f}", "s"),
              ("lists published after the last unit, at most", f"{crl_s:.1f}", "s"),
              ("OCSP right after an acknowledgement, at most", f"{worst_ocsp:.2f}", "s"), ("looks that came first", quiet.wrong + watch.wrong, "answers"),
              ("a call to the core meanwhile, p50 / p99 / max",
               f"{percentile(watch.looks_ms, 0.5):.1f} / {percentile(watch.looks_ms, 0.99):.1f} / {max(watch.looks_ms):.1f}", "ms"),
              ("p99 of answers of the front that ask nobody, meanwhile", f"{bare_ratio:.2f}", "x"),
              *((f"{name} waits for a core, on average", f"{waited[name] * 1e6:.0f}", "us") for name in ("inkan-status", "inkan-front")),
              ("memory of the core after it", memory.get("inkan-core", 0) / 1024, "MiB")],
        cpu_split={name: seconds / units * 1e6 for name, seconds in cpu.items() if seconds > 0.005},
        latency={"first enrollment, calm": {q: calm[q + "_us"] for q in ("p50", "p99", "p999")},
                 "first enrollment, calm again": {q: calm_again[q + "_us"] for q in ("p50", "p99", "p999")},
                 "first enrollment during the action": {q: during[q + "_us"] for q in ("p50", "p99", "p999")},
                 "decision, calm": asked.decision, "decision, calm again": asked_again.decision,
                 "decision during the action": asked_during.decision,
                 "bare answer, calm": asked.bare, "bare answer, calm again": asked_again.bare,
                 "bare answer during the action": asked_during.bare},
        note=f"The service and the load share both cores. {RATE} first enrollments a second in an open loop. CPU is for each unit, without enrollments. "
             f"{ASK_RATE} decisions a second about units of another lot, and as many 404, on the socket of the machine: "
             "while they are asked, the front and the status process have one core and everything else the other.",
        measured=None)
