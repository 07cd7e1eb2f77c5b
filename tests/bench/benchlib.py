# SPDX-License-Identifier: Apache-2.0
"""What the lines of the bench share: alternated measuring, a service to measure, CPU accounting, the report.

A line is a module lineNN_noun.py with `def run(bench)`. It measures with bench.alternate(), which runs candidate and reference
A B A B and throws disturbed rounds away, and says what came out with bench.report(). All figures that decide anything are ratios
of two things measured in the same minutes: this kind of machine drifts by 30 % within seconds.
"""
import concurrent.futures
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(SOURCE, "tests", "lib"))
from service import free_port  # noqa: E402
STEAL_LIMIT = 4.0      # per cent of one core
FOREIGN_LIMIT = 15.0   # per cent of one core
STALL_LIMIT_S = 0.05   # of a sync of one block
STALL_LOOK_S = 0.04
TICK = os.sysconf("SC_CLK_TCK")


class Series:
    """The values of one quantity over the kept rounds."""

    def __init__(self, values):
        self.values = list(values)

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def low(self):
        return min(self.values)

    @property
    def high(self):
        return max(self.values)

    def __format__(self, spec):
        spec = spec or ".1f"
        return f"{self.median:{spec}} ({self.low:{spec}}-{self.high:{spec}})"

    def __str__(self):
        return format(self)


class Measured:
    """What alternate() saw: per candidate and quantity a Series; V; how many rounds were kept, thrown away, kept though disturbed.

    A candidate that returned a float has the quantity "value".
    """

    def __init__(self, rounds, discarded):
        self.rounds = rounds            # [({candidate: {quantity: float}}, {"v":, "steal":, "foreign":, "disturbed":})]
        self.discarded = discarded

    def of(self, candidate, quantity="value"):
        return Series(values[candidate][quantity] for values, _ in self.rounds)

    def median(self, candidate, quantity="value"):
        return self.of(candidate, quantity).median

    def ratio(self, candidate, reference, quantity="value", reference_quantity=None):
        """Candidate over reference, taken round by round."""
        below = reference_quantity or quantity
        return Series(values[candidate][quantity] / values[reference][below] for values, _ in self.rounds)

    def quantities(self, candidate):
        return list(self.rounds[0][0][candidate])

    @property
    def v(self):
        return Series(state["v"] for _, state in self.rounds)

    @property
    def disturbed(self):
        return sum(1 for _, state in self.rounds if state["disturbed"])


class Finished:
    """One command that has ended."""

    def __init__(self, returncode, stdout, cpu_s, wall_s):
        self.returncode = returncode
        self.stdout = stdout
        self.cpu_s = cpu_s
        self.wall_s = wall_s

    def json(self):
        """The last line of its output as JSON: how the C tools hand over figures."""
        return json.loads(self.stdout.strip().splitlines()[-1])


def process_cpu(pid):
    """CPU seconds of a process with all its threads, ended ones too; None when it is gone."""
    try:
        return time.clock_gettime(((~pid) << 3) | 2)  # its CPUCLOCK_SCHED clock, what clock_getcpuclockid(3) makes
    except OSError:
        return None


