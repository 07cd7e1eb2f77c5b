# SPDX-License-Identifier: Apache-2.0
"""Services with large ledgers: filled by fill_ledger while they are stopped, made once and kept where the caller says."""
import contextlib
import datetime
import json
import os
import shutil
import sqlite3
import time

import benchlib
import enrolllib

KEPT_LEAST = 100000  # certificates


def settings(bench):
    maker = os.path.join(enrolllib.maker_dir(bench), "maker.pem")
    return {"extra_anchors": f"  - {{name: bench, file: {maker}, domains: [example]}}\n",
            "extra_config": "\nconnections: 20000\nconnections_per_address: 20000\nocsp:\n  nonce_rate: 1000000\n"}


def wait_ready(s, seconds=120):
    s.shell(f"wait_for {seconds} health_is_ready")


def log_times(s, event):
    """Seconds since the epoch of every line of that event, with the line."""
    found = []
    with open(os.path.join(s.dir, "log/inkan.log"), errors="replace") as f:
        for line in f:
            if f"event={event} " in line:
                at = datetime.datetime.fromisoformat(line.split(" ", 1)[0][5:].replace("Z", "+00:00"))
                found.append((at.timestamp(), line))
    return found


def wait_current(s, since, seconds):
    """Waits until the status process, started after `since` (time.time()), has every row of the ledger; gives the seconds from
    its first question to then."""
    until = time.monotonic() + seconds
    while True:
        begun = [at for at, _ in log_times(s, "status-follows") if at > since]
        current = [at for at, _ in log_times(s, "status-current") if at > since]
        if begun and current and current[-1] >= begun[-1]:
            return current[-1] - begun[-1]
        if time.monotonic() > until:
            raise TimeoutError(f"status did not catch up in {seconds} s")
        time.sleep(0.1)


def fill(bench, s, count, revoked=0, every=None):
    """Stops the service, fills its ledger, starts it. Gives the figures of the filling and {"follow_s", "follow_rate"}."""
    s.shell("stop_service")
    requests = ["--requests", os.path.join(s.dir, "requests"), "--every", str(every)] if every else []
    done = bench.run(["nice", bench.tool("fill_ledger"), os.path.join(s.dir, "state/ledger/ledger.db"), "--count", str(count),
                      "--revoked", str(revoked), *requests], timeout=4 * 3600).json()
    since = time.time()
    s.shell("start_service")
    done["follow_s"] = wait_current(s, since, 60 + count / 2000)
    done["follow_rate"] = (count + revoked) / max(done["follow_s"], 0.001)
    wait_ready(s)
    return done


def warm(s):
    """Reads what an enrollment and an OCSP answer may touch into the kernel's cache: random-keyed indexes and the replica.

    After a filling, or a few larger files, most of them are not there; each measurement touches other pages of them, and would
    find the cache as cold as after a start for an hour."""
    with contextlib.closing(sqlite3.connect(f"file:{s.dir}/state/ledger/ledger.db?mode=ro", uri=True)) as db:
        for index in ("cert INDEXED BY sqlite_autoindex_cert_1", "spki", "device INDEXED BY sqlite_autoindex_device_1"):
            db.execute(f"SELECT count(*) FROM {index}").fetchone()
    with open(os.path.join(s.dir, "state/status/replica.db"), "rb") as f:
        while f.read(1 << 20):
            pass


@contextlib.contextmanager
def filled(bench, count, revoked=0, every=None, core=None, config=None):
    """A service with `count` enrolled devices, `revoked` of them revoked; .filling says how it came about.

    With INKAN_BENCH_LEDGERS=DIR the whole instance is kept in DIR/COUNT-REVOKED and used again by later runs. Not a small one:
    what each run enrolls would soon be most of it.
    """
    kept = os.environ.get("INKAN_BENCH_LEDGERS") if count >= KEPT_LEAST else None
    s = benchlib.Service(bench, dict(settings(bench), **(config or {})), 1, None, bench.server_core if core is None else core)
    directory = os.path.join(kept, f"{count}-{revoked}") if kept else s.dir
    made = os.path.join(directory, "filled.json")
    enrolllib.make_devices(bench, "maker-", 1)
    if kept:
        os.rmdir(s.dir)
        s.dir = s.settings["dir"] = directory
    bench._services.append(s)
    try:
        if os.path.exists(made):
            # Programs, ports and the manufacturer are this run's.
            since = time.time()
            s.shell("write_config && start_service")
            with open(made) as f:
                s.filling = json.load(f)
            wait_ready(s)
            wait_current(s, since, 60 + count / 2000)
        else:
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory, 0o755)
            s.start()
            s.filling = fill(bench, s, count, revoked, every)
            with open(made, "w") as f:
                json.dump(s.filling, f)
        os.sync()  # or the disk would still be busy with it while something is measured
        yield s
    finally:
        bench._services.remove(s)
        if kept:
            s.shell("stop_service")
        else:
            s.stop()
