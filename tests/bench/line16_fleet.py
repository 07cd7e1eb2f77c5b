# SPDX-License-Identifier: Apache-2.0
"""Line 16: a mass action on 100,000 units, beside devices that enrol meanwhile."""
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time

import benchlib
import enrolllib
import ledgerlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import fleet  # noqa: E402
from admin_call import Admin  # noqa: E402

UNITS, QUICK_UNITS = 100000, 10000
RATE = 40            # first enrollments a second, open loop
STEP_S = 0.05        # between two looks at the batch
LOOK_S = 0.01        # between two questions about one unit: asked without a pause, they would be a load of their own
CORES = os.cpu_count() or 1
ASK_RATE = 250       # decisions a second, open loop; as many bare answers
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


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
    return fleet.requests_read(requests)[:units // 100]  # of units 1, 101, 201 ... of the lot


class Watch:
    """Looks at a batch until it is done: how far it is, how long the core takes to say so, and whether OCSP already knows."""

    def __init__(self, s, batch, requests):
        self.s, self.batch, self.requests = s, batch, requests
        self.looks_ms, self.ocsp_s, self.wrong, self.durable_s, self.done_s, self.row = [], [], 0, None, None, None

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
                          "--rate", str(ASK_RATE), "--ahead", "--samples", *what] for what in (["--fields", fields], ["--bare", "/v1/other"])]

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
            raise RuntimeError(f"decisions: {[(f['ok'], f['bad']) for f in found]} right and wrong")
        self.decision, self.bare = found


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


def start(s, verb, *options):
    done = subprocess.run([f"{s.bench.programs}/inkan", "--socket", f"{s.dir}/run/admin.sock", "fleet", verb, "--select", "lot = lot-0", "--yes",
                           "--no-wait", "--json", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3):
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)["id"]


def percentile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * q))]


class Actions:
    """Mass actions on the lot, one after the other; each begins with all units as they were."""

    def __init__(self, bench, s, requests):
        self.bench, self.s, self.requests = bench, s, requests
        self.admin = Admin(f"{s.dir}/run/admin.sock")
        self.watches, self.newest = [], None

    def call(self, op, **args):
        return self.admin.call(op, {"id": str(self.newest), **args})[0]

    def wait(self, *states):
        until = time.monotonic() + 300
        while (row := self.call("batch.show"))["state"] not in states:
            if time.monotonic() > until:
                raise TimeoutError(f"not {' or '.join(states)}: {row}")
            time.sleep(STEP_S)
        return row

    def check(self, row):
        if row["changed"] != row["count"]:
            raise RuntimeError(f"not every unit was changed: {row}")

    def settle(self):
        """Until the service is done with what came before, and the disk too."""
        until = time.monotonic() + 60
        while True:
            os.sync()
            before = self.s.cpu()
            time.sleep(2)  # longer than a changed list may take to be published
            worked = benchlib.cpu_difference(before, self.s.cpu())
            if sum(worked.values()) < 0.02:
                return
            if time.monotonic() > until:
                raise TimeoutError(f"the service does not come to rest: CPU seconds of the last two {worked}")

    def begin(self, *options):
        if self.newest:
            self.s.inkan("fleet", "undo", str(self.newest), "--yes")
        self.settle()
        if fleet.ocsp_says(self.s.port + 1, self.requests[0]) != "good":
            raise RuntimeError("the units are not as they were")
        self.newest = start(self.s, "suspend", *options)

    def whole(self, load=None):
        """One that nobody pauses, beside `load`."""
        self.begin()
        cpu = self.s.cpu()
        watch = Watch(self.s, self.newest, self.requests)
        with load or contextlib.nullcontext():
            watch.look()
        self.watches.append(watch)
        self.check(watch.row)
        return {"rate": watch.row["count"] / watch.durable_s, "durable": watch.durable_s, "done": watch.done_s,
                **{f"cpu-{name}": seconds - cpu[name] for name, seconds in self.s.cpu().items()}}


