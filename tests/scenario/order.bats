#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Nothing leaves before it is durable, shown by a trace of the core; and what is signed is what was linted, shown at the token.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_shim
    instance_up "token_env=$token_env"
    group_secret 'order-*'
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

# trace_load PREFIX COUNT: issues COUNT certificates while the core is traced, and judges the trace; $judged and $verdict
trace_load() {
    strace -f -y -xx -s 8192 -e trace=pwrite64,pwritev,write,writev,fdatasync,fsync,sendmsg,sendmmsg,sendto -o "$side/$1.trace" \
        -p "$(pid_of core)" 2> "$side/$1.strace" 3>&- &
    local tracer=$!
    waits_for 60 grep -q attached "$side/$1.strace"
    enroll_many "$1" "$2" "$side/$1.issued" --connections 8 > "$side/$1.load"
    kill -INT "$tracer"
    wait "$tracer" || true
    cat "$side/$1.load"
    [ "$(jq .issued "$side/$1.load")" = "$2" ]
    verdict=0
    judged=$("$source_dir/tests/fault/order_check" "$side/$1.trace") || verdict=$?
    rm -f "$side/$1.trace"
    echo "$judged"
    [ "$(jq .answers <<< "$judged")" = "$2" ]
    [ "$(jq .signs <<< "$judged")" = "$2" ]
}

@test "for 1,000 issues nothing goes to be signed before its intent and no certificate leaves before its row is durable" {
    trace_load order-a 1000
    [ "$verdict" = 0 ]
    [ "$(jq .violations <<< "$judged")" = 0 ]
    # Group commit: several certificates share a transaction, and so an fdatasync.
    [ "$(jq .syncs <<< "$judged")" -lt 1500 ]
}

@test "the same trace of a core that does not sync is found out" {
    stop_service
    INKAN_TEST_SYNCHRONOUS=OFF start_again
    waits_for 60 health_is_ready
    trace_load order-b 100
    stop_service
    start_again
    waits_for 60 health_is_ready
    [ "$verdict" = 1 ]
    [ "$(jq .violations <<< "$judged")" = 200 ]
    [ "$(jq .syncs <<< "$judged")" = 0 ]
}

# compare_with_token NAME LINES: what the ledger says of the issuing CAs against what their token was given to sign, all of
# it, and from LINES on nothing else (before that, the signer tested keys when it started).
compare_with_token() {
    inkan backup --out "$side/backup-$1" > /dev/null
    python3 - "$side/backup-$1" "$side/signed-issuing" "$2" <<'PY'
import hashlib, sqlite3, sys

def element(data, at):
    first, at = data[at + 1], at + 2
    if first < 0x80:
        return at, at + first
    n = first & 0x7F
    return at + n, at + n + int.from_bytes(data[at:at + n], "big")

def tbs_hash(der):
    inside, _ = element(der, 0)
    _, end = element(der, inside)
    return hashlib.sha256(der[inside:end]).hexdigest()

ledger = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
online = "(SELECT id FROM issuer WHERE name IN ('fleet-ca', 'maker-ca'))"
certs = [tbs_hash(r[0]) for r in ledger.execute("SELECT der FROM cert WHERE issuer IN " + online)]
linted = [r[0].hex() for r in ledger.execute("SELECT tbs_hash FROM intent WHERE issuer IN " + online)]
unfinished = ledger.execute("SELECT COUNT(*) FROM intent WHERE state <> 1").fetchone()[0]
lists = [tbs_hash(r[0]) for r in ledger.execute("SELECT der FROM crl WHERE issuer IN " + online + " AND length(der) > 0")]
heads = [hashlib.sha256(r[0]).hexdigest() for r in ledger.execute("SELECT tbs FROM audit_head")]
signed = []
for line in open(sys.argv[2]):
    mechanism, data = line.split()
    assert mechanism == "1041", "C_Sign with mechanism " + mechanism  # CKM_ECDSA: the data is the digest
    signed.append(data)

assert len(certs) > 1000 and unfinished == 0, (len(certs), unfinished)
assert sorted(certs) == sorted(linted), "the intents do not name what the certificates hold"
assert len(set(signed)) == len(signed), "something was signed twice"
missing = set(certs + lists + heads) - set(signed)
assert not missing, f"the token never saw {len(missing)} digests of what it signed"
later = signed[int(sys.argv[3]):]
others = set(later) - set(certs + lists + heads)
print(f"{len(later)} signed from line {sys.argv[3]} on")
assert not others, f"{len(others)} signatures belong to nothing in the ledger"
PY
}

@test "the token was given what was linted: every digest belongs to one intent and one certificate, and there is no other" {
    before=$(wc -l < "$side/signed-issuing")
    enroll_many order-c 200 "$side/order-c.issued" --connections 8 > "$side/order-c.load"
    [ "$(jq .issued "$side/order-c.load")" = 200 ]
    cp "$side/signed-issuing" "$side/kept"
    compare_with_token good "$before"
    # One signature more than the ledger knows of is noticed, and so is one less.
    echo "1041 $(printf x | sha256sum | cut -d' ' -f1)" >> "$side/signed-issuing"
    run compare_with_token extra "$before"
    [ "$status" -ne 0 ]
    [[ "$output" == *"belong to nothing"* ]]
    head -n -1 "$side/kept" > "$side/signed-issuing"
    run compare_with_token fewer "$before"
    [ "$status" -ne 0 ]
    [[ "$output" == *"never saw"* ]]
}
