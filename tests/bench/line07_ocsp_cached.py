# SPDX-License-Identifier: Apache-2.0
"""Line 7: OCSP answers that are kept, GET and POST, one front, against cfssl ocspserve and openssl ocsp.

All three are pinned to the server core. cfssl serves the very answers of ours, presigned; the one of Debian 12 answers POST only
(its GET handler keeps the slash before the base64), so its POST is the reference for both. `openssl ocsp` signs each answer and
closes each connection; it gets a connection for each request, since it hangs with kept ones, and a number of them, since it hangs
after one that is broken off.
"""
import os
import subprocess
import time

import benchlib
import ocsplib

CERTIFICATES = 1000
KEPT = ["--connections", "32"]


def key_and_certificate(work, name, subject, *options):
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-x509", "-days", "30", "-subj",
                    subject, "-keyout", f"{work}/{name}.key", "-out", f"{work}/{name}.pem", *options], check=True,
                   stderr=subprocess.DEVNULL)


class Reference:
    """A responder that is not ours."""

    def __init__(self, bench, name, command, connected):
        self.port = benchlib.free_port()
        self.log = open(os.path.join(bench.work, name + ".log"), "wb")
        self.process = bench.popen([a.replace("PORT", str(self.port)) for a in command], core=bench.server_core,
                                   stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for _ in range(100):
            time.sleep(0.1)
            if connected(self.port):
                return
        self.stop()
        raise RuntimeError(f"{name} does not answer, see {self.log.name}")

    def stop(self):
        self.process.kill()  # openssl ocsp ignores SIGTERM while it waits
        self.process.wait()
        self.log.close()


def cfssl(bench, requests, answers):
    path = os.path.join(bench.work, "cfssl.responses")
    with open(path, "w") as f:
        f.write(ocsplib.base64_lines(answers))
    command = ["cfssl", "ocspserve", "-address", "127.0.0.1", "-port", "PORT", "-responses", path, "-loglevel", "5"]
    return Reference(bench, "cfssl", command, lambda port: answers_one(bench, port, requests))


def answers_one(bench, port, requests):
    try:
        ocsplib.load(bench, port, requests, "--count", "1", "--connections", "1", "--close", path="/")
        return True
    except RuntimeError:
        return False


def openssl_index(bench, count):
    """A CA of openssl's own with as many certificates, which `openssl ocsp` signs for: the requests about them."""
    work = bench.work
    key_and_certificate(work, "ref-ca", "/CN=Reference CA")
    issuer = ocsplib.certificate_of(f"{work}/ref-ca.pem")
    requests = []
    with open(f"{work}/ref-index.txt", "w") as f:
        for i in range(count):
            serial = bytes([0x10 + i // 256, i % 256])
            f.write(f"V\t491231235959Z\t\t{serial.hex().upper()}\tunknown\t/CN=unit {i}\n")
            entry = ocsplib.Certificate.__new__(ocsplib.Certificate)
            entry.serial = ocsplib.tlv(0x02, serial)
            requests.append(ocsplib.ocsp_request(issuer, entry))
    path = f"{work}/ref.requests"
    ocsplib.write_requests(path, requests)
    return path


def openssl(bench, requests):
    work = bench.work
    command = ["openssl", "ocsp", "-index", f"{work}/ref-index.txt", "-port", "PORT", "-CA", f"{work}/ref-ca.pem", "-rsigner",
               f"{work}/ref-ca.pem", "-rkey", f"{work}/ref-ca.key", "-ignore_err"]
    return Reference(bench, "openssl", command, lambda port: answers_one(bench, port, requests))


def measured(bench, cpu, port, requests, *options, path="/ocsp", seconds=2.0):
    """One run: CPU of the server per answer and the figures of the load."""
    before = cpu()
    figures = ocsplib.load(bench, port, requests, *options, path=path, seconds=min(seconds, 0.4) if bench.quick and seconds < 10 else seconds)
    figures["us"] = (cpu() - before) * 1e6 / figures["ok"]
    return figures


def fill(bench, service, requests, count):
    """Asks every question once in each method: from then on the answers are kept. Returns the answers."""
    path = os.path.join(bench.work, "fill.samples")
    ocsplib.load(bench, service.port + 1, requests, "--count", str(count), "--connections", "8", "--sample", path, "--every", "1",
                 seconds=60)
    return [response for _, response in ocsplib.samples(path)]


def run(bench):
    count = 100 if bench.quick else CERTIFICATES
    with bench.service() as service:
        issuer = ocsplib.certificate_of(os.path.join(service.dir, "fleet-ca.pem"))
        requests = os.path.join(bench.work, "cached.requests")
        ocsplib.write_requests(requests, [ocsplib.ocsp_request(issuer, c) for c in ocsplib.enroll(bench, service, "kept-", count)])
        answers = fill(bench, service, requests, count)
        ref_requests = openssl_index(bench, count)
        references = []
        try:
            references.append(cfssl(bench, requests, answers))
            references.append(openssl(bench, ref_requests))
            measure(bench, service, requests, references[0], references[1], ref_requests)
        finally:
            for r in references:
                r.stop()


def measure(bench, service, requests, cfssl_server, openssl_server, ref_requests):
    anchors = {"inkan": os.path.join(service.dir, "ca.pem"), "cfssl": os.path.join(service.dir, "ca.pem"),
               "openssl": os.path.join(bench.work, "ref-ca.pem")}
    port = service.port + 1

    def ours(*options):
        return measured(bench, lambda: sum(service.cpu().values()), port, requests, *KEPT, *options)

    def theirs(server, which, *options, **more):
        return measured(bench, lambda: bench.cpu_of([server.process.pid]), server.port, which, *options, path="/", **more)

    each = ["--connections", "1", "--close", "--count", "500" if bench.quick else "6000"]
    candidates = {
        "inkan GET": lambda: ours("--method", "get"),
        "cfssl POST": lambda: theirs(cfssl_server, requests, *KEPT),
        "inkan POST": ours,
        "openssl POST": lambda: theirs(openssl_server, ref_requests, *each, seconds=60),
        "inkan POST, a connection each": lambda: ours("--close"),
    }
    m = bench.alternate(candidates)
    checked = check(bench, service, requests, cfssl_server, openssl_server, ref_requests, anchors)
    rows = [(f"{name}: server CPU per answer", m.of(name, "us"), "us") for name in candidates]
    rows += [(f"{name}: rate, server on one core", f"{m.of(name, 'rate'):.0f}", "1/s") for name in candidates]
    latency = {name: {p: m.median(name, p + "_us") for p in ("p50", "p99", "p999")} for name in candidates}
    note = (f"{checked} answers of each responder were judged by an OCSP client (signature, chain, serial, status). The decision is on "
            "CPU per answer of all our processes; the rate also contains the load generator, which shares the answers' path through the kernel.")
    for method in ("GET", "POST"):
        ratio = m.ratio("cfssl POST", f"inkan {method}", "us")
        rates = m.ratio(f"inkan {method}", "cfssl POST", "rate")
        bench.report(7, f"OCSP answers that are kept, {method}, keep-alive, one front", ratio, ">= 3 x", ratio.median >= 3,
                     rows=[r for r in rows if r[0].startswith((f"inkan {method}:", "cfssl"))] + [("rate against cfssl's", f"{rates:.2f}", "x")],
                     latency={k: latency[k] for k in (f"inkan {method}", "cfssl POST")}, reference="cfssl ocspserve, POST", note=note, measured=m)
    ratio = m.ratio("openssl POST", "inkan POST", "us")
    closing = m.ratio("openssl POST", "inkan POST, a connection each", "us")
    bench.report(7, "OCSP answers that are kept, POST, keep-alive, one front", ratio, ">= 8 x", ratio.median >= 8,
                 rows=[r for r in rows if "POST" in r[0] and "cfssl" not in r[0]] +
                 [("the same with a connection for each request on both sides", f"{closing:.2f}", "x")],
                 latency={k: v for k, v in latency.items() if "POST" in k and "cfssl" not in k}, reference="openssl ocsp", note=note, measured=m)


def check(bench, service, requests, cfssl_server, openssl_server, ref_requests, anchors):
    path = os.path.join(bench.work, "checked.samples")
    keep = ["--count", "600", "--sample", path, "--every", "50"]
    n = 0
    for method in ("get", "post"):
        ocsplib.load(bench, service.port + 1, requests, *KEPT, *keep, "--method", method, seconds=20)
        n = ocsplib.check_samples(path, anchors["inkan"])
    ocsplib.load(bench, cfssl_server.port, requests, *KEPT, *keep, path="/", seconds=20)
    ocsplib.check_samples(path, anchors["cfssl"])
    ocsplib.load(bench, openssl_server.port, ref_requests, "--connections", "1", "--close", *keep, path="/", seconds=20)
    ocsplib.check_samples(path, anchors["openssl"])
    return n