class Turns:
    """What others have while nothing happens and while a mass action goes on, in turn. The action is paused in between: seconds lie between
    the two, so what the host has for one it has for the other. One that would not last for another turn is ended, and the next begins.
    Whether a turn was disturbed is said of all of it, the wait for rest and an action's end included, but for the disk, which is watched only
    while others ask. `all`: every latency of every turn."""

    def __init__(self, actions, seconds, ask):
        self.actions, self.seconds, self.ask = actions, seconds, ask
        self.most, self.left = 0, 0
        self.all = {"calm": {}, "during": {}}
        self.n, self.stalls = 0, {"calm": 0, "during": 0}

    def asked(self, when):
        out = {}
        with self.actions.bench.disk_watched() as stalled:
            answers = self.ask(self.seconds)
        self.stalls[when] += stalled()
        self.n += when == "calm"
        for what, found in answers.items():
            if isinstance(found, list):
                self.all[when].setdefault(what, []).extend(found)
                out.update({f"{what}-{name}": percentile(found, q) for name, q in PERCENTILES.items()})
            else:
                out[what] = found
        return out

    def together(self, what):
        """Rows about the latencies of all turns, also of those thrown away."""
        p99, p999 = ({when: percentile(self.all[when][what], q) for when in self.all} for q in (0.99, 0.999))
        return [*((f"{what}, all turns together, {when}: p99 / p99.9", f"{p99[when]:.0f} / {p999[when]:.0f}", "us") for when in self.all),
                (f"{what}, all turns together: p99", f"{p99['during'] / p99['calm']:.2f}", "x")]

    def stalled(self):
        return "turns in which the disk stalled: calm / during", f"{self.stalls['calm']} / {self.stalls['during']}", f"of {self.n} turns each"

    def holds(self, ratio, what):
        """Turns in which the disk stalled may be thrown away where the action did not make it: when that is as frequent without it, or when
        nothing depends on them."""
        p99 = {when: percentile(found[what], 0.99) for when, found in self.all.items()}
        return ratio.median <= 2 and (self.stalls["during"] <= self.stalls["calm"] or p99["during"] <= 2 * p99["calm"])

    def calm(self):
        if self.left <= 2 * self.most:
            self.end()
            self.actions.begin("--canary", "1")
            self.count(self.actions.wait("canary"))
        self.actions.settle()
        return self.asked("calm")

    def during(self):
        left, since = self.left, time.monotonic()
        self.actions.call("batch.resume")
        found = self.asked("during")
        seconds = time.monotonic() - since
        row = self.actions.call("batch.show")
        if row["state"] != "running":
            raise RuntimeError(f"the action ended before its turn did: {row}")
        self.count(self.actions.call("batch.pause"))
        self.most = max(self.most, left - self.left)
        return {**found, "rate": (row["done"] - row["count"] + left) / seconds}

    def count(self, row):
        self.left = row["count"] - row["done"]

    def end(self):
        if self.left:
            self.actions.call("batch.resume")
            self.actions.check(self.actions.wait("done"))
            self.left = 0


def decisions(bench, s, fields, seconds):
    waited = waits(s)
    with Decisions(bench, s, fields) as load:
        time.sleep(seconds)
    return {"decision": load.decision["us"], "bare": load.bare["us"],
            **{f"waits-{name}": (total - waited[name][1]) / max(1, n - waited[name][0]) for name, (n, total) in waits(s).items()}}


def enrollments(bench, s, devices, seconds):
    found = enrolllib.load(bench, s.cpu, ["--port", str(s.port), "--new", *devices.take(int(RATE * seconds)), "--connections", "64",
                                          "--samples", "--phase", f"{RATE}:{seconds}"], core=None)["phases"][0]
    if found["good"] != int(RATE * seconds):  # one that is refused or not even sent has no latency
        raise RuntimeError(f"not everybody was given a certificate: {found['status']}, {found['late']} not sent")
    return {"enrollment": found["us"]}