def process_name(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return ""


def _stat(pid):
    """(parent, CPU seconds with those of reaped children) of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), sum(map(int, fields[11:15])) / TICK


def process_tree(roots):
    """The processes `roots` and all below them."""
    parent = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            seen = _stat(name)
            if seen:
                parent[int(name)] = seen[0]
    tree = {r for r in roots if r in parent}
    grew = True
    while grew:
        below = {pid for pid, up in parent.items() if up in tree} - tree
        tree |= below
        grew = bool(below)
    return tree


def machine_cpu():
    """(busy, stolen) seconds of the whole machine so far."""
    with open("/proc/stat") as f:
        t = [int(x) / TICK for x in f.readline().split()[1:]]
    return t[0] + t[1] + t[2] + t[5] + t[6], t[7]


def as_quantities(value):
    """What a candidate returned as {quantity: float}."""
    return {k: float(x) for k, x in value.items()} if isinstance(value, dict) else {"value": float(value)}


class Service:
    """One whole instance, made by deploy/instance.sh as quickstart makes it, running on the server core."""

    def __init__(self, bench, config, fronts, env, core):
        self.bench = bench
        self.dir = tempfile.mkdtemp(prefix="service.", dir=bench.work)
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        self.settings = dict({"decisions": "false"}, **(config or {}))
        self.settings.update(fronts=str(fronts), dir=self.dir, port=str(self.port), programs=bench.programs)
        self.env = dict(os.environ, **(env or {}))
        self.core = core

    def shell(self, commands):
        """Runs shell commands with the functions of deploy/instance.sh and this service's settings."""
        done = subprocess.run(["taskset", "-c", str(self.core), "bash", "-c", f". {SOURCE}/deploy/instance.sh; {commands}"],
                              env=dict(self.env, **self.settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{commands}: {done.stdout[-2000:]}\n{self.log_tail()}")
        return done.stdout

    def start(self):
        self.shell("make_instance_dirs && write_config && start_service && init_service")
        for name in ("maker-root", "maker-ca", "fleet-root", "fleet-ca"):
            with open(os.path.join(self.dir, name + ".pem"), "w") as f:
                f.write(self.inkan("ca", "show", name, "--pem"))
        with open(os.path.join(self.dir, "ca.pem"), "w") as out:
            for name in ("fleet-ca", "fleet-root"):
                with open(os.path.join(self.dir, name + ".pem")) as f:
                    out.write(f.read())

    def stop(self):
        self.shell("stop_service")
        shutil.rmtree(self.dir, ignore_errors=True)

    def log_tail(self):
        try:
            with open(os.path.join(self.dir, "log", "inkan.log"), errors="replace") as f:
                return f.read()[-3000:]
        except OSError:
            return ""

    def inkan(self, *args):
        """Runs the administration tool, gives its standard output."""
        return subprocess.run([f"{self.bench.programs}/inkan", "--socket", f"{self.dir}/run/admin.sock", *args], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout

    def pid(self, name="inkand"):
        """By the name of its pid file: inkand, core, status, front-1 ..."""
        try:
            with open(os.path.join(self.dir, "run", name + ".pid")) as f:
                return int(f.read())
        except (OSError, ValueError):
            return 0

    def pids(self):
        """{pid: program name} of every process of the service."""
        return {pid: process_name(pid) for pid in process_tree([self.pid()])}

    def cpu(self):
        """{program name: CPU seconds so far}; two processes of one program are added up."""
        seconds = {}
        for pid, name in self.pids().items():
            seconds[name] = seconds.get(name, 0.0) + (process_cpu(pid) or 0.0)
        return seconds

    def pss(self):
        """{program name: proportional set size in KiB}."""
        sizes = {}
        for pid, name in self.pids().items():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                kib = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
            sizes[name] = sizes.get(name, 0) + kib
        return sizes


def cpu_difference(before, after):
    """{program: CPU seconds} between two answers of Service.cpu()."""
    return {name: after[name] - before.get(name, 0.0) for name in after}


class Bench:
    server_core = 0
    load_core = 1

    def __init__(self, build, quick=False, long=False, echo=print):
        self.build = build
        self.tools = os.path.join(build, "bench")
        self.quick = quick
        self.long = long
        self.echo = echo
        self.reports = []
        self.last = None
        self._stalled = False
        self._services = []
        # Every user of the service must reach the programs, which a build tree in somebody's home does not allow.
        self.work = tempfile.mkdtemp(prefix="inkan-bench.", dir=os.environ.get("INKAN_TEST_OUT", "/var/tmp"))
        os.chmod(self.work, 0o755)
        self.programs = os.path.join(self.work, "bin")
        shutil.copytree(os.path.join(build, "bin"), self.programs)

    def close(self):
        if os.environ.get("INKAN_KEEP"):
            self.echo(f"kept: {self.work}")
        else:
            shutil.rmtree(self.work, ignore_errors=True)

    # -- running things

    def tool(self, name):
        return os.path.join(self.tools, name)

    def run(self, command, core=None, check=True, stdin=None, env=None, timeout=600):
        """Runs a command to its end, pinned to `core` when one is given. Standard error passes through."""
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        start = time.monotonic()
        with tempfile.TemporaryFile() as out:
            child = subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=out,
                                     env=dict(os.environ, **(env or {})))
            try:
                usage = self._wait(child, start + timeout)
            except BaseException:
                child.kill()
                child.wait()
                raise
            out.seek(0)
            done = Finished(child.returncode, out.read().decode(errors="replace"), usage.ru_utime + usage.ru_stime,
                            time.monotonic() - start)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stdout[-1000:]}")
        return done

    @staticmethod
    def _wait(child, until):
        pause = 0.001
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                return usage
            if time.monotonic() > until:
                raise TimeoutError(f"{child.args}: not done in time")
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def popen(self, command, core=None, **kwargs):
        """Starts a command that the caller stops; same pinning."""
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        return subprocess.Popen(command, **kwargs)

    @contextlib.contextmanager
    def service(self, config=None, fronts=1, env=None, core=None):
        """A whole running service. config: variables of deploy/instance.sh (extra_config, extra_profiles, crl_shards ...)."""
        service = Service(self, config, fronts, env, self.server_core if core is None else core)
        self._services.append(service)
        try:
            service.start()
            yield service
        finally:
            self._services.remove(service)
            service.stop()

    def instance_config(self):
        """The path of a whole configuration as quickstart writes it, for tools that need one and no running service."""
        service = Service(self, None, 1, None, self.server_core)
        service.shell("make_instance_dirs && write_config")
        return os.path.join(service.dir, "inkan.yaml")

    # -- measuring

    def cpu_of(self, pids):
        """CPU seconds so far of these processes together (ended ones count nothing)."""
        return sum(process_cpu(pid) or 0.0 for pid in pids)

    def verify_us(self):
        """V: what one P-256 verify costs now on the server core, microseconds of CPU."""
        return float(self.run([self.tool("verify_cost")], core=self.server_core).stdout)

    def _own_cpu(self):
        own = 0.0
        for pid in process_tree([os.getpid()] + [s.pid() for s in self._services]):
            seen = _stat(pid)
            own += seen[1] if seen else 0.0
        return own

    @contextlib.contextmanager
    def disk_watched(self):
        """Syncs a block of its own again and again beside what is measured; when one takes longer than STALL_LIMIT_S the round is
        disturbed. Whose stall it was cannot be seen from one: who uses this compares how often with and without the load. Gives what
        says afterwards whether there was one."""
        stalled, end = threading.Event(), threading.Event()

        def look(f):
            while not end.wait(STALL_LOOK_S):
                os.pwrite(f.fileno(), bytes(4096), 0)
                since = time.monotonic()
                os.fdatasync(f.fileno())
                if time.monotonic() - since > STALL_LIMIT_S:
                    stalled.set()

        with tempfile.TemporaryFile(dir=self.work) as f, concurrent.futures.ThreadPoolExecutor(1) as pool:
            os.pwrite(f.fileno(), bytes(4096), 0)
            os.fsync(f.fileno())  # from here on nothing of the file grows
            watching = pool.submit(look, f)
            try:
                yield stalled.is_set
            finally:
                end.set()
                concurrent.futures.wait([watching])
                self._stalled |= stalled.is_set()
            watching.result()  # a watch that failed saw nothing

    def watched(self, work):
        """What work() gives, and whether somebody else was at work meanwhile: {"steal":, "foreign":, "stalled":, "disturbed":}."""
        busy, stolen = machine_cpu()
        own, start = self._own_cpu(), time.monotonic()
        self._stalled = False
        value = work()
        wall = time.monotonic() - start
        busy2, stolen2 = machine_cpu()
        steal = (stolen2 - stolen) / wall * 100
        foreign = max(0.0, (busy2 - busy) - (self._own_cpu() - own)) / wall * 100
        return value, {"steal": steal, "foreign": foreign, "stalled": self._stalled,
                       "disturbed": steal > STEAL_LIMIT or foreign > FOREIGN_LIMIT or self._stalled}

    def alternate(self, candidates, rounds=5):
        """Runs the candidates in turn, `rounds` times, and gives a Measured.

        candidates: {name: function}; each function measures once and returns a float or a dict of floats. A round during which the
        host took time or the disk away or somebody else's processes worked is repeated, at most twice as often as rounds were asked for;
        if there were never enough quiet ones, the least disturbed are kept and counted as disturbed.
        """
        if self.quick:
            rounds = 1
        quiet, loud = [], []
        tries = rounds if self.quick else 3 * rounds
        for _ in range(tries):
            v = self.verify_us()
            values, state = self.watched(lambda: {name: as_quantities(measure()) for name, measure in candidates.items()})
            state["v"] = v
            (loud if state["disturbed"] else quiet).append((values, state))
            if len(quiet) == rounds:
                break
        loud.sort(key=lambda r: (r[1]["stalled"], r[1]["foreign"] + 3 * r[1]["steal"]))
        missing = rounds - len(quiet)
        self.last = Measured(quiet + loud[:missing], len(loud) - missing)
        return self.last

    # -- reporting

    def report(self, line, claim, figure, reach, holds, rows=(), latency=None, cpu_split=None, note="", reference="", measured=None):
        """Says what one claim came to.

        figure     a Series (shown with its range), a number or text
        reach      the goal in words: "<= 1.7 x"
        holds      True, False, or None when it could not be measured here
        rows       [(label, value, unit)] figures behind it
        latency    {"p50": us, "p99": us, "p999": us}, or {name: such a dict} for several
        cpu_split  {program: microseconds per operation}
        measured   the Measured it came from; the newest when left out
        """
        measured = measured or self.last
        shown = f"{figure:.2f}" if isinstance(figure, (float, Series)) else str(figure)
        if latency and not isinstance(next(iter(latency.values())), dict):
            latency = {"": latency}
        entry = {"line": line, "claim": claim, "reference": reference, "figure": shown, "reach": reach, "holds": holds,
                 "rows": [[label, f"{v}" if not isinstance(v, float) else f"{v:.1f}", unit] for label, v, unit in rows],
                 "latency": latency or {}, "cpu_split": dict(cpu_split or {}), "note": note,
                 "v": f"{measured.v:.0f}" if measured else "", "rounds": len(measured.rounds) if measured else 0,
                 "discarded": measured.discarded if measured else 0, "disturbed": measured.disturbed if measured else 0,
                 "quick": self.quick, "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
        self.reports.append(entry)
        self._print(entry)

    def _print(self, e):
        self.echo(f"line {e['line']:>2}  {verdict(e):<12}  {e['figure']}  (reach {e['reach']})  V {e['v']} us  {disturbance(e)}")
        self.echo(f"         {e['claim']}" + (f" / {e['reference']}" if e["reference"] else ""))
        for label, value, unit in e["rows"]:
            self.echo(f"         {label:<52} {value} {unit}")
        for text in latency_texts(e) + split_texts(e):
            self.echo(f"         {text}")
        if e["note"]:
            self.echo(f"         note: {e['note']}")
        sys.stdout.flush()


def verdict(e):
    return {True: "holds", False: "missed", None: "not measured"}[e["holds"]]


def disturbance(e):
    if not e["rounds"]:
        return ""
    text = f"{e['rounds']} rounds"
    if e["discarded"]:
        text += f", {e['discarded']} thrown away"
    if e["disturbed"]:
        text += f", {e['disturbed']} kept though DISTURBED"
    return text


def latency_texts(e):
    texts = []
    for name, values in e["latency"].items():
        shown = ", ".join(f"{k.replace('p999', 'p99.9')} {v:.0f} us" for k, v in values.items())
        texts.append(f"latency{' ' + name if name else ''}: {shown}")
    return texts


def split_texts(e):
    if not e["cpu_split"]:
        return []
    return ["CPU per operation: " + ", ".join(f"{k} {v:.0f} us" for k, v in e["cpu_split"].items())]
