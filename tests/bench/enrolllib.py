# SPDX-License-Identifier: Apache-2.0
"""What the lines about enrollment share: devices, a service that knows them, the load, and the servers it is compared with."""
import contextlib
import json
import os
import shutil
import subprocess
import time

import benchlib

CSRATTRS = "/.well-known/est/csrattrs"


class Devices:
    """Lines of make_devices in a file; every line is handed out once."""

    def __init__(self, path, count):
        self.path = path
        self.count = count
        self.used = 0

    def take(self, n):
        if self.used + n > self.count:
            raise RuntimeError(f"{self.path}: {self.count} devices are not enough")
        first, self.used = self.used, self.used + n
        return ["--devices", self.path, "--first", str(first), "--count", str(n)]

    def some(self, n):
        """The first n, again and again: for requests that use nobody up."""
        return ["--devices", self.path, "--first", "0", "--count", str(min(n, self.count))]


def maker_dir(bench):
    path = os.path.join(bench.work, "maker")
    os.makedirs(path, exist_ok=True)
    os.chmod(path, 0o755)
    return path


def make_devices(bench, prefix, count):
    directory = maker_dir(bench)
    path = os.path.join(directory, prefix + "devices")
    with open(path, "w") as out:
        subprocess.run([bench.tool("make_devices"), directory, prefix, str(count)], stdout=out, check=True)
    os.chmod(os.path.join(directory, "maker.pem"), 0o644)
    return Devices(path, count)


@contextlib.contextmanager
def service(bench, births=None, fronts=1, core=None, config="", **more):
    """A service with our manufacturer as a foreign anchor; the devices of `births` are declared."""
    make_maker = os.path.join(maker_dir(bench), "maker.pem")
    settings = {
        "extra_anchors": f"  - {{name: bench, file: {make_maker}, domains: [example]}}\n",
        "extra_config": f"\nconnections: 20000\nconnections_per_address: 20000\n{config}", **more,
    }
    with bench.service(config=settings, fronts=fronts, core=core) as s:
        if births:
            names = os.path.join(s.dir, "names")
            with open(births.path) as lines, open(names, "w") as out:
                out.writelines(line.split(" ", 1)[0] + "\n" for line in lines)
            s.inkan("device", "import", names, "--domain", "example", "--anchor", "bench")
        yield s


def group_secret(s, prefix):
    """Options that let units declare themselves on first use: how kept-alive connections enrol many."""
    made = json.loads(s.inkan("secret", "add", "--group", prefix + "*", "--quota", "1000000", "--valid", "1d", "--json"))
    return ["--user", made["user"], "--secret", made["secret"]]


def load(bench, cpu, arguments, core=-1, tool="enroll_load"):
    """Runs enroll_load (or a tool that behaves like it) between two answers of cpu(), which gives {name: CPU seconds}. Gives its JSON with CPU per good answer."""
    command = [bench.tool(tool), "--wait", *arguments]
    core = bench.load_core if core == -1 else core
    child = bench.popen(command, core=core, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if child.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(command)}: not ready")
        before = cpu()
        child.stdin.write("\n")
        child.stdin.flush()
        text = child.stdout.read()
        after = cpu()
        if child.wait() != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {child.returncode}")
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    result = json.loads(text)
    good = sum(p["good"] for p in result["phases"])
    broken = sum(p["errors"] + p["bad_answers"] for p in result["phases"])
    if broken or not good:
        raise RuntimeError(f"{' '.join(command)}: {text}")
    if result["ran_out"]:
        raise RuntimeError(f"{' '.join(command)}: ran out of {result['ran_out']}")
    result["cpu_us"] = {name: seconds / good * 1e6 for name, seconds in benchlib.cpu_difference(before, after).items()}
    return result


def figures(result):
    """What alternate() keeps of one closed-loop run: total CPU, its split, rate and latencies."""
    p = result["phases"][0]
    out = {"cpu": sum(result["cpu_us"].values()), "rate": p["rate"], "p50": p["p50_us"], "p99": p["p99_us"], "p999": p["p999_us"]}
    out.update({"cpu_" + name: us for name, us in result["cpu_us"].items()})
    return out


