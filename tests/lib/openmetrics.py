#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A strict reader of OpenMetrics text 1.0.0, and what the tests ask of it.

    openmetrics.py check FILE            exits 1 naming the first line that breaks the format
    openmetrics.py get FILE NAME [LABEL=VALUE...]   the sum of the samples of that name with these labels; fails when there is none
    openmetrics.py docs FILE METRICS.md  families of the text and of the table in the document are the same
    openmetrics.py uses FILE THING...    every metric that rules (YAML) or dashboards (JSON) name is in the text
"""
import json
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
SUFFIXES = {"gauge": [""], "counter": ["_total", "_created"], "histogram": ["_bucket", "_count", "_sum", "_created"], "info": ["_info"]}
SAMPLE = re.compile(rf"({NAME})(\{{(.*)\}})? (\S+)$")
PAIR = re.compile(rf'({LABEL})="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)')
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$|[+-]?Inf$|NaN$")


class Broken(Exception):
    pass


def need(ok, text):
    if not ok:
        raise Broken(text)


def labels_of(text):
    out, at = [], 0
    while at < len(text):
        m = PAIR.match(text, at)
        need(m, f"labels {text!r}")
        need(m[1] not in dict(out), f"label {m[1]} twice")
        out.append((m[1], m[2]))
        need(m[3] != "," or m.end() < len(text), "a comma behind the last label")
        at = m.end()
    return tuple(out)


def check_histogram(name, samples):
    """Buckets rise, end with +Inf, and that one is the count."""
    series = {}
    for (sample, labels), value in samples.items():
        rest = tuple(l for l in labels if l[0] != "le")
        part = series.setdefault(rest, {"bucket": []})
        if sample.endswith("_bucket"):
            part["bucket"].append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
        else:
            part[sample[len(name) + 1:]] = value
    for part in series.values():
        bounds = [b for b, _ in part["bucket"]]
        counts = [c for _, c in part["bucket"]]
        need(bounds == sorted(set(bounds)) and bounds[-1] == float("inf"), f"{name}: bounds")
        need(counts == sorted(counts), f"{name}: buckets do not rise")
        need(part.get("count") == counts[-1] and "sum" in part, f"{name}: count is not the last bucket")


def read(text):
    """{family: (type, {(sample, labels): value})}"""
    need(text.endswith("# EOF\n"), "does not end with # EOF")
    families, current, described = {}, None, set()
    lines = text.split("\n")
    need(lines[-2:] == ["# EOF", ""], "something behind # EOF")
    for number, line in enumerate(lines[:-2], 1):
        try:
            m = re.match(rf"# (TYPE|UNIT|HELP) ({NAME}) (.*)$", line)
            if m:
                kind, name, rest = m.groups()
                if name != current:
                    need(name not in families, f"{name} begins again")
                    current = name
                    described = set()
                    families[name] = [None, {}]
                need(kind not in described and not families[name][1], f"{kind} of {name} at the wrong place")
                described.add(kind)
                if kind == "TYPE":
                    need(rest in SUFFIXES, f"type {rest}")
                    families[name][0] = rest
                if kind == "UNIT":
                    need(name.endswith("_" + rest), f"{name} does not end in its unit {rest}")
                if kind == "HELP":
                    need(rest, f"{name} without help")
                continue
            m = SAMPLE.match(line)
            need(m, "neither a sample nor a description")
            need(current and families[current][0] and "HELP" in described, "a sample without TYPE and HELP")
            kind, samples = families[current]
            need(m[1] in [current + s for s in SUFFIXES[kind]], f"{m[1]} is no sample of the {kind} {current}")
            need(NUMBER.match(m[4]), f"number {m[4]!r}")
            key = (m[1], labels_of(m[3] or ""))
            need((key[0], tuple(sorted(key[1]))) not in {(n, tuple(sorted(l))) for n, l in samples}, "the same sample twice")
            need(kind == "gauge" or float(m[4]) >= 0, "a counter below 0")
            need(("le" in dict(key[1])) == m[1].endswith("_bucket"), "le at the wrong sample")
            samples[key] = float(m[4])
        except Broken as e:
            raise Broken(f"line {number}: {e}: {line}") from None
    for name, (kind, samples) in families.items():
        if kind == "histogram" and samples:
            check_histogram(name, samples)
    return families


def documented(path):
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", open(path).read(), re.M)
    need(len(rows) == len(dict(rows)), "a metric stands twice in the document")
    return dict(rows)


def uses(path):
    """Names of metrics in a file of rules or a dashboard; nothing else of ours begins so."""
    text = open(path).read()
    if path.endswith(".json"):
        json.loads(text)
    return set(re.findall(r"\binkan_\w+", text))


def main():
    command, path, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    try:
        families = read(open(path).read())
        names = {n: k for n, (k, _) in families.items()}
        if command == "check":
            need(families, "no families")
        elif command == "get":
            want = [tuple(r.split("=", 1)) for r in rest[1:]]
            found = [v for _, (_, samples) in families.items() for (n, labels), v in samples.items()
                     if n == rest[0] and all(w in labels for w in want)]
            need(found, f"no {' '.join(rest)}")
            print(f"{sum(found):.15g}")
        elif command == "docs":
            listed = documented(rest[0])
            need(listed == names, f"text and document differ: {sorted(set(names.items()) ^ set(listed.items()))}")
        elif command == "uses":
            known = {n + s for n, k in names.items() for s in SUFFIXES[k]}
            for thing in rest:
                used = uses(thing)
                need(used, f"{thing} names no metric")
                need(used <= known, f"{thing}: unknown {sorted(used - known)}")
        else:
            sys.exit(__doc__)
    except Broken as e:
        sys.exit(f"openmetrics: {e}")


main()
