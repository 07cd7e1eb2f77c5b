#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks a bill of materials against the rules of its format and against the programs themselves.

    sbom_check.py inkan.cdx.json|inkan.spdx.json PROGRAM...

Written from CycloneDX 1.5's JSON schema and from the SPDX 2.3 specification (clauses 6 to 11 and annex D), not from the writer: it
asks objdump and dpkg itself. Prints each mistake; exit 1 when there is one.
"""
import hashlib
import json
import os
import re
import subprocess
import sys

SPDX_ID = re.compile(r"SPDXRef-[A-Za-z0-9.-]+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
LICENCE_WORD = re.compile(r"(LicenseRef-[A-Za-z0-9.-]+|[A-Za-z0-9][A-Za-z0-9.-]*\+?)")
PURL = re.compile(r"pkg:deb/[a-z0-9.-]+/[a-z0-9.+-]+@[A-Za-z0-9.%~+-]+\?arch=[a-z0-9]+&distro=[a-z0-9.-]+")
mistakes = []


def require(claim, text):
    if not claim:
        mistakes.append(text)
    return claim


def keys(thing, what, needed, allowed):
    require(isinstance(thing, dict), f"{what} is no object")
    for k in needed - thing.keys():
        mistakes.append(f"{what} lacks {k}")
    for k in thing.keys() - needed - allowed:
        mistakes.append(f"{what} has {k}, which the format does not know")


def digest(path, algorithm):
    with open(path, "rb") as f:
        return hashlib.new(algorithm, f.read()).hexdigest()


def needed_by(program):
    """The sonames a program names itself."""
    out = subprocess.run(["objdump", "-p", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    return set(re.findall(r"^\s+NEEDED\s+(\S+)", out, re.M))


def installed():
    out = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\n"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {tuple(line.split()) for line in out.splitlines() if len(line.split()) == 3}


def licence_expression(text, what, refs=None):
    words = text.replace("(", " ( ").replace(")", " ) ").split()
    for i, w in enumerate(words):
        if i % 2 and w not in ("AND", "OR", "WITH"):
            mistakes.append(f"{what}: licence expression {text!r}")
        if i % 2 == 0:
            require(LICENCE_WORD.fullmatch(w), f"{what}: licence {w!r}")
            if refs is not None and w.startswith("LicenseRef-"):
                require(w in refs, f"{what}: {w} is not declared")
    require(len(words) % 2 == 1, f"{what}: licence expression {text!r}")


# ---- CycloneDX 1.5 ----

COMPONENT_KEYS = {"bom-ref", "version", "hashes", "licenses", "purl", "properties"}


def cdx_component(c, what):
    keys(c, what, {"type", "name"}, COMPONENT_KEYS)
    require(c.get("type") in ("application", "library"), f"{what}: type {c.get('type')}")
    for h in c.get("hashes", []):
        keys(h, f"{what} hash", {"alg", "content"}, set())
        require(h["alg"] == "SHA-256" and re.fullmatch("[0-9a-f]{64}", h["content"]), f"{what}: hash {h}")
    licences = c.get("licenses", [])
    # Either licences one by one, or one expression alone.
    require(len(licences) == 1 or not any("expression" in x for x in licences), f"{what}: licenses")
    for x in licences:
        require(set(x) in ({"license"}, {"expression"}), f"{what}: licenses")
        if "expression" in x:
            licence_expression(x["expression"], what)
        else:
            require(set(x["license"]) in ({"id"}, {"name"}), f"{what}: licence {x}")
    if "purl" in c:
        require(PURL.fullmatch(c["purl"]), f"{what}: purl {c['purl']}")


def cyclonedx(bom, programs):
    keys(bom, "the document", {"bomFormat", "specVersion"}, {"version", "serialNumber", "metadata", "components", "dependencies"})
    require(bom["bomFormat"] == "CycloneDX" and bom["specVersion"] == "1.5", "format and version")
    require(isinstance(bom.get("version"), int) and bom["version"] >= 1, "version")
    keys(bom["metadata"], "metadata", set(), {"timestamp", "tools", "component"})
    require(TIME.fullmatch(bom["metadata"]["timestamp"]), "timestamp")
    cdx_component(bom["metadata"]["component"], "the product")
    parts = bom["components"]
    for c in parts:
        cdx_component(c, c.get("bom-ref", "a component"))
    refs = [bom["metadata"]["component"]["bom-ref"]] + [c["bom-ref"] for c in parts]
    require(len(refs) == len(set(refs)), "a bom-ref twice")
    depends = {}
    for d in bom["dependencies"]:
        keys(d, "dependency", {"ref"}, {"dependsOn"})
        on = d.get("dependsOn", [])
        require(d["ref"] in refs and set(on) <= set(refs) and len(on) == len(set(on)), f"dependency of {d['ref']}")
        depends[d["ref"]] = on
    by_ref = {c["bom-ref"]: c for c in parts}
    packages = installed()
    for c in parts:
        if c["type"] == "library":
            path = dict((p["name"], p["value"]) for p in c["properties"])["inkan:file"]
            require(c["hashes"][0]["content"] == digest(path, "sha256"), f"{path}: digest")
            arch = re.search(r"arch=(\w+)", c.get("purl", "arch=none"))[1]
            require((c["name"], c.get("version"), arch) in packages, f"{path}: {c['name']} {c.get('version')} is not installed")
    for program in programs:
        name = os.path.basename(program)
        c = by_ref.get(f"program:{name}")
        if not require(c, f"{name} is not listed"):
            continue
        require(c["hashes"][0]["content"] == digest(program, "sha256"), f"{name}: digest")
        sonames = {p["value"] for ref in depends[f"program:{name}"] for p in by_ref[ref]["properties"] if p["name"] == "inkan:soname"}
        require(needed_by(program) <= sonames, f"{name}: libraries {needed_by(program) - sonames} are missing")
    require(len([c for c in parts if c["type"] == "application"]) == len(programs), "number of programs")


# ---- SPDX 2.3 ----

PACKAGE_KEYS = {"versionInfo", "filesAnalyzed", "licenseConcluded", "licenseDeclared", "copyrightText", "primaryPackagePurpose", "sourceInfo", "externalRefs"}
RELATIONS = {"DESCRIBES", "CONTAINS", "DYNAMIC_LINK"}


def spdx(doc, programs):
    keys(doc, "the document", {"spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo"},
         {"packages", "files", "relationships", "hasExtractedLicensingInfos"})
    require(doc["spdxVersion"] == "SPDX-2.3" and doc["dataLicense"] == "CC0-1.0" and doc["SPDXID"] == "SPDXRef-DOCUMENT", "6.1 to 6.3")
    require(re.fullmatch(r"https://[^#\s]+", doc["documentNamespace"]), "6.5 namespace")
    require(TIME.fullmatch(doc["creationInfo"]["created"]), "6.9 created")
    require(doc["creationInfo"]["creators"] and all(re.match(r"(Tool|Person|Organization): .", c) for c in doc["creationInfo"]["creators"]), "6.8 creators")
    refs = {x["licenseId"] for x in doc.get("hasExtractedLicensingInfos", [])}
    for x in doc.get("hasExtractedLicensingInfos", []):
        require(x["licenseId"].startswith("LicenseRef-") and x.get("extractedText"), f"10.1, 10.2 {x['licenseId']}")
    identities = ["SPDXRef-DOCUMENT"]
    packages = installed()
    for p in doc["packages"]:
        what = p.get("name", "a package")
        keys(p, what, {"name", "SPDXID", "downloadLocation"}, PACKAGE_KEYS)
        identities.append(p["SPDXID"])
        require(p["filesAnalyzed"] is False, f"7.8 {what}: no verification code")
        if p["licenseDeclared"] != "NOASSERTION":
            licence_expression(p["licenseDeclared"], f"7.15 {what}", refs)
        for x in p.get("externalRefs", []):
            require(x["referenceCategory"] == "PACKAGE-MANAGER" and x["referenceType"] == "purl" and PURL.fullmatch(x["referenceLocator"]), f"7.21 {what}")
            arch = re.search(r"arch=(\w+)", x["referenceLocator"])[1]
            require((what, p["versionInfo"], arch) in packages, f"{what} {p['versionInfo']} is not installed")
    files = {}
    for f in doc["files"]:
        keys(f, f["fileName"], {"fileName", "SPDXID", "checksums"}, {"fileTypes", "licenseConcluded", "licenseInfoInFiles", "copyrightText"})
        identities.append(f["SPDXID"])
        sums = {c["algorithm"]: c["checksumValue"] for c in f["checksums"]}
        path = f["fileName"]
        if path.startswith("./"):
            path = next((p for p in programs if os.path.basename(p) == path[2:]), None)
        if require(path, f"{f['fileName']} is none of the programs"):
            require(sums.get("SHA1") == digest(path, "sha1"), f"8.4 {path}: SHA1, which SPDX demands")
            require(sums.get("SHA256") == digest(path, "sha256"), f"{path}: SHA256")
        files[f["SPDXID"]] = f["fileName"]
    require(len(identities) == len(set(identities)), "an SPDXID twice")
    for i in identities:
        require(SPDX_ID.fullmatch(i), f"{i}: letters, digits, dot and hyphen only")
    links, contained = {}, set()
    for r in doc["relationships"]:
        keys(r, "relationship", {"spdxElementId", "relationshipType", "relatedSpdxElement"}, {"comment"})
        require(r["relationshipType"] in RELATIONS and r["spdxElementId"] in identities and r["relatedSpdxElement"] in identities, f"11.1 {r}")
        if r["relationshipType"] == "DYNAMIC_LINK":
            links.setdefault(files[r["spdxElementId"]], set()).add(os.path.basename(files[r["relatedSpdxElement"]]))
        elif r["relationshipType"] == "CONTAINS":
            contained.add(r["relatedSpdxElement"])
    require(any(r["relationshipType"] == "DESCRIBES" and r["spdxElementId"] == "SPDXRef-DOCUMENT" for r in doc["relationships"]), "11.1 DESCRIBES")
    require(set(files) <= contained, "a file that no package contains")
    for program in programs:
        linked = {re.sub(r"(\.so\.\d+).*", r"\1", x) for x in links.get("./" + os.path.basename(program), set())}
        lacking = {n for n in needed_by(program) if not any(re.sub(r"(\.so\.\d+).*", r"\1", n) == x or n.split(".so")[0].split("-")[0] == x.split(".so")[0].split("-")[0] for x in linked)}
        require(not lacking, f"{program}: libraries {lacking} are missing")


def main():
    with open(sys.argv[1]) as f:
        bom = json.load(f)
    (cyclonedx if "bomFormat" in bom else spdx)(bom, sys.argv[2:])
    for m in mistakes:
        print(m)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