def latencies(measured, candidate):
    return {q: measured.median(candidate, q) for q in ("p50", "p99", "p999")}


def split(measured, candidate):
    return {q[4:]: measured.median(candidate, q) for q in measured.quantities(candidate) if q.startswith("cpu_")}


# -- references

def server_chain(bench, s):
    """The front's own certificate chain and key, for servers that are to be compared with it."""
    out = []
    for kind in ("pem", "key"):
        path = os.path.join(maker_dir(bench), "server." + kind)
        shutil.copyfile(os.path.join(s.dir, "state", "tls", "front-0." + kind), path)
        os.chmod(path, 0o600)
        out.append(path)
    return out


class Peer:
    """Another server on the server core."""

    def __init__(self, bench, command, port, **kwargs):
        self.child = bench.popen(command, core=bench.server_core, **kwargs)
        self.port = port

    def cpu(self):
        return {self.child.args[3].rsplit("/", 1)[-1]: sum(benchlib.process_cpu(p) or 0.0 for p in benchlib.process_tree([self.child.pid]))}

    def wait_for_port(self):
        import socket
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self.child.args}: does not listen")

    def stop(self):
        self.child.terminate()
        self.child.wait()


@contextlib.contextmanager
def peer(bench, command, port, **kwargs):
    p = Peer(bench, command, port, **kwargs)
    try:
        p.wait_for_port()
        yield p
    finally:
        p.stop()


@contextlib.contextmanager
def nginx(bench, chain, key):
    """One worker, mutual TLS 1.3 with the same certificates, no tickets, no session cache, no access log."""
    directory = os.path.join(bench.work, "nginx")
    os.makedirs(directory, exist_ok=True)
    port = benchlib.free_port()
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(os.path.join(directory, "nginx.conf"), "w") as f:
        f.write(f"""daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; {temporary} keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{port} ssl backlog=1024; ssl_protocols TLSv1.3; ssl_ecdh_curve X25519:P-256;
    ssl_certificate {chain}; ssl_certificate_key {key}; ssl_client_certificate {maker_dir(bench)}/maker.pem; ssl_verify_client on;
    ssl_session_tickets off; ssl_session_cache off; location / {{ return 204; }} }} }}
""")
    with peer(bench, ["nginx", "-c", f"{directory}/nginx.conf", "-e", f"{directory}/error.log"], port) as p:
        yield p


@contextlib.contextmanager
def bare_tls(bench, chain, key):
    port = benchlib.free_port()
    with peer(bench, [bench.tool("bare_tls"), str(port), chain, key, f"{maker_dir(bench)}/maker.pem"], port,
              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as p:
        yield p


@contextlib.contextmanager
def cfssl(bench):
    """`cfssl serve` with a software P-256 key, plain HTTP, no storage, as quiet as it can be."""
    directory = os.path.join(bench.work, "cfssl")
    os.makedirs(directory, exist_ok=True)
    port = benchlib.free_port()
    with open(os.path.join(directory, "csr.json"), "w") as f:
        json.dump({"CN": "Bench CA", "key": {"algo": "ecdsa", "size": 256}, "ca": {"expiry": "87600h"}}, f)
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump({"signing": {"default": {"usages": ["signing", "client auth"], "expiry": "8760h"}}}, f)
    made = json.loads(subprocess.run(["cfssl", "gencert", "-initca", f"{directory}/csr.json"], check=True, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL).stdout)
    for name, part in (("ca.pem", "cert"), ("ca.key", "key")):
        with open(os.path.join(directory, name), "w") as f:
            f.write(made[part])
    with peer(bench, ["cfssl", "serve", "-address", "127.0.0.1", "-port", str(port), "-ca", f"{directory}/ca.pem", "-ca-key",
                      f"{directory}/ca.key", "-config", f"{directory}/config.json", "-loglevel", "5"], port,
              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        yield p
