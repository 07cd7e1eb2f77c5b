# SPDX-License-Identifier: Apache-2.0
"""Line 15: complete units of a factory line (reserve, issue, confirm) with one work order, beside the cost of their parts."""
import os
import tempfile

import enrolllib
import line as factory

CONNECTIONS = 16
ORDER = "WO-15"
NUMBERS = ORDER + "-"


class Order:
    """A service with one open order and a station; hands out its numbers."""

    def __init__(self, bench, s, quantity):
        self.bench, self.s, self.next = bench, s, 1
        directory = tempfile.mkdtemp(dir=bench.work)
        os.chmod(directory, 0o755)
        for name in ("key", "pem"):
            os.link(os.path.join(s.dir, "order-signer." + name), os.path.join(directory, "order-signer." + name))
        self.station = factory.add_station(s.inkan, directory, "issue-1", "issue,verify")
        factory.open_order(s.inkan, directory, ORDER, quantity, ["line:L1"])

    def units(self, n):
        first, self.next = self.next, self.next + n
        result = enrolllib.load(self.bench, self.s.cpu, [
            "--port", str(self.s.port), *self.station, "--order", ORDER, "--prefix", NUMBERS, "--first", str(first), "--count", str(n),
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
        order = Order(bench, s, 4 * rounds * each + many)
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
        decline(bench, order, many // 10)


def decline(bench, order, each):
    """Ten stretches of one order, one after the other: does the last cost more than the first?"""
    series = [order.units(each) for _ in range(10)]
    cost = [one["cpu"] for one in series]
    rates = ", ".join(f"{one['rate']:.0f}" for one in series)
    growth = sum(cost[-3:]) / sum(cost[:3])
    bench.report(15, f"{10 * each} units of one order: CPU of the last three tenths over that of the first three", growth, "<= 1.1 x", growth <= 1.1,
                 rows=[("CPU of a unit, by tenths", ", ".join(f"{us:.0f}" for us in cost), "us"), ("units, by tenths", rates, "1/s")])
