# SPDX-License-Identifier: Apache-2.0
"""Storage: the ledger's own code against a bare program that writes the same rows in the same batches."""
import os
import shutil
import tempfile

BATCHES = {1: 2000, 10: 10000, 32: 16000, 100: 20000}


def run(bench):
    latency, rows, worst, syncs_hold = {}, [], None, True
    for batch, certificates in BATCHES.items():
        if bench.quick:
            certificates = 10 * batch

        def measure(what):
            def once():
                directory = tempfile.mkdtemp(dir=bench.work)
                try:
                    return bench.run([bench.tool("store_rows"), what, os.path.join(directory, "ledger"), str(batch),
                                      str(certificates)], core=bench.server_core).json()
                finally:
                    shutil.rmtree(directory)
            return once

        m = bench.alternate({"inkan": measure("product"), "reference": measure("bare")}, rounds=3)
        ratio = m.ratio("inkan", "reference", "us")
        syncs = m.median("inkan", "syncs") * batch
        syncs_hold = syncs_hold and syncs <= 1.2
        rows += [(f"batch {batch}: CPU against the bare program", f"{ratio:.2f}", "x"),
                 (f"batch {batch}: CPU per certificate", m.of("inkan", "us"), "us"),
                 (f"batch {batch}: CPU per certificate, bare", m.of("reference", "us"), "us"),
                 (f"batch {batch}: syncs per certificate", f"{m.median('inkan', 'syncs'):.4f} = {syncs:.2f} / {batch}", ""),
                 (f"batch {batch}: certificates a second", m.of("inkan", "rate"), "/s")]
        latency[f"of a commit of {batch}"] = {q: m.median("inkan", q) for q in ("p50", "p99", "p999")}
        if worst is None or ratio.median > worst.median:
            worst = ratio
    bench.report(6, "storage: CPU of the ledger's code (worst batch size)", worst, "CPU <= 1.3 x, syncs <= 1.2 / batch",
                 worst.median <= 1.3 and syncs_hold, rows=rows, latency=latency,
                 reference="a bare program writing the same rows and indexes in the same batches")
