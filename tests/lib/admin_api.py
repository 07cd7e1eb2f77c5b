#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Does the service answer as docs/admin-api.yaml says? Reads lines "OP ARGS" (JSON) from standard input, signs each and sends it.

    admin_api.py DOCUMENT URL CA CERT KEY

For every operation named: the payload that is signed fits schema Request, every line of the answer fits schema Line, and its row or
done fits what x-operations says. An argument that the document does not know, or of another type, is refused by the service too.
"""
import http.client
import json
import ssl
import sys
import urllib.parse

import jsonschema
import yaml

sys.path.insert(0, __file__.rsplit("/", 1)[0])
import signed  # pylint: disable=wrong-import-position


class Service:
    def __init__(self, url, ca, cert, key):
        at = urllib.parse.urlparse(url)
        tls = ssl.create_default_context(cafile=ca)
        tls.load_cert_chain(cert, key)
        self.conn = http.client.HTTPSConnection(at.hostname, at.port, context=tls, timeout=30)
        self.cert, self.key = cert, key
        self.node = json.loads(self.ask("GET", "/v1/node")[1])["done"]["node"]

    def ask(self, method, path, body=None, kind=None):
        self.conn.request(method, path, body, {"Content-Type": kind} if kind else {})
        answer = self.conn.getresponse()
        return answer.status, answer.read().decode()

    def call(self, op, args):
        text = signed.sign(self.cert, self.key, self.node, op, args)
        payload = json.loads(signed.base64.urlsafe_b64decode(text.split(".")[1] + "=="))
        status, body = self.ask("POST", "/v1/admin", text, "application/jose")
        return payload, status, [json.loads(line) for line in body.splitlines()]


def main():
    path, url, ca, cert, key = sys.argv[1:]
    with open(path, encoding="utf-8") as f:
        doc = yaml.safe_load(f)
    service = Service(url, ca, cert, key)

    def fits(value, schema):
        jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": doc["components"]}).validate(value)

    def refused_by_schema(value, schema):
        try:
            fits(value, schema)
        except jsonschema.ValidationError:
            return True
        return False

    bad = 0
    seen = 0
    for line in sys.stdin:
        op, args = line.split(" ", 1)
        what = doc["x-operations"][op]
        try:
            payload, status, lines = service.call(op, json.loads(args))
            fits(payload, "Request")
            fits(payload, f"request.{op}")
            responses = doc["paths"]["/v1/admin"]["post"]["responses"]
            assert str(status) in responses, f"status {status} is not described"
            for one in lines:
                fits(one, "Line")
                if "row" in one and "row" in what:
                    fits(one["row"], what["row"]["$ref"].rsplit("/", 1)[1])
                if "done" in one and "done" in what:
                    fits(one["done"], what["done"]["$ref"].rsplit("/", 1)[1])
            assert set(lines[-1]) & {"done", "error"}, "no last line"
            assert status == 200 and "done" in lines[-1], lines[-1]
            for wrong in ({**json.loads(args), "unheard_of": 1},) + tuple({**json.loads(args), k: [1]} for k in json.loads(args)):
                assert refused_by_schema(wrong, f"args.{op}"), f"the document takes {wrong}"
                _, status, lines = service.call(op, wrong)
                assert status == 400 and lines[-1]["error"]["code"] == "invalid", f"the service takes {wrong}"
            seen += 1
        except (AssertionError, jsonschema.ValidationError) as e:
            bad += 1
            print(f"{op}: {str(e)[:400]}")
    print(f"{seen} operations as described")
    sys.exit(1 if bad or not seen else 0)


if __name__ == "__main__":
    main()
