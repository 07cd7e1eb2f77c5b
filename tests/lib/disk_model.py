# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after a power cut, from a recording of tests/shim/write_log.c.

A Disk takes the records one after the other; at any point `state(how)` makes one of the states a cut could leave then:

  synced   only what a sync of the file, or of the directory for a name, had covered
  whole    everything
  torn     of each file all writes up to a random one, of that one some sectors
  late     of each file all writes from a random one on, none before
  random   of each write since the file's last sync a random part of its sectors (512 or 4096 octets), in no order;
           a file may have grown without its data; of each directory's unsynced changes a random first part
"""
import collections
import os
import random
import struct

HEADER = struct.Struct("=cB6xQQII")  # tests/shim/write_log.c
Record = collections.namedtuple("Record", "kind other ino at path data")


def read_records(path):
    with open(path, "rb") as f:
        while True:
            head = f.read(HEADER.size)
            if len(head) < HEADER.size:
                return
            kind, other, ino, at, path_len, data_len = HEADER.unpack(head)
            yield Record(kind.decode(), bool(other), ino, at, f.read(path_len).decode(), f.read(data_len))


class File:
    """`synced` is on the disk for sure; `pending` was written since: (offset, data) or (length, None)."""

    def __init__(self):
        self.synced = bytearray()
        self.pending = []

    def sync(self):
        for at, data in self.pending:
            apply(self.synced, at, data)
        self.pending = []

    def whole(self):
        content = bytearray(self.synced)
        for at, data in self.pending:
            apply(content, at, data)
        return content


def apply(content, at, data):
    if data is None:
        if at < len(content):
            del content[at:]
        else:
            content.extend(bytes(at - len(content)))
        return
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at:at + len(data)] = data


def sectors(at, data, size):
    """The pieces of one write, cut at the disk's sectors."""
    end, start = at + len(data), at
    while start < end:
        stop = min(end, (start // size + 1) * size)
        yield start, data[start - at:stop - at]
        start = stop


class Names:
    """One directory's names: what a sync covered, and the changes since."""

    def __init__(self):
        self.synced, self.pending = {}, []

    @staticmethod
    def change(names, op):
        kind, path, what = op
        if kind == "U":
            names.pop(path, None)
        elif kind == "R":
            if path in names:
                names[what] = names.pop(path)
        elif kind == "L":
            names[what] = names.get(path)
        else:
            names[path] = what

    def after(self, count):
        names = dict(self.synced)
        for op in self.pending[:count]:
            self.change(names, op)
        return names

    def sync(self):
        self.synced = self.after(len(self.pending))
        self.pending = []


DIRECTORY = "directory"


class Disk:
    def __init__(self):
        self.files = {}                                   # inode -> the File that has it now
        self.names = collections.defaultdict(Names)       # directory -> Names
        self.cannot = []

    def take(self, r):
        where = os.path.dirname(r.path)
        if r.kind == "C":
            self.files[r.ino] = File()
            self.names[where].pending.append(("C", r.path, self.files[r.ino]))
        elif r.kind == "M":
            self.names[where].pending.append(("M", r.path, DIRECTORY))
        elif r.kind in "RL":
            self.names[where].pending.append((r.kind, r.path, r.data.decode()))
        elif r.kind == "U":
            self.names[where].pending.append(("U", r.path, None))
        elif r.kind == "D":
            self.names[r.path].sync()
        elif r.kind == "X" or (r.kind in "WTSO" and r.ino not in self.files):
            self.cannot.append((r.kind, r.path or r.ino))
        elif r.kind == "W":
            self.files[r.ino].pending.append((r.at, r.data))
        elif r.kind == "T":
            self.files[r.ino].pending.append((r.at, None))
        elif r.kind == "S":
            self.files[r.ino].sync()

    def current(self, path):
        """The content as the running core sees it, or None."""
        names = self.names[os.path.dirname(path)]
        found = names.after(len(names.pending)).get(path)
        return found.whole() if isinstance(found, File) else None

    def state(self, how):
        """path -> content, or DIRECTORY."""
        every = {}
        for names in self.names.values():
            count = {"synced": 0, "whole": len(names.pending), "torn": len(names.pending)}.get(how, random.randint(0, len(names.pending)))
            every.update(names.after(count))
        contents = self.contents(how)
        made = {p for n in self.names.values() for _, p, what in n.pending if what is DIRECTORY}
        made |= {p for n in self.names.values() for p, what in n.synced.items() if what is DIRECTORY}
        out = {}
        for path, what in every.items():
            parent = os.path.dirname(path)
            if parent in made and parent not in every:
                continue                                   # its directory was lost
            out[path] = DIRECTORY if what is DIRECTORY else contents(what)
        return out

    @staticmethod
    def contents(how):
        size, share, grown = random.choice((512, 4096)), random.choice((0.1, 0.5, 0.9)), random.random() < 0.3
        make = {"synced": lambda f: f.synced, "whole": File.whole, "torn": lambda f: torn(f, size), "late": late,
                "random": lambda f: shuffled(f, size, share, grown)}[how]
        made = {}                                          # a file may have two names

        def content(f):
            if f not in made:
                made[f] = make(f)
            return made[f]
        return content


def torn(f, size):
    content = bytearray(f.synced)
    cut = random.randint(0, len(f.pending))
    for at, data in f.pending[:cut]:
        apply(content, at, data)
    if cut < len(f.pending) and f.pending[cut][1] is not None:
        for piece in sectors(*f.pending[cut], size):
            if random.random() < 0.5:
                apply(content, *piece)
    return content


def late(f):
    content = bytearray(f.synced)
    for at, data in f.pending[random.randint(0, len(f.pending)):]:
        apply(content, at, data)
    return content


def shuffled(f, size, share, grown):
    content = bytearray(f.synced)
    kept = []
    for at, data in f.pending:
        if data is None:
            kept += [(at, None)] if random.random() < share else []
        else:
            kept += [piece for piece in sectors(at, data, size) if random.random() < share]
    random.shuffle(kept)
    for piece in kept:
        apply(content, *piece)
    if grown:
        full = len(f.whole())
        if full > len(content):
            apply(content, full, None)
    return content


def lay_out(state, from_dir, to_dir):
    """The files of `state` below `from_dir`, as files below `to_dir`."""
    for path, content in sorted(state.items(), key=lambda item: item[0]):
        target = to_dir + path[len(from_dir):]
        if content is DIRECTORY:
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as f:
                f.write(content)
