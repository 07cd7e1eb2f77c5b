# SPDX-License-Identifier: Apache-2.0
"""Reads the hand-over files of a work order as their receivers would: nothing of this project's, cryptography for the signatures.

    handover.py FORMAT DIR UNITS SIGNER ROOT INTERMEDIATE

UNITS is a directory with the certificate each device holds (UNIT.pem); its other files are not looked at. Every format must tell
of exactly the units given on standard input, one a line, and of the certificate that each of them holds.
"""
import base64
import csv
import hashlib
import json
import sys

import jsonschema
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature


def unb64u(text):
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pem(path):
    with open(path, "rb") as f:
        return x509.load_pem_x509_certificate(f.read())


def der(cert):
    return cert.public_bytes(serialization.Encoding.DER)


def raw_point(cert):
    return cert.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def issued_by(cert, ca):
    ca.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(cert.signature_hash_algorithm))


def open_jws(jws, signer, typ):
    """Header and payload of a flattened JWS by this certificate (RFC 7515 5.2)."""
    header = json.loads(unb64u(jws["protected"]))
    assert header["alg"] == "ES256" and header["typ"] == typ, header
    assert unb64u(header["x5t#S256"]) == hashlib.sha256(der(signer)).digest()
    signature = unb64u(jws["signature"])
    assert len(signature) == 64
    signer.public_key().verify(encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")),
                               f'{jws["protected"]}.{jws["payload"]}'.encode(), ec.ECDSA(hashes.SHA256()))
    return header, json.loads(unb64u(jws["payload"]))


