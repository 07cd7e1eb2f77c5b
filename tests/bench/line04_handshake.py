# SPDX-License-Identifier: Apache-2.0
"""Line 4: a mutual TLS 1.3 handshake and one short request, front against nginx and against a bare OpenSSL server."""
import enrolllib

CONNECTIONS = 16


def run(bench):
    seconds = 0.5 if bench.quick else 3
    births = enrolllib.make_devices(bench, "h-", 200 if bench.quick else 1000)

    def handshakes(port, cpu, path):
        return lambda: enrolllib.figures(enrolllib.load(bench, cpu, [
            "--port", str(port), *births.some(1000), "--new", "--kind", "get", "--path", path, "--sources", "64",
            "--connections", str(CONNECTIONS), "--phase", f"0:{seconds}"]))

    with enrolllib.service(bench) as s:
        chain, key = enrolllib.server_chain(bench, s)
        with enrolllib.nginx(bench, chain, key) as nginx, enrolllib.bare_tls(bench, chain, key) as bare:
            m = bench.alternate({
                "front": handshakes(s.port, s.cpu, enrolllib.CSRATTRS),
                "nginx": handshakes(nginx.port, nginx.cpu, "/"),
                "bare": handshakes(bare.port, bare.cpu, "/"),
            })
    ratio = m.ratio("front", "nginx", "cpu_inkan-front", "cpu")
    bench.report(4, "handshake CPU of the front", ratio, "<= 1.0 x", ratio.median <= 1.0,
                 rows=[("front", m.of("front", "cpu_inkan-front"), "us"), ("nginx", m.of("nginx", "cpu"), "us"),
                       ("bare OpenSSL server", m.of("bare", "cpu"), "us"),
                       ("front / bare OpenSSL server", f"{m.ratio('front', 'bare', 'cpu_inkan-front', 'cpu'):.2f}", "x"),
                       ("handshakes of the front", m.of("front", "rate"), "1/s"), ("handshakes of nginx", m.of("nginx", "rate"), "1/s")],
                 latency={name: enrolllib.latencies(m, name) for name in ("front", "nginx")}, cpu_split=enrolllib.split(m, "front"),
                 reference="nginx, one worker, mutual TLS 1.3, the same certificates",
                 note=f"{CONNECTIONS} connections at a time, each with a handshake, one GET answered 204 and a close; the front logs each "
                      "request, nginx does not.")
