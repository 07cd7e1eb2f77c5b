# SPDX-License-Identifier: Apache-2.0
"""Line 14: twice as many requests as can be served, over kept-alive connections, in an open loop."""
import statistics

import enrolllib

CONNECTIONS = 2500  # more than the queue of the front (enroll_queue) holds: what is beyond it must be refused, not kept
PEAK_CONNECTIONS = 64  # in the closed loop that finds the peak
SECRET_PREFIX = "o-"


def run(bench):
    unit = 0.25 if bench.quick else 1
    devices = enrolllib.make_devices(bench, SECRET_PREFIX, 30000 if bench.quick else 400000)
    with enrolllib.service(bench) as s:
        secret = enrolllib.group_secret(s, SECRET_PREFIX)

        def overload():
            # Peak; a calm phase to compare with; twice the peak; the same calm load again, its first five seconds and after.
            phases = [f"0:{5 * unit}", f"0.5x:{4 * unit}", f"2x:{8 * unit}", f"0.5x:{5 * unit}", f"0.5x:{4 * unit}"]
            result = enrolllib.load(bench, s.cpu, [
                "--port", str(s.port), *devices.take(15000 if bench.quick else 100000), *secret, "--sources", "64",
                "--connections", str(CONNECTIONS), "--busy", str(PEAK_CONNECTIONS), *[x for p in phases for x in ("--phase", p)]])
            peak, before, over, recovery, after = result["phases"]
            limit = 0.95 * after["load"] * after["series_s"]
            back = next((i for i, n in enumerate(recovery["series"]) if n >= limit), len(recovery["series"]))
            return {
                "goodput": over["rate"] / peak["rate"], "peak": peak["rate"], "over": over["rate"],
                "offered": over["load"], "refused": sum(over["status"].get(k, 0) for k in ("503", "429")),
                "other": sum(n for p in result["phases"] for k, n in p["status"].items() if k not in ("200", "503")),
                "without_retry_after": sum(p["without_retry_after"] for p in result["phases"]),
                "back_s": back * recovery["series_s"], "after_refused": after["answered"] - after["good"],
                "after_rate": after["rate"] / after["load"], "before_p50": before["p50_us"], "after_p50": after["p50_us"],
                "before_p99": before["p99_us"], "after_p99": after["p99_us"],
                "p50": over["p50_us"], "p99": over["p99_us"], "p999": over["p999_us"],
            }

        m = bench.alternate({"inkan": overload}, rounds=3)
    goodput = m.of("inkan", "goodput")

    def largest(quantity):
        return max(m.of("inkan", quantity).values)

    normal = (largest("back_s") <= 5 and largest("after_refused") == 0 and min(m.of("inkan", "after_rate").values) >= 0.95 and
              m.median("inkan", "after_p50") <= 2 * m.median("inkan", "before_p50"))
    clean = min(m.of("inkan", "refused").values) > 0 and largest("without_retry_after") == 0 and largest("other") == 0
    bench.report(14, "goodput at twice the capacity, keep-alive requests", goodput, ">= 0.9 x",
                 statistics.median(goodput.values) >= 0.9 and clean and normal,
                 rows=[("peak", m.of("inkan", "peak"), "1/s"), ("offered", m.of("inkan", "offered"), "1/s"),
                       ("served meanwhile", m.of("inkan", "over"), "1/s"), ("refused with 503", m.of("inkan", "refused"), "answers"),
                       ("503 without Retry-After", largest("without_retry_after"), "answers"), ("other answers", largest("other"), "answers"),
                       ("normal again after, at most", largest("back_s"), "s"),
                       ("p50 of half the load, before and after", f"{m.of('inkan', 'before_p50')}, {m.of('inkan', 'after_p50')}", "us"),
                       ("p99 of half the load, before and after", f"{m.of('inkan', 'before_p99')}, {m.of('inkan', 'after_p99')}", "us")],
                 latency={"of what is served at twice the capacity": enrolllib.latencies(m, "inkan")},
                 reference="the peak of the same run",
                 note=f"{CONNECTIONS} connections, enroll_queue at its default. Normal: a stretch of half a second with 95 % of half the peak "
                      "served, no refusal and at most twice the p50 from five seconds after the overload on.")
