#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The bill of materials that the release build makes, read by a checker of its own.
load ../lib/instance

setup() {
    bills=${INKAN_RELEASE:-}
    [ -d "$bills/bin" ] || skip "no release build here"
    programs=$(ls -d "$bills"/bin/*)
}

# shellcheck disable=SC2086
check() { python3 "$source_dir/tests/lib/sbom_check.py" "$1" $programs; }

@test "the build made both bills, they follow their formats and name what the programs really need" {
    check "$bills/inkan.cdx.json"
    check "$bills/inkan.spdx.json"
}

@test "each library has its Debian package, most have a licence" {
    jq -e '[.components[] | select(.type == "library")] | length > 10 and all(.purl and .version)' "$bills/inkan.cdx.json"
    jq -e '[.components[] | select(.type == "library")] | (map(select(.licenses)) | length) * 2 > length' "$bills/inkan.cdx.json"
    [ "$(jq -r '.components[] | select(.name == "libssl3" and (.properties[0].value | test("crypto"))) | .licenses[0].expression' "$bills/inkan.cdx.json")" = Apache-2.0 ]
    [ "$(jq -r '[.components[] | select(.type == "application") | .name] | sort | join(" ")' "$bills/inkan.cdx.json")" = \
        "$(cd "$bills/bin" && LC_ALL=C ls | tr '\n' ' ' | sed 's/ $//')" ]
}

@test "the same programs give the same bills" {
    local version
    version=$(jq -r .metadata.component.version "$bills/inkan.cdx.json")
    # shellcheck disable=SC2046
    python3 "$source_dir/deploy/sbom.py" --version "$version" --out "$BATS_TEST_TMPDIR" $(jq -r '.components[] | select(.type == "application") | .name' "$bills/inkan.cdx.json" | sed "s#^#$bills/bin/#")
    cmp "$BATS_TEST_TMPDIR/inkan.cdx.json" "$bills/inkan.cdx.json"
    cmp "$BATS_TEST_TMPDIR/inkan.spdx.json" "$bills/inkan.spdx.json"
}

# wrong BILL JQ-EXPRESSION WORD: changed like that, the checker names it
wrong() {
    jq "$2" "$bills/inkan.$1.json" > "$BATS_TEST_TMPDIR/wrong.json"
    run check "$BATS_TEST_TMPDIR/wrong.json"
    echo "$1 $2: $status $output"
    [ "$status" -eq 1 ]
    [[ $output == *"$3"* ]]
}

@test "a bill with a mistake is refused" {
    wrong cdx '.specVersion = "1.9"' "format and version"
    wrong cdx '.components[0].hashes[0].content |= sub("^."; "g")' "hash"
    wrong cdx '(.components[] | select(.name == "inkan-core") | .hashes[0].content) = ("0" * 64)' "inkan-core: digest"
    wrong cdx '(.components[] | select(.name == "libsqlite3-0") | .version) = "1.0"' "is not installed"
    wrong cdx '(.dependencies[] | select(.ref == "program:inkan-core") | .dependsOn) = []' "are missing"
    wrong cdx 'del(.components[0])' "not listed"
    wrong cdx '.components[0].license = "x"' "does not know"
    wrong spdx '.documentNamespace = "inkan#1"' "namespace"
    wrong spdx 'del(.hasExtractedLicensingInfos)' "is not declared"
    wrong spdx '(.files[] | select(.fileName == "./inkand") | .checksums[0].checksumValue) = "00"' "SHA1"
    wrong spdx '(.packages[] | select(.name == "zlib1g") | .licenseDeclared) = "Zlib MIT"' "licence expression"
    wrong spdx '.relationships |= map(select(.relationshipType != "DYNAMIC_LINK"))' "are missing"
    wrong spdx '.packages[1].SPDXID = .packages[0].SPDXID' "twice"
    wrong spdx '.creationInfo.created = "today"' "created"
}
