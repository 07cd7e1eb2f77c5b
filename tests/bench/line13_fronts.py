# SPDX-License-Identifier: Apache-2.0
"""Line 13: what a second front costs, and what the core would take."""
import os

import enrolllib

CONNECTIONS = 32


def run(bench):
    seconds = 0.5 if bench.quick else 4
    births = enrolllib.make_devices(bench, "f-", 6000 if bench.quick else 160000)
    everywhere = ",".join(str(n) for n in sorted(os.sched_getaffinity(0)))
    enough_cores = len(os.sched_getaffinity(0)) >= 4

    def enrolling(s):
        return lambda: enrolllib.figures(enrolllib.load(bench, s.cpu, [
            "--port", str(s.port), *births.take(2000 if bench.quick else 8000), "--new", "--sources", "64", "--connections", str(CONNECTIONS),
            "--phase", f"0:{seconds}"], core=everywhere))

    with enrolllib.service(bench, births, fronts=1, core=everywhere) as one, \
            enrolllib.service(bench, births, fronts=2, core=everywhere) as two:
        m = bench.alternate({"two": enrolling(two), "one": enrolling(one)})
    ratio, rate = m.ratio("two", "one", "cpu"), m.ratio("two", "one", "rate")
    core_us = m.of("two", "cpu_inkan-core")
    bench.report(13, "CPU per new-connection enrollment with two fronts, all cores shared with the load", ratio, "<= 1.15 x",
                 ratio.median <= 1.15,
                 rows=[("two fronts", m.of("two", "cpu"), "us"), ("one front", m.of("one", "cpu"), "us"),
                       ("core, of that", core_us, "us"), ("core saturated at (one core of CPU / its share)", 1e6 / core_us.median, "1/s")],
                 latency={name: enrolllib.latencies(m, name) for name in ("two", "one")}, cpu_split=enrolllib.split(m, "two"),
                 reference="one front")
    bench.report(13, "rate with two fronts", rate if enough_cores else "-", ">= 1.7 x", rate.median >= 1.7 if enough_cores else None,
                 rows=[("two fronts", m.of("two", "rate"), "1/s"), ("one front", m.of("one", "rate"), "1/s")], reference="one front",
                 note="" if enough_cores else "Needs four cores: on fewer, load and fronts share them and no rate can double.")
