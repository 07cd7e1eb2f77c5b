# SPDX-License-Identifier: Apache-2.0
"""Line 3: a first enrollment on a new mutual TLS 1.3 connection with a foreign birth certificate, against the sum of its parts."""
import os
import shutil
import tempfile

import enrolllib

CONNECTIONS = 16
BATCH = 10  # of the parts that are measured by themselves; the service's own batches are smaller, so its parts cost more


def run(bench):
    seconds = 0.5 if bench.quick else 3
    births = enrolllib.make_devices(bench, "n-", 4000 if bench.quick else 60000)
    config = bench.instance_config()

    def enrolling(s):
        return enrolllib.figures(enrolllib.load(bench, s.cpu, [
            "--port", str(s.port), *births.take(1500 if bench.quick else 5000), "--new", "--sources", "64",
            "--connections", str(CONNECTIONS), "--phase", f"0:{seconds}"]))

    def handshake(bare):
        return enrolllib.figures(enrolllib.load(bench, bare.cpu, [
            "--port", str(bare.port), *births.some(1000), "--new", "--kind", "get", "--path", "/", "--sources", "64",
            "--connections", str(CONNECTIONS), "--phase", f"0:{seconds}"]))["cpu"]

    def rows():
        directory = tempfile.mkdtemp(dir=bench.work)
        try:
            return bench.run([bench.tool("store_rows"), "bare", os.path.join(directory, "ledger"), str(BATCH),
                              str(200 if bench.quick else 5000)], core=bench.server_core).json()["us"]
        finally:
            shutil.rmtree(directory)

    def parts(bare):
        chain = bench.run([bench.tool("chain_cost"), os.path.join(enrolllib.maker_dir(bench), "maker.pem"), births.path, "500"],
                          core=bench.server_core).json()
        issued = bench.run([bench.tool("issue_signer"), "product", config, "0.3" if bench.quick else "1", str(BATCH)],
                           core=bench.server_core).json()
        out = {"handshake": handshake(bare), "line2": issued["us"], "chain_parse": chain["parse_us"], "chain_verify": chain["verify_us"],
               "rows": rows()}
        out["sum"] = sum(out.values())
        out["sum_strict"] = out["sum"] - out["chain_parse"]
        return out

    with enrolllib.service(bench, births) as s:
        chain, key = enrolllib.server_chain(bench, s)
        with enrolllib.bare_tls(bench, chain, key) as bare:
            m = bench.alternate({"inkan": lambda: enrolling(s), "parts": lambda: parts(bare)})
    ratio = m.ratio("inkan", "parts", "cpu", "sum")
    bench.report(3, "first enrollment on a new mutual TLS 1.3 connection, foreign birth certificate: CPU of all our processes", ratio,
                 "<= 1.25 x", ratio.median <= 1.25,
                 rows=[("enrollment", m.of("inkan", "cpu"), "us"), ("sum of the parts", m.of("parts", "sum"), "us"),
                       ("bare handshake server", m.of("parts", "handshake"), "us"),
                       (f"issuance through the signer, batches of {BATCH}", m.of("parts", "line2"), "us"),
                       ("one chain: d2i_X509", m.of("parts", "chain_parse"), "us"),
                       ("one chain: X509_verify_cert", m.of("parts", "chain_verify"), "us"),
                       (f"bare program writing the rows, batches of {BATCH}", m.of("parts", "rows"), "us"),
                       ("with the chain's parsing left out of the sum", f"{m.ratio('inkan', 'parts', 'cpu', 'sum_strict'):.2f}", "x"),
                       ("enrollments", m.of("inkan", "rate"), "1/s")],
                 latency=enrolllib.latencies(m, "inkan"), cpu_split=enrolllib.split(m, "inkan"),
                 reference="bare handshake server + line 2 + one chain verify + a bare program writing the same rows")
