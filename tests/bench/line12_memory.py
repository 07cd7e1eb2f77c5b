# SPDX-License-Identifier: Apache-2.0
"""Line 12: memory of an idle connection and of an idle service."""
import subprocess
import time

import enrolllib

IDLE_MIB = 64
CONNECTION_KIB = 64


def standing(bench, s, devices, count):
    """PSS in KiB of the fronts before and while `count` mutual TLS connections stand and ask nothing."""
    before = s.pss()["inkan-front"]
    child = bench.popen([bench.tool("enroll_load"), "--wait", "--port", str(s.port), *devices.some(count), "--connections", str(count),
                         "--sources", "16", "--phase", "0:1"], core=bench.load_core, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if child.stdout.readline() != "ready\n":
            raise RuntimeError("the connections do not stand")
        time.sleep(1)
        return before, s.pss()["inkan-front"]
    finally:
        child.kill()
        child.wait()


def run(bench):
    count = 500 if bench.quick else 5000
    devices = enrolllib.make_devices(bench, "i-", count)
    with bench.service() as s:
        time.sleep(2)
        idle = s.pss()
    with enrolllib.service(bench) as s:
        before, after = standing(bench, s, devices, count)
    each = (after - before) / count
    whole = sum(idle.values()) / 1024
    bench.report(12, f"memory of one of {count} idle mutual TLS connections", f"{each:.1f} KiB", "<= 64 KiB", each <= CONNECTION_KIB,
                 rows=[("fronts before", before, "KiB"), ("fronts with them", after, "KiB")],
                 note="PSS of the fronts; the kernel's socket memory is not counted.")
    bench.report(12, "memory of the whole service, idle, default configuration", f"{whole:.1f} MiB", "<= 64 MiB", whole <= IDLE_MIB,
                 rows=[(name, kib, "KiB") for name, kib in sorted(idle.items())], note="Sum of PSS of all processes.")
