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
LOOK_S = 0.01        # between two questions about one unit: asked without a pause, they would be a load of their own
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
                    time.sleep(LOOK_S)
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


def wait_allowed(bench, s, fields):
    """The table of who may connect is read after the service says it is ready."""
    ask = [bench.tool("decision_load"), "--socket", f"{s.dir}/run/decision.sock", "--connections", "1", "--seconds", "0.5", "--rate", "50", "--fields", fields]
    until = time.monotonic() + 120
    while (found := bench.run(ask).json())["bad"] or not found["ok"]:
        if time.monotonic() > until:
            raise TimeoutError("decisions do not allow what is in service")


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


class Rounds:
    """What others have while nothing happens, and during a mass action. Each round begins with all units as they were."""

    def __init__(self, bench, s, fields, requests, devices, calm_s):
        self.bench, self.s, self.fields, self.requests, self.devices, self.calm_s = bench, s, fields, requests, devices, calm_s
        self.actions = []

    def undo(self):
        if self.actions:
            self.s.inkan("fleet", "undo", str(self.actions[-1].batch), "--yes")
            os.sync()
        self.settle()

    def settle(self):
        """Until the service is done with what came before: its logs are merged at rest."""
        until = time.monotonic() + 60
        while True:
            before = sum(self.s.cpu().values())
            time.sleep(2)
            if sum(self.s.cpu().values()) - before < 0.02:
                return
            if time.monotonic() > until:
                raise TimeoutError("the service does not come to rest")

    def begin(self):
        if fleet.ocsp_says(self.s.port + 1, self.requests[0]) != "good":
            raise RuntimeError("the units are not as they were")
        self.actions.append(Watch(self.s, start(self.s, "suspend"), self.requests))
        return self.actions[-1]

    @staticmethod
    def found(watch, **more):
        if watch.failed:
            raise watch.failed
        if watch.row["changed"] != watch.row["count"]:
            raise RuntimeError(f"not every unit was changed: {watch.row}")
        return {"durable": watch.durable_s, "done": watch.done_s, **more}

    def asked(self, work):
        with Decisions(self.bench, self.s, self.fields) as load:
            work()
        return {f"{what}-{q}": us for what, found in (("decision", load.decision), ("bare", load.bare)) for q, us in found.items()}

    def decisions_calm(self):
        self.undo()
        return self.asked(lambda: time.sleep(self.calm_s))

    def decisions_during(self):
        cpu, waited, watch = self.s.cpu(), waits(self.s), self.begin()
        asked = self.asked(watch.run)
        waiting = {f"waits-{name}": (seconds - waited[name][1]) / max(1, n - waited[name][0]) for name, (n, seconds) in waits(self.s).items()}
        used = {f"cpu-{name}": seconds - cpu[name] for name, seconds in self.s.cpu().items()}
        return self.found(watch, **asked, **waiting, **used)

    def enrolling(self, seconds):
        found = enrolllib.load(self.bench, self.s.cpu, ["--port", str(self.s.port), "--new", *self.devices.take(int(RATE * seconds) + 50),
                                                        "--connections", "64", "--phase", f"{RATE}:{seconds}"], core=None)["phases"][0]
        return {q: found[q + "_us"] for q in ("p50", "p99", "p999")}

    def enrollments_calm(self):
        self.undo()
        return self.enrolling(self.calm_s)

    def enrollments_during(self):
        """As long as the action before it took: what this one takes is not known yet."""
        seconds = max(1.0, self.actions[-1].durable_s)
        watch = self.begin()
        watch.start()
        found = self.enrolling(seconds)
        watch.join()
        return self.found(watch, **found)


def run(bench):
    units = QUICK_UNITS if bench.quick else UNITS
    calm_s = 4 if bench.quick else 15
    devices = enrolllib.make_devices(bench, "during-", RATE * (600 if bench.quick else 1200))
    with enrolllib.service(bench, births=devices, core="0,1" if CORES > 1 else "0", decisions="true") as s:
        requests = fill(bench, s, units)
        fields = others(s)
        wait_allowed(bench, s, fields)
        rounds = Rounds(bench, s, fields, requests, devices, calm_s)
        asked = bench.alternate({"calm": rounds.decisions_calm, "during": rounds.decisions_during}, rounds=3)
        enrolled = bench.alternate({"calm": rounds.enrollments_calm, "during": rounds.enrollments_during}, rounds=3)
        memory = s.pss()
    looks_ms = [ms for w in rounds.actions for ms in w.looks_ms]
    ratio, decision_ratio, bare_ratio = (m.ratio("during", "calm", q) for m, q in ((enrolled, "p99"), (asked, "decision-p99"), (asked, "bare-p99")))
    worst_ocsp = max(at for w in rounds.actions for at in w.ocsp_s)
    rate, rate_beside = (units / m.median("during", "durable") for m in (asked, enrolled))
    latency = {f"{what}, {when}": {q: m.median(when, prefix + q) for q in ("p50", "p99", "p999")}
               for what, m, prefix in (("first enrollment", enrolled, ""), ("decision", asked, "decision-"), ("bare answer", asked, "bare-"))
               for when in ("calm", "during")}
    bench.report(
        16, f"mass action on {units} units",
        f"{rate:.0f} units/s ({rate_beside:.0f} beside enrollments); p99 of enrollments {ratio:.2f} x, of decisions {decision_ratio:.2f} x",
        "OCSP <= 2 s after each acknowledgement; p99 of enrollments and decisions <= 2 x; >= 3000 units/s",
        worst_ocsp <= 2 and ratio.median <= 2 and decision_ratio.median <= 2 and rate >= 3000,
        rows=[("on its own, durable", asked.of("during", "durable"), "s"), ("done: status, fronts and lists follow", asked.of("during", "done"), "s"),
              ("beside enrollments, durable", enrolled.of("during", "durable"), "s"), ("done", enrolled.of("during", "done"), "s"),
              ("lists published after the last unit, at most", f"{max(w.done_s - w.durable_s for w in rounds.actions):.1f}", "s"),
              ("OCSP right after an acknowledgement, at most", f"{worst_ocsp:.2f}", "s"),
              ("looks that came first", sum(w.wrong for w in rounds.actions), "answers"),
              ("a call to the core meanwhile, p50 / p99 / max",
               f"{percentile(looks_ms, 0.5):.1f} / {percentile(looks_ms, 0.99):.1f} / {max(looks_ms):.1f}", "ms"),
              ("p99 of answers of the front that ask nobody, meanwhile", f"{bare_ratio:.2f}", "x"),
              *((f"{name} waits for a core, on average", f"{asked.median('during', 'waits-' + name) * 1e6:.0f}", "us") for name in ("inkan-status", "inkan-front")),
              ("memory of the core after it", memory.get("inkan-core", 0) / 1024, "MiB")],
        cpu_split={q[4:]: asked.median("during", q) / units * 1e6 for q in asked.quantities("during") if q.startswith("cpu-") and asked.median("during", q) > 0.005},
        latency=latency,
        note=f"The service and the load share both cores. {RATE} first enrollments a second in an open loop. CPU is for each unit, without enrollments. "
             f"{ASK_RATE} decisions a second about units of another lot, and as many 404, on the socket of the machine: "
             "while they are asked, the front and the status process have one core and everything else the other. Calm and a suspension in turn, "
             "the units released in between and the service come to rest; latencies are medians of the rounds. What is said of lists and OCSP is of every "
             "action, also of rounds thrown away.",
        measured=asked)
