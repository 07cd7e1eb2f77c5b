#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads out of built programs what hardening they really have.

    binary_hardening.py PROGRAM...

One line per lack, "PROGRAM: lacks WORD: what was seen"; exit 1 when there is one. Flags of the compiler are read from the
debug information of every unit of the program, so one object built without them is found, whatever the others have.
"""
import re
import subprocess
import sys

# The debug information names the compiler's options, all of them: of each family the last one counts.
UNIT_FLAGS = {"-fstack-protector-strong": r"-f(?:no-)?stack-protector(?:-\w+)?",
              "-fno-strict-overflow": r"-f(?:no-)?strict-overflow",
              "-fno-delete-null-pointer-checks": r"-f(?:no-)?delete-null-pointer-checks"}
UNIT_FLAGS_X86 = {"-fstack-clash-protection": r"-f(?:no-)?stack-clash-protection", "-fcf-protection=full": r"-fcf-protection(?:=\w+)?"}

# Functions with a checked twin in the C library which FORTIFY always replaces. Not snprintf: the compiler turns the checked
# call back into the plain one where it can prove that the text fits.
ALWAYS_CHECKED = {"printf", "fprintf", "vsnprintf", "vfprintf", "dprintf", "vdprintf", "vsprintf"}


def tool(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, errors="replace").stdout


def segments(headers):
    """[(type, flags)] of the program headers."""
    rows = re.findall(r"^\s+([A-Z_]+)\s+0x\w+ 0x\w+ 0x\w+ 0x\w+ 0x\w+ ([RWE ]{3})", headers, re.M)
    return [(kind, flags.replace(" ", "")) for kind, flags in rows]


def lacks_of_linking(program):
    headers, dynamic = tool("readelf", "-lW", program), tool("readelf", "-dW", program)
    parts = segments(headers)
    stack = [flags for kind, flags in parts if kind == "GNU_STACK"]
    loads = [flags for kind, flags in parts if kind == "LOAD"]
    flags_1 = " ".join(re.findall(r"\(FLAGS_1\)\s+Flags: (.*)", dynamic))
    if "DYN" not in headers.splitlines()[1] or "PIE" not in flags_1:
        yield "PIE", f"flags {flags_1!r}"
    if not any(kind == "GNU_RELRO" for kind, _ in parts):
        yield "RELRO", "no GNU_RELRO segment"
    if "NOW" not in flags_1.split():
        yield "BIND_NOW", f"flags {flags_1!r}"
    if stack != ["RW"]:
        yield "noexecstack", f"GNU_STACK {stack}"
    # Code in pages of its own: headers and constants in front of it and behind it are not executable.
    if "RE" not in loads or loads[0] != "R" or any("W" in f and "E" in f for f in loads):
        yield "separate-code", f"LOAD segments {loads}"
    if re.search(r"\((RPATH|RUNPATH|TEXTREL)\)", dynamic):
        yield "no-search-path", "RPATH, RUNPATH or TEXTREL present"


def lacks_of_library_calls(program):
    imports = {line.split()[-1].split("@")[0] for line in tool("nm", "-D", "--undefined-only", program).splitlines() if line}
    plain = sorted(imports & ALWAYS_CHECKED)
    if not any(name.endswith("_chk") and name != "__stack_chk_fail" for name in imports):
        yield "FORTIFY", "no checked function is imported"
    elif plain:
        yield "FORTIFY", "unchecked " + " ".join(plain)
    if "__stack_chk_fail" not in imports:
        yield "stack-protector", "__stack_chk_fail is not imported"


def lacks_of_units(program):
    x86 = "X86-64" in tool("readelf", "-hW", program)
    text = tool("readelf", "-wi", "--dwarf-depth=1", program)
    producers = re.findall(r"DW_AT_producer\s*:.*?: (.*)", text)
    producers = [p for p in producers if not p.startswith("GNU AS")]
    if not producers:
        yield "debug-information", "its options cannot be read"
    for flag, family in {**UNIT_FLAGS, **(UNIT_FLAGS_X86 if x86 else {})}.items():
        without = [p for p in producers if re.findall(rf"(?<!\S){family}(?!\S)", p)[-1:] != [flag]]
        if without:
            yield flag, f"{len(without)} of {len(producers)} units"


def lacks(program):
    for part in (lacks_of_linking, lacks_of_library_calls, lacks_of_units):
        yield from part(program)


def main():
    found = 0
    for program in sys.argv[1:]:
        for word, seen in lacks(program):
            print(f"{program}: lacks {word}: {seen}")
            found += 1
    if len(sys.argv) < 2:
        sys.exit("usage: binary_hardening.py PROGRAM...")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
