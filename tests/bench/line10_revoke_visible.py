# SPDX-License-Identifier: Apache-2.0
"""Line 10: from the revocation to the first answer that says so, by GET, POST and nonce, while the same certificates are asked for.

Two fronts. The time begins when the administration tool sends the command, so it contains the commit and is an upper bound.
"""
import os

import ocsplib

CLAIM = "revocation sent -> first correct answer"
REACH = "<= 100 ms p99, <= 2 s max, none stale; listed in <= 60 s"
TRIALS, QUICK_TRIALS = 10000, 100
ANY_RATE = "\nocsp:\n  nonce_rate: 1000000\n"


def run(bench):
    trials = QUICK_TRIALS if bench.quick else TRIALS
    with bench.service(config={"extra_config": ANY_RATE}, fronts=2) as service:
        issuer = ocsplib.certificate_of(os.path.join(service.dir, "fleet-ca.pem"))
        path = os.path.join(bench.work, "trials.certs")
        with open(path, "w") as f:
            for c in ocsplib.enroll(bench, service, "gone-", trials):
                serial = ocsplib.elements(c.serial)[0][2].lstrip(b"\0")
                f.write(f"{serial.hex()} {ocsplib.ocsp_request(issuer, c).hex()} {ocsplib.ocsp_request(issuer, c, bytes(16)).hex()}\n")
        seen = bench.run([bench.tool("revoke_trials"), "--port", str(service.port + 1), "--admin", f"{service.dir}/run/admin.sock",
                          "--issuer", "fleet-ca", "--certs", path, "--crl", "/crl/fleet-ca.crl"], core=bench.load_core, check=False, timeout=1200)
    if not seen.stdout:
        bench.report(10, CLAIM, "not visible 10 s after an acknowledgement", REACH, False)
        return
    seen = seen.json()
    ways = ("get", "post", "nonce")
    p99 = max(seen[w + "_ms"]["p99"] for w in ways)
    most = max(seen[w + "_ms"]["max"] for w in ways)
    bench.report(10, f"{CLAIM}, {seen['trials']} trials with {seen['polled']} questions in flight meanwhile",
                 f"p99 {p99:.1f} ms, max {most:.1f} ms, {seen['stale']} stale; listed in {seen['crl_ms']['max'] / 1000:.1f} s at most", REACH,
                 p99 <= 100 and most <= 2000 and seen["crl_ms"]["max"] <= 60000 and seen["stale"] == 0,
                 rows=[("answers that were neither good nor revoked", seen["refused"], "")],
                 latency={name: {p: seen[key][p] * 1000 for p in ("p50", "p99", "p999", "max")} for name, key in
                          [("acknowledgement", "ack_ms")] + [(w, w + "_ms") for w in ways] + [("list", "crl_ms")]},
                 note="The time begins with the command, before the commit. A stale answer is one that says good to a question asked after the "
                      "acknowledgement.", measured=None)
