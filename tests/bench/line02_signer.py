# SPDX-License-Identifier: Apache-2.0
"""Issuance through the signer process with SoftHSM, the signature checked."""

BATCHES = (1, 32)


def run(bench):
    config = bench.instance_config()
    seconds = "0.3" if bench.quick else "1.5"

    def measure(*what):
        return lambda: bench.run([bench.tool("issue_signer"), what[0], config, seconds, *what[1:]], core=bench.server_core).json()

    candidates = {f"inkan-{batch}": measure("product", str(batch)) for batch in BATCHES}
    m = bench.alternate({**candidates, "reference": measure("reference")})
    ratio = m.ratio("inkan-32", "reference", "us")
    rows, latency = [("CPU of two verifies and one C_Sign", m.of("reference", "us"), "us")], {}
    for batch in BATCHES:
        name = f"inkan-{batch}"
        rows += [(f"batch {batch}: CPU per certificate, core and signer", m.of(name, "us"), "us"),
                 (f"batch {batch}: against the reference", f"{m.ratio(name, 'reference', 'us'):.2f}", "x"),
                 (f"batch {batch}: certificates a second, one core for both processes", m.of(name, "rate"), "/s")]
        latency[f"in a batch of {batch}"] = {q: m.median(name, q) for q in ("p50", "p99", "p999")}
    bench.report(2, "issuance through the signer with SoftHSM, its signature checked, in batches of 32", ratio, "<= 1.6 x",
                 ratio.median <= 1.6, reference="two P-256 verifies + one C_Sign", rows=rows, latency=latency)
