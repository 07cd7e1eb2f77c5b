#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads what the service gave out with python3-asn1crypto and prints it as JSON; makes OCSP requests.

    judge.py certs FILE             certs-only message (DER)
    judge.py cert FILE              one certificate (PEM or DER)
    judge.py crl FILE               one CRL (DER)
    judge.py ocsp FILE              one OCSP response (DER)
    judge.py ocsp-request ISSUER... one OCSP request on standard output; see --help

Every object is loaded strictly, and encoding it again must give the same octets: what is printed was DER.
"""
import argparse
import hashlib
import json
import sys

from asn1crypto import algos, cms, core, crl, ocsp, pem, x509



def loaded(kind, octets):
    thing = kind.load(octets, strict=True)
    thing.native  # walks everything: values that cannot be read raise
    if thing.copy().dump(force=True) != octets:
        sys.exit("encoding it again gives other octets: this was not DER")
    return thing


def octets_of(path):
    with open(path, "rb") as f:
        octets = f.read()
    return pem.unarmor(octets)[2] if pem.detect(octets) else octets


def time_of(value):
    """["GeneralizedTime", "20260101000000Z"] exactly as it stands there."""
    if isinstance(value, core.Choice):
        value = value.chosen
    tag = {"UTCTime": "UTCTime", "GeneralizedTime": "GeneralizedTime"}.get(type(value).__mro__[0].__name__) or (
        "UTCTime" if isinstance(value, core.UTCTime) else "GeneralizedTime")
    return [tag, value.contents.decode()]


def extensions_of(list_):
    if not isinstance(list_, core.SequenceOf):
        return None
    return {e["extn_id"].dotted: {"critical": e["critical"].native, "value": e["extn_value"].contents.hex()} for e in list_}


def algorithm_of(a):
    return {"oid": a["algorithm"].dotted, "parameters": a["parameters"].dump().hex() if a["parameters"].dump() else ""}


def cert(c):
    t = c["tbs_certificate"]
    return {
        "serial": format(c.serial_number, "x"),
        "subject": c.subject.dump().hex(),
        "subject_text": c.subject.human_friendly,
        "issuer": c.issuer.dump().hex(),
        "spki_sha256": hashlib.sha256(c.public_key.dump()).hexdigest(),
        "sha256": hashlib.sha256(c.dump()).hexdigest(),
        "ca": bool(c.ca),
        "self_issued": c.subject.dump() == c.issuer.dump(),
        "not_before": time_of(t["validity"]["not_before"]),
        "not_after": time_of(t["validity"]["not_after"]),
        "string_tags": sorted({v["value"].chosen.tag for r in c.subject.chosen for v in r}),
        "key_usage": sorted(c.key_usage_value.native) if c.key_usage_value else [],
        "eku": [e.dotted for e in c.extended_key_usage_value] if c.extended_key_usage_value else [],
        "san": [g.native for g in c.subject_alt_name_value] if c.subject_alt_name_value else [],
        "crl_url": [g.native for p in c.crl_distribution_points for g in p["distribution_point"].chosen],
        "ski": c.key_identifier.hex() if c.key_identifier else None,
        "extensions": extensions_of(t["extensions"]),
    }


def certs(octets):
    info = loaded(cms.ContentInfo, octets)
    s = info["content"]
    return {
        "content_type": info["content_type"].native,
        "version": s["version"].native,
        "digest_algorithms": len(s["digest_algorithms"]),
        "encap_type": s["encap_content_info"]["content_type"].native,
        "encap_content": s["encap_content_info"]["content"].native is not None,
        "signer_infos": len(s["signer_infos"]),
        "crls": s["crls"].native is not None,
        "certificates": [cert(c.chosen) for c in s["certificates"]],
    }


def crl_of(octets):
    c = loaded(crl.CertificateList, octets)
    t = c["tbs_cert_list"]
    entries = t["revoked_certificates"]
    number = c.crl_number_value
    return {
        "version": t["version"].native,
        "issuer": t["issuer"].dump().hex(),
        "inner_algorithm": algorithm_of(t["signature"]),
        "outer_algorithm": algorithm_of(c["signature_algorithm"]),
        "this_update": time_of(t["this_update"]),
        "next_update": time_of(t["next_update"]),
        "number": number.native if number is not None else None,
        "aki": c.authority_key_identifier_value["key_identifier"].native.hex(),
        "extensions": extensions_of(t["crl_extensions"]),
        "revoked_present": isinstance(entries, core.SequenceOf),
        "entries": [
            {
                "serial": format(e["user_certificate"].native, "x"),
                "date": time_of(e["revocation_date"]),
                "reason": e.crl_reason_value.native if e.crl_reason_value else None,
                "invalidity": time_of(e.invalidity_date_value) if e.invalidity_date_value else None,
                "extensions": extensions_of(e["crl_entry_extensions"]),
            }
            for e in (entries if isinstance(entries, core.SequenceOf) else ())
        ],
    }


def status_of(single):
    s = single["cert_status"]
    out = {"status": s.name}
    if s.name == "revoked":
        out["revoked_at"] = time_of(s.chosen["revocation_time"])
        reason = s.chosen["revocation_reason"].native
        out["reason"] = reason
    return out


def ocsp_of(octets):
    r = loaded(ocsp.OCSPResponse, octets)
    out = {"status": r["response_status"].native}
    if r["response_bytes"].native is None:
        return out
    basic = r["response_bytes"]["response"].parsed
    data = basic["tbs_response_data"]
    responder = data["responder_id"]
    certs_ = basic["certs"]
    signer = next(iter(certs_)) if isinstance(certs_, core.SequenceOf) else None
    out.update(
        response_type=r["response_bytes"]["response_type"].native,
        version_written=data.contents[:1] == b"\xa0",
        responder_by=responder.name,
        responder_key=responder.native.hex() if responder.name == "by_key" else None,
        key_sha1=hashlib.sha1(signer.public_key["public_key"].contents[1:]).hexdigest() if signer else None,
        produced_at=time_of(data["produced_at"]),
        algorithm=algorithm_of(basic["signature_algorithm"]),
        certificates=len(certs_) if signer else 0,
        signer=cert(signer) if signer else None,
        extensions=extensions_of(data["response_extensions"]),
        singles=[
            dict(
                status_of(s),
                cert_id=s["cert_id"].dump().hex(),
                serial=format(s["cert_id"]["serial_number"].native, "x"),
                hash=s["cert_id"]["hash_algorithm"]["algorithm"].native,
                this_update=time_of(s["this_update"]),
                next_update=time_of(s["next_update"]) if s["next_update"].native else None,
                extensions=extensions_of(s["single_extensions"]),
            )
            for s in data["responses"]
        ],
    )
    return out


def request(o):
    """Certificates come as ISSUER.pem=SERIALHEX, in the order of the questions."""
    questions = []
    for pair in o.question:
        path, serial = pair.rsplit("=", 1)
        issuer = x509.Certificate.load(octets_of(path))
        questions.append({"req_cert": {
            "hash_algorithm": algos.DigestAlgorithm({"algorithm": o.hash, "parameters": core.Null()} if o.null else {"algorithm": o.hash}),
            "issuer_name_hash": hashlib.new(o.hash, issuer.subject.dump()).digest(),
            "issuer_key_hash": hashlib.new(o.hash, issuer.public_key["public_key"].contents[1:]).digest(),
            "serial_number": int(serial, 16)}})
    extensions = []
    if o.nonce:
        extensions.append({"extn_id": "1.3.6.1.5.5.7.48.1.2", "extn_value": core.ParsableOctetString(core.OctetString(bytes.fromhex(o.nonce)).dump())})
    for oid, critical, value in o.extension or ():
        extensions.append({"extn_id": oid, "critical": critical == "critical", "extn_value": core.ParsableOctetString(bytes.fromhex(value))})
    tbs = {"request_list": questions}
    if extensions:
        tbs["request_extensions"] = extensions
    if o.requestor:
        tbs["requestor_name"] = x509.GeneralName(name="directory_name", value=x509.Name.build({"common_name": o.requestor}))
    return ocsp.OCSPRequest({"tbs_request": ocsp.TBSRequest(tbs)}).dump()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("certs", "cert", "crl", "ocsp"):
        commands.add_parser(name).add_argument("file")
    ask = commands.add_parser("ocsp-request")
    ask.add_argument("question", nargs="+", help="ISSUER.pem=SERIALHEX")
    ask.add_argument("--hash", default="sha1")
    ask.add_argument("--no-null", dest="null", action="store_false", help="parameters of the hash left out")
    ask.add_argument("--nonce", help="octets in hexadecimal")
    ask.add_argument("--extension", nargs=3, action="append", metavar=("OID", "CRITICAL", "HEX"))
    ask.add_argument("--requestor")
    o = parser.parse_args()
    if o.command == "ocsp-request":
        sys.stdout.buffer.write(request(o))
        return
    octets = octets_of(o.file)
    out = {"certs": certs, "crl": crl_of, "ocsp": ocsp_of,
           "cert": lambda d: cert(loaded(x509.Certificate, d))}[o.command](octets)
    json.dump(out, sys.stdout, indent=1, default=str)
    print()


if __name__ == "__main__":
    main()