def tree(leaves):
    """RFC 6962 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + tree(leaves[:k]) + tree(leaves[k:])).digest()


def lines(path):
    with open(path, "rb") as f:
        content = f.read()
    assert content.endswith(b"\n")
    return content[:-1].split(b"\n")


def native(directory, signer):
    _, index = open_jws(json.load(open(f"{directory}/index.jws")), signer, "inkan-unit-index")
    found = {}
    leaves = lines(f"{directory}/units.jsonl")
    assert index["count"] == len(leaves) and index["root"] == tree(leaves).hex()
    for i, line in enumerate(leaves):
        header, unit = open_jws(json.loads(line), signer, "inkan-unit")
        assert header["kid"] == hashlib.sha1(raw_point(signer)).hexdigest()
        assert unit["index"] == i and unit["export"] == index["export"] and unit["order"] == index["order"]
        found[unit["device_id"]] = base64.b64decode(unit["certificate"], validate=True)
    return found


def microchip(directory, signer):
    found = {}
    for jws in json.load(open(f"{directory}/manifest.json")):
        header, element = open_jws(jws, signer, "JWT")
        assert unb64u(header["kid"]) == hashlib.sha1(raw_point(signer)).digest()
        assert jws["header"] == {"uniqueId": element["uniqueId"]} and element["version"] == 3
        assert {"model", "partNumber", "manufacturer", "provisioner", "distributor", "groupId", "provisioningTimestamp"} < set(element)
        key, = element["publicKeySet"]["keys"]
        leaf, issuer = (base64.b64decode(c, validate=True) for c in key["x5c"])
        issued_by(x509.load_der_x509_certificate(leaf), x509.load_der_x509_certificate(issuer))
        assert b"\4" + unb64u(key["x"]) + unb64u(key["y"]) == raw_point(x509.load_der_x509_certificate(leaf))
        assert key["kty"] == "EC" and key["crv"] == "P-256"
        found[element["uniqueId"]] = leaf
    return found


def aws_bulk(directory, _):
    template = json.load(open(f"{directory}/template.json"))
    found = {}
    for line in lines(f"{directory}/things.jsonl"):
        thing = json.loads(line)
        assert set(thing) == set(template["Parameters"])
        assert all(len(v) <= 4096 for v in thing.values())
        leaf = x509.load_pem_x509_certificate(thing["CertificatePem"].encode())
        issued_by(leaf, x509.load_pem_x509_certificate(thing["CACertificatePem"].encode()))
        assert thing["ThingName"] == thing["SerialNumber"]
        found[thing["ThingName"]] = der(leaf)
    return found


BULK = {
    "type": "object", "required": ["enrollments", "mode"], "additionalProperties": False,
    "properties": {
        "mode": {"enum": ["create", "update", "updateIfMatchETag", "delete"]},
        "enrollments": {"type": "array", "minItems": 1, "maxItems": 10, "items": {
            "type": "object", "required": ["registrationId", "attestation"], "additionalProperties": False,
            "properties": {
                "registrationId": {"type": "string", "maxLength": 128, "pattern": "^[A-Za-z0-9._:-]*[A-Za-z0-9-]$"},
                "deviceId": {"type": "string", "maxLength": 128}, "provisioningStatus": {"enum": ["enabled", "disabled"]},
                "attestation": {"type": "object", "required": ["type", "x509"], "additionalProperties": False, "properties": {
                    "type": {"const": "x509"},
                    "x509": {"type": "object", "required": ["clientCertificates"], "additionalProperties": False, "properties": {
                        "clientCertificates": {"type": "object", "required": ["primary"], "additionalProperties": False, "properties": {
                            "primary": {"type": "object", "required": ["certificate"], "additionalProperties": False,
                                        "properties": {"certificate": {"type": "string"}}}}}}}}}}}}}}


def azure_dps_json(directory, _):
    found = {}
    bulks = [json.loads(line) for line in lines(f"{directory}/enrollments.jsonl")]
    assert all(len(b["enrollments"]) == 10 for b in bulks[:-1])
    for bulk in bulks:
        jsonschema.validate(bulk, BULK)
        for e in bulk["enrollments"]:
            text = e["attestation"]["x509"]["clientCertificates"]["primary"]["certificate"]
            leaf = x509.load_pem_x509_certificate(text.encode())
            assert leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == e["registrationId"] == e["deviceId"]
            found[e["registrationId"]] = der(leaf)
    return found


def azure_dps_csv(directory, _):
    with open(f"{directory}/enrollments.csv", newline="") as f:
        return {row["registrationId"]: base64.b64decode(row["certificate"], validate=True) for row in csv.DictReader(f, strict=True)}


def mes_csv(directory, _, units):
    """No certificate is in it: what stands there is compared with the one the device holds."""
    found = {}
    with open(f"{directory}/units.csv", newline="") as f:
        for row in csv.DictReader(f, strict=True):
            cert = pem(f"{units}/{row['device_id']}.pem")
            spki = cert.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            assert int(row["serial"], 16) == cert.serial_number and row["spki_sha256"] == hashlib.sha256(spki).hexdigest()
            assert (row["shipped_at"] != "") == (row["state"] == "shipped") and row["confirmed_at"]
            found[row["device_id"]] = der(cert)
    return found


def aws_jitr(directory, _, root, intermediate):
    text = open(f"{directory}/ca.pem").read()
    certs = [x509.load_pem_x509_certificate((c + "-----END CERTIFICATE-----\n").encode())
             for c in text.split("-----END CERTIFICATE-----\n") if c.strip()]
    assert [der(c) for c in certs] == [der(pem(intermediate)), der(pem(root))]


def main(kind, directory, units, signer, root, intermediate):
    signer = pem(signer)
    issued_by(signer, pem(intermediate))
    if kind == "aws-jitr":
        return aws_jitr(directory, signer, root, intermediate)
    readers = {"native": native, "microchip": microchip, "aws-bulk": aws_bulk, "azure-dps-json": azure_dps_json,
               "azure-dps-csv": azure_dps_csv, "csv": lambda d, s: mes_csv(d, s, units)}
    found = readers[kind](directory, signer)
    expected = sys.stdin.read().split()
    assert list(found) == expected, f"{list(found)} instead of {expected}"
    for unit, certificate in found.items():
        assert certificate == der(pem(f"{units}/{unit}.pem")), unit
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
