#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Searches places for secrets, in every form they could be written in.

    secret_search.py SECRETS PLACE...        SECRETS: a file of lines "NAME HEX"
    secret_search.py --plant PID HEX         writes these octets into that process's memory, prints where
    secret_search.py --wipe PID ADDRESS N    and takes them out again

A place is pid:NUMBER (the memory of a running process; needs root), a file, or a directory with all below it. Prints one line
"PLACE: NAME (FORM) at WHERE" for each find, the last line says how much was searched. Exit 1 when anything was found.

Forms: as it is, reversed (big numbers in memory are little-endian), hexadecimal in both cases, base64 and base64url whatever octets
stand before it and also across line ends, percent-encoded.
"""
import base64
import os
import re
import sys
import urllib.parse

CHUNK = 16 << 20


def base64_forms(value):
    """What is common to all base64 texts with `value` at offset 0, 1 and 2 of a group."""
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + value)
        first = (offset * 8 + 5) // 6           # characters that also depend on what stands before
        last = (offset + len(value)) * 8 // 6   # and those behind
        yield text[first:last]


def forms(value):
    """{octets to look for: name of the form}"""
    found = {value: "as it is", value[::-1]: "reversed", value.hex().encode(): "hex", value.hex().upper().encode(): "HEX"}
    for text in base64_forms(value):
        found.setdefault(text, "base64")
        found.setdefault(text.replace(b"+", b"-").replace(b"/", b"_"), "base64url")
    found.setdefault(urllib.parse.quote_from_bytes(value, safe="").encode(), "percent")
    return found


class Search:
    def __init__(self, secrets_file):
        self.wanted = {}
        with open(secrets_file) as f:
            for line in f:
                name, text = line.split()
                value = bytes.fromhex(text)
                if len(value) < 8:
                    raise ValueError(f"{name}: too short to be told from chance")
                for needle, form in forms(value).items():
                    self.wanted.setdefault(needle, (name, form))
        self.overlap = max(map(len, self.wanted)) * 2
        self.found, self.octets, self.places = 0, 0, 0

    def look(self, place, data, at):
        self.octets += len(data)
        # Base64 in lines: once more without their ends.
        texts = [data] if b"\n" not in data else [data, re.sub(rb"\r?\n", b"", data)]
        for needle, (name, form) in self.wanted.items():
            for n, text in enumerate(texts):
                hit = text.find(needle)
                if hit >= 0:
                    print(f"{place}: {name} ({form}) at {'about ' if n else ''}{at + hit:#x}")
                    self.found += 1
                    break

    def file(self, path):
        self.places += 1
        with open(path, "rb") as f:
            at, rest = 0, b""
            while True:
                data = f.read(CHUNK)
                if not data:
                    break
                self.look(path, rest + data, at - len(rest))
                at += len(data)
                rest = data[-self.overlap:]

    def memory(self, pid):
        """What a process unmaps while it is read is looked for again: that was no whole look."""
        self.places += 1
        for attempts_left in range(9, -1, -1):
            try:
                self.regions(pid)
                return
            except OSError:
                if not attempts_left:
                    raise

    def regions(self, pid):
        regions = 0
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for line in maps:
                span, mode, _, _, inode, *name = line.split()
                if "r" not in mode or (name and name[0] in ("[vvar]", "[vvar_vclock]", "[vsyscall]")):
                    continue
                if inode != "0" and "w" not in mode:
                    continue  # unchanged pages of a file
                start, end = (int(x, 16) for x in span.split("-"))
                mem.seek(start)
                data = mem.read(end - start)
                if len(data) != end - start:
                    raise OSError(f"pid {pid}: {span} could be read in part only")
                self.look(f"pid:{pid} {name[0] if name else 'anonymous'}", data, start)
                regions += 1
        if regions < 5:
            raise OSError(f"pid {pid}: only {regions} regions")

    def place(self, place):
        if place.startswith("pid:"):
            self.memory(int(place[4:]))
        elif os.path.isdir(place):
            for where, _, names in os.walk(place):
                for name in names:
                    path = os.path.join(where, name)
                    if os.path.isfile(path) and not os.path.islink(path):
                        self.file(path)
        else:
            self.file(place)


def lowest_of_stack(pid):
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            if line.rstrip().endswith("[stack]"):
                return int(line.split("-")[0], 16)
    raise OSError("no stack")


def write_memory(pid, at, data):
    with open(f"/proc/{pid}/mem", "r+b", 0) as mem:
        mem.seek(at)
        mem.write(data)


def main():
    if sys.argv[1] == "--plant":
        at = lowest_of_stack(sys.argv[2]) + 64
        write_memory(sys.argv[2], at, bytes.fromhex(sys.argv[3]))
        print(at)
        return 0
    if sys.argv[1] == "--wipe":
        write_memory(sys.argv[2], int(sys.argv[3]), bytes(int(sys.argv[4])))
        return 0
    search = Search(sys.argv[1])
    for place in sys.argv[2:]:
        search.place(place)
    print(f"searched {search.octets} octets in {search.places} places for {len(search.wanted)} forms: {search.found} found")
    return 1 if search.found else 0


if __name__ == "__main__":
    sys.exit(main())
