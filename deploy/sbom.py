#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the bill of materials of the built programs: CycloneDX 1.5 and SPDX 2.3, both JSON.

    sbom.py --version V --license LICENSE-ID --out DIR PROGRAM...

For each program: its digest and the shared libraries the dynamic loader resolves for it. For each library: the file's digest, and
its Debian package with version, source package and licence, where dpkg knows it. The licence is that of the `Files: *` paragraph of the
package's copyright file (machine-readable format); a package without one gets NOASSERTION. The time is SOURCE_DATE_EPOCH, or that of
the newest program, so that the same programs give the same text.
"""
import argparse
import datetime
import hashlib
import json
import os
import re
import subprocess
import uuid

NAMESPACE = uuid.UUID("6e2d4c1a-5f0b-4d5e-9a63-0d6b3c2f8a11")
# Names in Debian's copyright files to identifiers of the SPDX licence list.
SPDX_IDS = {
    "apache-2.0": "Apache-2.0", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "expat": "MIT", "mit": "MIT",
    "isc": "ISC", "zlib": "Zlib", "gpl-2": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only",
    "gpl-3+": "GPL-3.0-or-later", "lgpl-2": "LGPL-2.0-only", "lgpl-2+": "LGPL-2.0-or-later", "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-3": "LGPL-3.0-only", "lgpl-3+": "LGPL-3.0-or-later", "curl": "curl", "bsd-4-clause": "BSD-4-Clause",
    "cc0-1.0": "CC0-1.0", "mpl-2.0": "MPL-2.0", "openldap-2.8": "OLDAP-2.8", "gfdl-1.3+": "GFDL-1.3-or-later", "0bsd": "0BSD",
}


def run(*command, partly=False):
    """What it prints; nothing when it fails or is not there, unless a part of an answer is one."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout if partly or done.returncode == 0 else ""


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def sha1(path):
    with open(path, "rb") as f:
        return hashlib.sha1(f.read()).hexdigest()


def libraries_of(program):
    """[(soname, path)] as the loader resolves them."""
    return sorted(re.findall(r"^\s+(\S+) => (/\S+) \(0x", run("ldd", program), re.M))


def licence_of(package):
    """The licence of the package's `Files: *` paragraph as an SPDX expression, and {reference: Debian's name} of what the list lacks."""
    try:
        with open(f"/usr/share/doc/{package}/copyright", errors="replace") as f:
            paragraphs = f.read().split("\n\n")
    except OSError:
        return "NOASSERTION", {}
    found = [re.search(r"^License:[ \t]*(.+)$", p, re.M) for p in paragraphs if re.search(r"^Files:\s*\*\s*$", p, re.M)]
    if "format/1.0" not in paragraphs[0] or not found or not found[0]:
        return "NOASSERTION", {}
    parts, others = [], {}
    for word in re.split(r"(\s+and/or\s+|\s+and\s+|\s+or\s+)", found[0][1].strip()):
        kind = word.strip(" ,")
        if kind in ("and", "or", "and/or"):
            parts.append("AND" if kind == "and" else "OR")
            continue
        name = SPDX_IDS.get(kind.lower())
        if not name:
            name = "LicenseRef-Debian-" + re.sub(r"[^A-Za-z0-9.-]+", "-", kind).strip("-")
            others[name] = kind
        parts.append(name)
    return " ".join(parts), others


class Packages:
    """Debian's packages by the file they bring: one question for all files, one for all packages."""

    def __init__(self, paths):
        self.owner, self.facts = {}, {}
        # After the merge of /usr dpkg knows some files under the old name alone.
        names = {p: {p, os.path.realpath(p)} for p in paths}
        names = {p: n | {x[4:] for x in n if x.startswith("/usr/")} for p, n in names.items()}
        asked = sorted(set().union(*names.values())) if names else []
        answers = {}
        for line in run("dpkg-query", "-S", *asked, partly=True).splitlines():
            owner, _, path = line.partition(": ")
            answers[path] = owner.split(",")[0]
        for p, n in names.items():
            self.owner[p] = next((answers[x] for x in sorted(n) if x in answers), None)
        owners = sorted({o for o in self.owner.values() if o})
        form = "${binary:Package}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n"
        for line in run("dpkg-query", "-W", "-f", form, *owners).splitlines() if owners else []:
            key, name, version, arch, source, source_version = line.split("\t")
            licence, others = licence_of(name)
            facts = {"name": name, "version": version, "arch": arch, "source": source, "source_version": source_version,
                     "licence": licence, "others": others}
            self.facts[key] = self.facts[f"{name}:{arch}"] = facts

    def of(self, path):
        return self.facts.get(self.owner.get(path))


def distribution():
    with open("/etc/os-release") as f:
        return dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', f.read(), re.M))


def gather(programs):
    """({program: [library path]}, {library path: facts})"""
    resolved = {program: libraries_of(program) for program in programs}
    names = {path: soname for pairs in resolved.values() for soname, path in pairs}
    packages, libraries = Packages(names), {}
    for path, soname in names.items():
        real = os.path.realpath(path)
        libraries[real] = {"soname": soname, "sha256": sha256(real), "sha1": sha1(real), "package": packages.of(path)}
    uses = {program: sorted({os.path.realpath(path) for _, path in pairs}) for program, pairs in resolved.items()}
    return uses, libraries


