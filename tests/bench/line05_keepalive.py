# SPDX-License-Identifier: Apache-2.0
"""Line 5: enrollment over 32 kept-alive connections against `cfssl serve`."""
import enrolllib

CONNECTIONS = 32


def run(bench):
    seconds = 0.5 if bench.quick else 3
    devices = enrolllib.make_devices(bench, "k-", 20000 if bench.quick else 300000)
    per_round = 5000 if bench.quick else 20000
    common = ["--connections", str(CONNECTIONS), "--phase", f"0:{seconds}"]

    def signing(peer):
        return enrolllib.figures(enrolllib.load(bench, peer.cpu, [
            "--port", str(peer.port), "--plain", "--kind", "sign", "--path", "/api/v1/cfssl/sign", *signed.take(per_round), *common]))

    def enrolling(s, secret):
        return enrolllib.figures(enrolllib.load(bench, s.cpu, ["--port", str(s.port), *devices.take(per_round), *secret, *common]))

    signed = enrolllib.Devices(devices.path, devices.count)
    with enrolllib.service(bench) as s, enrolllib.cfssl(bench) as peer:
        secret = enrolllib.group_secret(s, "k-")
        m = bench.alternate({"inkan": lambda: enrolling(s, secret), "cfssl": lambda: signing(peer)})
    cpu, rate = m.ratio("inkan", "cfssl", "cpu"), m.ratio("inkan", "cfssl", "rate")
    bench.report(5, "keep-alive enrollment, 32 connections: CPU per certificate of all our processes", cpu, "<= 0.9 x", cpu.median <= 0.9,
                 rows=[("enrollment", m.of("inkan", "cpu"), "us"), ("cfssl signature", m.of("cfssl", "cpu"), "us"),
                       ("enrollment", f"{m.of('inkan', 'cpu').median / m.v.median:.2f}", "V")],
                 latency=enrolllib.latencies(m, "inkan"), cpu_split=enrolllib.split(m, "inkan"),
                 reference="cfssl serve, plain HTTP, software key, no storage",
                 note="Ours over TLS 1.3 with SoftHSM, the signature checked, linted, durable and audited.")
    bench.report(5, "keep-alive enrollment, 32 connections: rate on the same core", rate, ">= 1.0 x", rate.median >= 1.0,
                 rows=[("certificates", m.of("inkan", "rate"), "1/s"), ("cfssl signatures", m.of("cfssl", "rate"), "1/s")],
                 latency={name: enrolllib.latencies(m, name) for name in ("inkan", "cfssl")},
                 reference="cfssl serve, plain HTTP, software key, no storage")
