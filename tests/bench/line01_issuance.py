# SPDX-License-Identifier: Apache-2.0
"""Issuance inside the core: CSR bytes in, linted certificate out; software key, no disk."""


def run(bench):
    config = bench.instance_config()
    seconds = 0.3 if bench.quick else 1.5

    def measure(what):
        return lambda: bench.run([bench.tool("issue_core"), what, config, str(seconds)], core=bench.server_core).json()

    m = bench.alternate({"inkan": measure("product"), "reference": measure("reference")})
    ratio = m.ratio("inkan", "reference", "us")
    bench.report(1, "issuance inside the core: CSR bytes in, linted certificate out, software key, no disk", ratio, "<= 1.7 x",
                 ratio.median <= 1.7, reference="one P-256 verify + one sign",
                 rows=[("CPU per certificate", m.of("inkan", "us"), "us"),
                       ("CPU of one verify and one sign", m.of("reference", "us"), "us"),
                       ("certificates a second, one core", m.of("inkan", "rate"), "/s")],
                 latency={q: m.median("inkan", q) for q in ("p50", "p99", "p999")})