def report_action(bench, units, actions, m, memory):
    looks_ms = [ms for w in actions.watches for ms in w.looks_ms]
    worst_ocsp = max(at for w in actions.watches for at in w.ocsp_s)
    rate, beside = (m.of(how, "rate") for how in ("alone", "beside"))
    bench.report(
        16, f"mass action on {units} units", f"{rate.median:.0f} units/s, {beside.median:.0f} beside decisions; OCSP right within {worst_ocsp:.2f} s",
        ">= 3000 units/s; OCSP <= 2 s after each acknowledgement", rate.median >= 3000 and worst_ocsp <= 2,
        rows=[("durable", m.of("alone", "durable"), "s"), ("done: status, fronts and lists follow", m.of("alone", "done"), "s"),
              ("beside decisions: durable", m.of("beside", "durable"), "s"), ("done", m.of("beside", "done"), "s"),
              ("lists published after the last unit, at most", f"{max(w.done_s - w.durable_s for w in actions.watches):.1f}", "s"),
              ("looks that came before OCSP was right", sum(w.wrong for w in actions.watches), "answers"),
              ("a call to the core meanwhile, p50 / p99 / max",
               f"{percentile(looks_ms, 0.5):.1f} / {percentile(looks_ms, 0.99):.1f} / {max(looks_ms):.1f}", "ms"),
              ("memory of the core after it", memory.get("inkan-core", 0) / 1024, "MiB")],
        cpu_split={q[4:]: m.median("alone", q) / units * 1e6 for q in m.quantities("alone") if q.startswith("cpu-") and m.median("alone", q) > 0.005},
        note="Alone the service has both cores. Of one unit in a hundred OCSP is asked until it says so. What is said of OCSP, lists and calls is of every action, "
             "also of rounds thrown away, and of those in which the disk stalled.", measured=m)


def latencies(m, what):
    return {f"{what}, {when}": {q: m.median(when, f"{what}-{q}") for q in PERCENTILES} for when in ("calm", "during")}


def report_enrollments(bench, turns, m, note):
    ratio = m.ratio("during", "calm", "enrollment-p99")
    bench.report(16, "first enrollment during a mass action: p99", ratio, "<= 2 x", turns.holds(ratio, "enrollment"),
                 reference="the same load while nothing else happens",
                 rows=[*turns.together("enrollment"), turns.stalled(), ("the action goes on beside them (their start included)", m.of("during", "rate"), "units/s")],
                 latency=latencies(m, "enrollment"), measured=m,
                 note=f"{RATE} a second in an open loop, a new mutual TLS connection each. {note} The service and the load share both cores.")


def report_decisions(bench, turns, m, note):
    ratio, bare = (m.ratio("during", "calm", what) for what in ("decision-p99", "bare-p99"))
    bench.report(16, "access decision during a mass action: p99", ratio, "<= 2 x", turns.holds(ratio, "decision"),
                 reference="the same load while nothing else happens",
                 rows=[*turns.together("decision"), *turns.together("bare"), turns.stalled(),
                       ("bare answers (404) of the front, beside them: p99", f"{bare:.2f}", "x"),
                       ("the action goes on beside them (their start included)", m.of("during", "rate"), "units/s"),
                       *((f"{name} waits for a core during the action, on average", f"{m.median('during', 'waits-' + name) * 1e6:.0f}", "us")
                         for name in ("inkan-status", "inkan-front"))],
                 latency={**latencies(m, "decision"), **latencies(m, "bare")},
                 note=f"{ASK_RATE} a second about units of another lot, and as many bare answers, on the socket of the machine; the front and the status process have "
                      f"one core and everything else the other. {note}", measured=m)


def run(bench):
    units = QUICK_UNITS if bench.quick else UNITS
    seconds = 0.5 if bench.quick else 4
    devices = enrolllib.make_devices(bench, "during-", RATE * (10 if bench.quick else 400))
    with enrolllib.service(bench, births=devices, core="0,1" if CORES > 1 else "0", decisions="true") as s:
        requests = fill(bench, s, units)
        fields = others(s)
        wait_allowed(bench, s, fields)
        actions = Actions(bench, s, requests)
        whole = bench.alternate({"alone": actions.whole, "beside": lambda: actions.whole(Decisions(bench, s, fields))}, rounds=2)
        report_action(bench, units, actions, whole, s.pss())
        note = (f"Asked for {seconds} s while a suspension of {units} units is paused and the service has come to rest, then as long while it goes on, and so in "
                "turn.")
        turns = Turns(actions, seconds, lambda t: enrollments(bench, s, devices, t))
        report_enrollments(bench, turns, bench.alternate({"calm": turns.calm, "during": turns.during}, rounds=11), note)
        turns.end()
        turns = Turns(actions, seconds, lambda t: decisions(bench, s, fields, t))
        report_decisions(bench, turns, bench.alternate({"calm": turns.calm, "during": turns.during}, rounds=11), note)
        turns.end()
