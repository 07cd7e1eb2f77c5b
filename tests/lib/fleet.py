# SPDX-License-Identifier: Apache-2.0
"""Large fleets for tests: OCSP requests as fill_ledger writes them, and what the service answers to one."""
import struct
import urllib.request

CERT_STATUS = {0x80: "good", 0xA1: "revoked", 0x82: "unknown"}


def requests_read(path):
    """The DER of each request of a file that fill_ledger wrote."""
    with open(path, "rb") as f:
        data, found = f.read(), []
    while data:
        n = struct.unpack(">H", data[:2])[0]
        found.append(data[2:2 + n])
        data = data[2 + n:]
    return found


def ocsp_says(port, request):
    """good, revoked or unknown: the octet after the CertID of the one SingleResponse (RFC 6960 4.2.1); "?" for anything else."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/ocsp", request, {"Content-Type": "application/ocsp-request"})
    with urllib.request.urlopen(asked, timeout=5) as answer:
        body = answer.read()
    cert_id = request[10:]  # after OCSPRequest, TBSRequest, requestList, Request and CertID, all of one-octet lengths
    at = body.find(cert_id)
    return CERT_STATUS.get(body[at + len(cert_id)], "?") if at > 0 else "?"
