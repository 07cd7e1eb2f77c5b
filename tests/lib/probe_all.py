# SPDX-License-Identifier: Apache-2.0
"""One revocation, measured at several servers at once: an inkan-gate probe per server, all waiting for the same moment.

    probe_all.py --programs DIR --gw DIR --units DIR --unit NAME [--control NAME] --run COMMAND [--option OPTION]... SERVER:PORT[:TARGET]...

Prints {SERVER: what its probe printed}. Exit 0 when every probe passed."""
import argparse, json, subprocess, sys


def start(a, server):
    name, port, target = (server.split(":") + ["http"])[:3]
    units = a.units
    command = [f"{a.programs}/inkan-gate", "probe", "--target", target, "--host", "localhost", "--port", port, "--ca", f"{a.gw}/ca.pem",
               "--cert", f"{units}/{a.unit}.pem", "--key", f"{units}/{a.unit}.key", "--client-id", "of-its-choice", "--json"]
    if a.control: # it says that it is the other one: a broker that believes that ends the wrong connection
        command += ["--control-cert", f"{units}/{a.control}.pem", "--control-key", f"{units}/{a.control}.key", "--control-client-id", a.unit]
    p = subprocess.Popen(command + a.option, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return name, p


def main():
    ap = argparse.ArgumentParser()
    for name in ("programs", "gw", "units", "unit", "run"):
        ap.add_argument("--" + name, required=True)
    ap.add_argument("--control")
    ap.add_argument("--option", action="append", default=[])
    ap.add_argument("servers", nargs="+")
    a = ap.parse_args()
    probes = [start(a, s) for s in a.servers]
    said = {}
    for name, p in probes:
        line = p.stderr.readline()
        if "ready" not in line:
            said[name] = (line + p.stderr.read() + p.stdout.read()).strip()
    for name, p in probes:
        if name not in said:
            p.stdin.write("\n")
            p.stdin.flush()
    run = subprocess.run(["sh", "-c", a.run], stdout=subprocess.DEVNULL)
    answers = {name: p.communicate()[0] for name, p in probes if name not in said}
    result = {name: json.loads(text) if text else None for name, text in answers.items()}
    for name, why in said.items():
        result[name] = {"passed": False, "error": why}
    print(json.dumps(result))
    ok = run.returncode == 0 and all(r and r["passed"] for r in result.values())
    if not ok:
        for name, r in sorted(result.items()):
            print(name, "" if r and r["passed"] else "FAILED", json.dumps(r), file=sys.stderr)
    sys.exit(0 if ok else 1)


main()