def purl(package):
    system = distribution()
    return (f"pkg:deb/{system.get('ID', 'debian')}/{package['name']}@{package['version'].replace('+', '%2B').replace(':', '%3A').replace('~', '%7E')}"
            f"?arch={package['arch']}&distro={system.get('ID', 'debian')}-{system.get('VERSION_ID', '')}")


def stamp(programs):
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or max(os.path.getmtime(p) for p in programs))
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- CycloneDX 1.5 ----

def cdx_library(path, lib):
    package = lib["package"]
    part = {"type": "library", "bom-ref": f"lib:{path}", "name": package["name"] if package else lib["soname"],
            "hashes": [{"alg": "SHA-256", "content": lib["sha256"]}],
            "properties": [{"name": "inkan:file", "value": path}, {"name": "inkan:soname", "value": lib["soname"]}]}
    if package:
        part["version"] = package["version"]
        part["purl"] = purl(package)
        part["properties"].append({"name": "inkan:debian-source", "value": f"{package['source']} {package['source_version']}"})
        if package["licence"] != "NOASSERTION":
            part["licenses"] = [{"expression": package["licence"]}]
    return part


def cyclonedx(options, uses, libraries, time):
    parts = [{"type": "application", "bom-ref": f"program:{os.path.basename(p)}", "name": os.path.basename(p), "version": options.version,
              "hashes": [{"alg": "SHA-256", "content": sha256(p)}], "licenses": [{"license": {"id": options.license}}]} for p in uses]
    parts += [cdx_library(path, libraries[path]) for path in sorted(libraries)]
    depends = [{"ref": "inkan", "dependsOn": [f"program:{os.path.basename(p)}" for p in uses]}]
    depends += [{"ref": f"program:{os.path.basename(p)}", "dependsOn": [f"lib:{path}" for path in uses[p]]} for p in uses]
    depends += [{"ref": f"lib:{path}"} for path in sorted(libraries)]
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "metadata": {"timestamp": time, "tools": {"components": [{"type": "application", "name": "sbom.py", "version": options.version}]},
                         "component": {"type": "application", "bom-ref": "inkan", "name": "inkan", "version": options.version,
                                       "licenses": [{"license": {"id": options.license}}]}},
            "components": parts, "dependencies": depends}


# ---- SPDX 2.3 ----

def spdx_id(*words):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-")


def spdx_package(name, version, identity, **more):
    return {"name": name, "SPDXID": identity, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION", **more}


def spdx_file(path, name, licence, digest):
    return {"fileName": name, "SPDXID": spdx_id("File", os.path.basename(path), digest[1][:12]), "fileTypes": ["BINARY"],
            "checksums": [{"algorithm": "SHA1", "checksumValue": digest[0]}, {"algorithm": "SHA256", "checksumValue": digest[1]}],
            "licenseConcluded": "NOASSERTION", "licenseInfoInFiles": [licence], "copyrightText": "NOASSERTION"}


def spdx(options, uses, libraries, time):
    others, packages, files, relations = {}, {}, {}, []
    root = spdx_package("inkan", options.version, "SPDXRef-inkan", licenseDeclared=options.license, primaryPackagePurpose="APPLICATION")

    def relate(one, kind, other):
        relations.append({"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other})

    relate("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-inkan")
    for path, lib in sorted(libraries.items()):
        files[path] = spdx_file(path, path, "NOASSERTION", (lib["sha1"], lib["sha256"]))
        p = lib["package"]
        if not p:
            continue
        others.update(p["others"])
        identity = spdx_id("Package", p["name"], p["version"])
        if identity not in packages:
            packages[identity] = spdx_package(
                p["name"], p["version"], identity, licenseDeclared=p["licence"], primaryPackagePurpose="LIBRARY",
                sourceInfo=f"built from {p['source']} {p['source_version']}",
                externalRefs=[{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl(p)}])
        relate(identity, "CONTAINS", files[path]["SPDXID"])
    for program, used in uses.items():
        name = os.path.basename(program)
        files[program] = spdx_file(program, f"./{name}", options.license, (sha1(program), sha256(program)))
        relate("SPDXRef-inkan", "CONTAINS", files[program]["SPDXID"])
        for path in used:
            relate(files[program]["SPDXID"], "DYNAMIC_LINK", files[path]["SPDXID"])
    digest = hashlib.sha256("".join(f["checksums"][1]["checksumValue"] for f in files.values()).encode()).hexdigest()
    document = {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"inkan-{options.version}",
                "documentNamespace": f"https://spdx.org/spdxdocs/inkan-{options.version}-{uuid.uuid5(NAMESPACE, digest)}",
                "creationInfo": {"created": time, "creators": [f"Tool: sbom.py-{options.version}"]},
                "packages": [root] + list(packages.values()), "files": list(files.values()), "relationships": relations}
    if others:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": ref, "name": name, "extractedText": f"The licence that Debian's copyright file calls {name}"} for ref, name in sorted(others.items())]
    return document


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", required=True)
    parser.add_argument("--license", default="Apache-2.0")
    parser.add_argument("--out", required=True)
    parser.add_argument("programs", nargs="+")
    options = parser.parse_args()
    uses, libraries = gather(options.programs)
    time = stamp(options.programs)
    for name, document in (("inkan.cdx.json", cyclonedx(options, uses, libraries, time)), ("inkan.spdx.json", spdx(options, uses, libraries, time))):
        with open(os.path.join(options.out, name), "w") as f:
            json.dump(document, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
