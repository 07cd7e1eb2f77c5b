# SPDX-License-Identifier: Apache-2.0
"""Line 15: complete units of a factory line (reserve, issue, confirm) with one work order, beside the cost of their parts."""
import os
import statistics
import tempfile

import enrolllib
import line as factory

CONNECTIONS = 16
STRETCHES = 30


class Order:
    """An open order of a service and a station for it; hands out its numbers."""

    def __init__(self, bench, s, number, quantity):
        self.bench, self.s, self.number, self.next = bench, s, number, 1
        directory = tempfile.mkdtemp(dir=bench.work)
        os.chmod(directory, 0o755)
        for name in ("key", "pem"):
            os.link(os.path.join(s.dir, "order-signer." + name), os.path.join(directory, "order-signer." + name))
        self.station = factory.add_station(s.inkan, directory, "of-" + number, "issue,verify")
        factory.open_order(s.inkan, directory, number, quantity, ["line:L1"])

    def units(self, n):
        first, self.next = self.next, self.next + n
        result = enrolllib.load(self.bench, self.s.cpu, [
            "--port", str(self.s.port), *self.station, "--order", self.number, "--prefix", self.number + "-", "--first", str(first), "--count", str(n),
            "--connections", str(CONNECTIONS)], tool="line_load")
        out = enrolllib.figures(result)
        for name in ("reserve", "issue", "challenge", "confirm"):
            out.update({f"{name}_{q}": result["phases"][0][name][q] for q in ("p50", "p99")})
        return out


def run(bench):
    each, rounds = (300, 1) if bench.quick else (2000, 5)
    many = 100000 if bench.long else 10 * each
    asked, enough = (0.5, 2500) if bench.quick else (1, 5000) # seconds; devices that suffice for them
    devices = enrolllib.make_devices(bench, "u-", enough * 4 * rounds)

    with enrolllib.service(bench) as s:
        order = Order(bench, s, "WO-15", 4 * rounds * each)
        secret = enrolllib.group_secret(s, "u-")

        def parts():
            enrollment = enrolllib.figures(enrolllib.load(bench, s.cpu, ["--port", str(s.port), *devices.take(enough), *secret, "--connections",
                                                                         str(CONNECTIONS), "--phase", f"0:{asked}"]))["cpu"]
            answer = enrolllib.figures(enrolllib.load(bench, s.cpu, ["--port", str(s.port), "--kind", "get", "--path", enrolllib.CSRATTRS,
                                                                     *devices.some(100), *secret, "--connections", str(CONNECTIONS),
                                                                     "--phase", f"0:{asked}"]))["cpu"]
            verify = bench.verify_us()
            return {"enrollment": enrollment, "answer": answer, "verify": verify, "sum": enrollment + 3 * answer + verify}

        m = bench.alternate({"units": lambda: order.units(each), "parts": parts}, rounds=rounds)
        ratio = m.ratio("units", "parts", "cpu", "sum")
        rows = [("unit", m.of("units", "cpu"), "us"), ("sum of its parts", m.of("parts", "sum"), "us"),
                ("kept-alive enrollment", m.of("parts", "enrollment"), "us"), ("kept-alive answer of the front, 3 of them", m.of("parts", "answer"), "us"),
                ("one P-256 verify", m.of("parts", "verify"), "us")]
        rows += [(f"{name}, p50 and p99", f"{m.median('units', name + '_p50'):.0f}, {m.median('units', name + '_p99'):.0f}", "us")
                 for name in ("reserve", "issue", "challenge", "confirm")]
        bench.report(15, "one unit through reserve, issue and confirm, one work order: CPU of all our processes", ratio, "<= 2 x", ratio.median <= 2,
                     rows=rows, latency=enrolllib.latencies(m, "units"), cpu_split=enrolllib.split(m, "units"),
                     reference="kept-alive enrollment + 3 answers of the front + one verify",
                     note="Four requests and two transactions more than the enrollment alone: the reserve and the confirm are durable and audited.")
        rate, p99 = m.of("units", "rate"), m.median("units", "p99")
        bench.report(15, f"complete units a second, SoftHSM, {CONNECTIONS} stations' connections, service on one of two cores", rate,
                     ">= 100/s, p99 <= 250 ms", rate.median >= 100 and p99 <= 250e3, rows=[("p99 of a unit", p99 / 1000, "ms")],
                     latency=enrolllib.latencies(m, "units"))
        decline(bench, Order(bench, s, "WO-15-a", many), many, f"after {order.next - 1} others")
        if bench.long:
            decline(bench, Order(bench, s, "WO-15-b", many), many, f"after {order.next - 1 + many} others")


def decline(bench, order, many, where):
    """Stretches of one order, one after the other: do the last cost more than the first?

    Medians of the stretches beside which nobody else worked; with fewer than three such on a side it was not measured.
    """
    watched = [bench.watched(lambda: order.units(many // STRETCHES)) for _ in range(STRETCHES)]
    series = [one for one, _ in watched]
    quiet = [one["cpu"] if not state["disturbed"] else None for one, state in watched]
    part = 3 * STRETCHES // 10
    first, last = ([cost for cost in side if cost] for side in (quiet[:part], quiet[-part:]))
    measured = len(first) >= 3 and len(last) >= 3
    growth = statistics.median(last) / statistics.median(first) if measured else "too many neighbours"
    tenths = [series[i:i + STRETCHES // 10] for i in range(0, STRETCHES, STRETCHES // 10)]

    def by_tenths(quantity):
        return ", ".join(f"{statistics.median(one[quantity] for one in tenth):.0f}" for tenth in tenths)

    bench.report(15, f"{many // STRETCHES * STRETCHES} units of one order, {where}: CPU of the last three tenths over that of the first three", growth, "<= 1.1 x",
                 growth <= 1.1 if measured else None,
                 rows=[("undisturbed stretches, of 9 at the begin and 9 at the end", f"{len(first)}, {len(last)}", ""),
                       ("CPU of a unit, by tenths", by_tenths("cpu"), "us"), ("of it the core", by_tenths("cpu_inkan-core"), "us"),
                       ("of it the status process", by_tenths("cpu_inkan-status"), "us"), ("units, by tenths", by_tenths("rate"), "1/s")],
                 note="Medians of stretches. Indexes get deeper, and fewer of the rows of one transaction share a page: that grows with the ledger, not with the order.")
