# SPDX-License-Identifier: Apache-2.0
"""Line 8: an OCSP answer signed on demand, because the request holds a nonce, against a bare signature by the same path.

The reference is inkan-signer with SoftHSM asked for ResponseData over its link, with as many requests under way as the load has
connections; it checks each signature as it does for the product. Both on the server core.
"""
import os

import benchlib
import ocsplib

CONNECTIONS = "32"
ANY_RATE = "\nocsp:\n  nonce_rate: 1000000   # what is measured is the cost, not the limit\n"


def run(bench):
    seconds = 0.5 if bench.quick else 3.0
    with bench.service(config={"extra_config": ANY_RATE}) as service:
        issuer = ocsplib.certificate_of(os.path.join(service.dir, "fleet-ca.pem"))
        requests = os.path.join(bench.work, "nonce.requests")
        ocsplib.write_requests(requests, [ocsplib.ocsp_request(issuer, c, bytes(16)) for c in ocsplib.enroll(bench, service, "live-", 100)])
        load = ["--nonce", "--connections", CONNECTIONS]
        splits = []

        def ours():
            before = service.cpu()
            figures = ocsplib.load(bench, service.port + 1, requests, *load, seconds=seconds)
            spent = benchlib.cpu_difference(before, service.cpu())
            splits.append({name: s * 1e6 / figures["ok"] for name, s in spent.items()})
            figures["us"] = sum(spent.values()) * 1e6 / figures["ok"]
            return figures

        def bare():
            return bench.run([bench.tool("sign_path"), str(seconds), CONNECTIONS], core=bench.server_core).json()

        ours()  # warm
        splits.clear()
        m = bench.alternate({"inkan": ours, "signature": bare})
        path = os.path.join(bench.work, "nonce.samples")
        ocsplib.load(bench, service.port + 1, requests, *load, "--count", "600", "--sample", path, "--every", "50", seconds=20)
        checked = ocsplib.check_samples(path, os.path.join(service.dir, "ca.pem"))
        ratio = m.ratio("inkan", "signature", "us")
        bench.report(8, "OCSP answer signed on demand (nonce), POST, keep-alive: CPU of all our processes", ratio, "<= 1.5 x",
                     ratio.median <= 1.5, reference="a signature with an OCSP key by the same path (SoftHSM behind inkan-signer, checked)",
                     rows=[("CPU per answer", m.of("inkan", "us"), "us"), ("CPU per bare signature", m.of("signature", "us"), "us"),
                           ("of which in the signer", m.of("signature", "signer_us"), "us"),
                           ("answers, all processes on one core", f"{m.of('inkan', 'rate'):.0f}", "1/s")],
                     latency={p: m.median("inkan", p + "_us") for p in ("p50", "p99", "p999")},
                     cpu_split={name: sum(s[name] for s in splits) / len(splits) for name in splits[0]},
                     note=f"{checked} answers were judged by an OCSP client (signature, chain, serial, status, nonce).", measured=m)
