/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate linter: for every rule one TBSCertificate that it alone rejects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "tests/lib/lint_cases.h"

#define TITLE      "Certificates"
#define NOT_BEFORE 1795305600 /* 2026-11-22T00:00:00Z */
#define YEAR_S     (365 * 86400)
#define NOT_AFTER  (NOT_BEFORE + YEAR_S)
#define ARRAY(a)   (a), sizeof(a) / sizeof(a)[0]

/* ---- a good LDevID ---- */

static const char *const base[] = {
    "object=$tbs $after",
    "after=",
    "tbs=30{ $version $serial $sig $issuer $validity $subject $spki $ids $exts $tail }",
    "version=a0{02{02}}",
    "serial=02{$drawn}",
    "drawn=4a*19{11}",
    "sig=30{06{2a8648ce3d040302}}",
    "issuer=$issuer_name",
    "issuer_name=30{31{30{06{550403} 0c{'Fleet CA 1'}}} 31{30{06{550406} 13{'JP'}}}}",
    "validity=30{$nb $na}",
    "nb=17{'261122000000Z'}",
    "na=17{'271122000000Z'}",
    "subject=30{$cn $sn $o}",
    "cn=31{30{06{550403} 0c{'dev-0042'}}}",
    "sn=31{30{06{550405} 13{'dev-0042'}}}",
    "o=31{30{06{55040a} $o_value}}",
    "o_value=0c{'Acme'}",
    "ids=",
    "tail=",

    "spki=30{30{06{2a8648ce3d0201} 06{$curve}} 03{00 $key_bits}}",
    "asked=$spki",
    "curve=2a8648ce3d030107",
    "key_bits=$point",
    "point=04*64{5a}",
    "spki_rsa=30{30{06{2a864886f70d010101} $rsa_parameters} 03{00 $key_bits}}",
    "rsa_parameters=0500",
    "rsa_key=30{02{00$rsa_n} 02{$rsa_e}}",
    "rsa_n=c1*255{11}",
    "rsa_e=010001",
    "spki_ed=30{30{06{2b6570} $ed_parameters} 03{00 $key_bits}}",
    "ed_parameters=",

    "exts=a3{30{$aki $ski $ku $bc $eku $san $crldp $aia $more}}",
    "aki=30{06{551d23} $aki_c 04{$aki_v}}",
    "aki_c=",
    "aki_v=30{80{$issuer_ski}}",
    "issuer_ski=*20{a1}",
    "ski=30{06{551d0e} $ski_c 04{04{$key_id}}}",
    "ski_c=",
    "ku=30{06{551d0f} $ku_c 04{$ku_v}}",
    "ku_c=0101ff",
    "ku_v=03{0780}",
    "bc=",
    "bc_ca=30{06{551d13} $bc_c 04{$bc_v}}",
    "bc_c=0101ff",
    "bc_v=30{0101ff $path_len}",
    "path_len=02{00}",
    "eku=30{06{551d25} $eku_c 04{$eku_v}}",
    "eku_c=",
    "eku_v=30{$client_auth}",
    "client_auth=06{2b06010505070302}",
    "server_auth=06{2b06010505070301}",
    "ocsp_signing=06{2b06010505070309}",
    "document_signing=06{2b06010505070324}",
    "san=30{06{551d11} $san_c 04{30{$names}}}",
    "san_c=",
    "names=82{'dev-0042.example'}",
    "crldp=$crldp_there",
    "crldp_there=30{06{551d1f} $crldp_c 04{30{30{a0{a0{86{$crl_url}}} $crldp_more} $crldp_second}}}",
    "crldp_c=",
    "crldp_more=",
    "crldp_second=",
    "crl_url='http://pki.example/crl/fleet.crl'",
    "aia=$aia_there",
    "aia_there=30{06{2b06010505070101} $aia_c 04{30{$ocsp_access $access}}}",
    "aia_c=",
    "ocsp_access=30{06{2b06010505073001} 86{$ocsp_url}}",
    "ocsp_url='http://pki.example/ocsp'",
    "access=",
    "issuers_access=30{06{2b06010505073002} 86{'http://pki.example/ca/fleet.cer'}}",
    "more=",
    "nocheck=30{06{2b0601050507300105} $nocheck_c 04{$nocheck_v}}",
    "nocheck_c=",
    "nocheck_v=0500",
    "no_rev_avail=30{06{551d38} $no_rev_avail_c 04{$no_rev_avail_v}}",
    "no_rev_avail_c=",
    "no_rev_avail_v=0500",
};

static char names_100[100 * 16 + 64], names_101[101 * 16 + 64];
static struct conf_profile profile;
static struct lint_cert_expect x;

static void world_reset(struct derb_vars *vars)
{
    for (size_t i = 0; i < sizeof base / sizeof base[0]; i++)
        derb_set(vars, base[i]);
    derb_set(vars, names_100);
    derb_set(vars, names_101);
    profile = (struct conf_profile){
        .kind = PROFILE_LDEVID,
        .key_algs = KEY_BIT(KEY_P256) | KEY_BIT(KEY_P384) | KEY_BIT(KEY_RSA2048) | KEY_BIT(KEY_ED25519),
        .key_usage = USAGE_DIGITAL_SIGNATURE,
        .eku = EKU_CLIENT_AUTH,
        .validity_s = YEAR_S,
        .path_len = -1,
    };
    x = (struct lint_cert_expect){
        .profile = &profile,
        .issuer_not_before = NOT_BEFORE - YEAR_S,
        .issuer_not_after = NOT_BEFORE + 10L * YEAR_S,
        .sig_alg = SIG_ECDSA_SHA256,
        .device_id = "dev-0042",
        .crl_url = "http://pki.example/crl/fleet.crl",
        .ocsp_url = "http://pki.example/ocsp",
        .now = NOT_BEFORE + 300,
    };
}

/* Fills the parts of the expectation that follow the object, and writes it. */
static size_t world_build(const struct derb_vars *from, uint8_t *out, size_t max)
{
    static uint8_t issuer[512], ski[64], spki[2048], serial[64], bits[2048];
    static char key_id[16 + 2 * 20 + 1] = "key_id=";
    struct derb_vars vars = *from;
    uint8_t hash[20];

    sha1(BYTES(bits, derb(bits, sizeof bits, &vars, "$key_bits")), hash);
    hex_encode(hash, sizeof hash, key_id + strlen("key_id="));
    for (size_t i = 0; i < vars.n; i++) /* a case may set its own */
        if (strncmp(vars.def[i], "key_id=", 7) == 0)
            goto given;
    derb_set(&vars, key_id);
given:
    x.issuer_subject = BYTES(issuer, derb(issuer, sizeof issuer, &vars, "$issuer_name"));
    x.issuer_ski = BYTES(ski, derb(ski, sizeof ski, &vars, "$issuer_ski"));
    x.spki = BYTES(spki, derb(spki, sizeof spki, &vars, "$asked"));
    x.serial = BYTES(serial, derb(serial, sizeof serial, &vars, "$drawn"));
    return derb(out, max, &vars, "$object");
}

static void world_lint(const struct derb_vars *vars, struct lint_report *out)
{
    static uint8_t object[128 * 1024];

    lint_cert(BYTES(object, world_build(vars, object, sizeof object)), &x, out);
}

/* ---- other expectations ---- */

static void rsa_issuer(void)
{
    x.sig_alg = SIG_RSA_SHA256;
}

static void no_device(void)
{
    x.device_id = NULL;
}

static void other_device(void)
{
    x.device_id = "dev-0043";
}

static void no_addresses(void)
{
    x.crl_url = NULL;
    x.ocsp_url = NULL;
}

static void a_ca(void)
{
    profile.kind = PROFILE_ISSUING_CA;
    profile.path_len = 0;
    x.device_id = NULL;
}
#define A_CA "ku_v=03{0106}", "bc=$bc_ca", "eku=", "san="

static void a_ca_without_addresses(void)
{
    a_ca();
    no_addresses();
}

static void a_root(void)
{
    a_ca();
    profile.kind = PROFILE_ROOT_CA;
    profile.ca_issuers_url = true;
    x.self_signed = true;
    x.issuer_not_before = x.issuer_not_after = 0;
}
#define A_ROOT A_CA, "path_len=", "crldp=", "aia="

static void an_idevid(void)
{
    profile.kind = PROFILE_IDEVID;
    profile.no_expiry = true;
    profile.validity_s = 0;
    x.issuer_not_after = TIME_NO_EXPIRY;
}
#define AN_IDEVID "na=18{'99991231235959Z'}"

static void an_idevid_with_expiry(void)
{
    profile.no_expiry = false;
    profile.validity_s = YEAR_S;
}

static void an_ocsp_signer(void)
{
    profile.kind = PROFILE_OCSP_SIGNER;
    profile.ca_issuers_url = true;
    x.device_id = NULL;
}
#define AN_OCSP_SIGNER "eku_v=30{$ocsp_signing}", "more=$nocheck", "crldp=", "aia="

static void a_feed_signer(void)
{
    profile.kind = PROFILE_FEED_SIGNER;
}
#define A_FEED_SIGNER "eku_v=30{$document_signing}"

static void purpose_feed(void)
{
    profile.eku |= EKU_DOCUMENT_SIGNING;
}

static void https_crl_url(void)
{
    x.crl_url = "https://pki.example/crl/fleet.crl";
}

static void https_ocsp_url(void)
{
    x.ocsp_url = "https://pki.example/ocsp";
}

static void no_ocsp_url(void)
{
    x.ocsp_url = NULL;
}

static void with_ca_issuers(void)
{
    profile.ca_issuers_url = true;
}

static void only_ca_issuers(void)
{
    with_ca_issuers();
    no_ocsp_url();
}

static void issuer_began_now(void)
{
    x.issuer_not_before = NOT_BEFORE;
}

static void issuer_began_later(void)
{
    x.issuer_not_before = NOT_BEFORE + 1;
}

static void issuer_ends_with_it(void)
{
    x.issuer_not_after = NOT_AFTER;
}

static void issuer_ends_before_it(void)
{
    x.issuer_not_after = NOT_AFTER - 1;
}

static void issuer_ends_a_day_early(void)
{
    x.issuer_not_after = NOT_AFTER - 86400;
}

static void limit_a_day_early(void)
{
    x.not_after_max = NOT_AFTER - 86400;
}

static void issuer_without_expiry(void)
{
    x.issuer_not_after = TIME_NO_EXPIRY;
}

static void profile_without_expiry(void)
{
    issuer_without_expiry();
    profile.no_expiry = true;
}

static void now_is_not_before(void)
{
    x.now = NOT_BEFORE;
}

static void now_is_a_second_earlier(void)
{
    x.now = NOT_BEFORE - 1;
}

static void now_is_ten_minutes_later(void)
{
    x.now = NOT_BEFORE + 600;
}

static void now_is_a_second_more(void)
{
    x.now = NOT_BEFORE + 601;
}

static void in_2055(void)
{
    x.now = 2682374400 + 300; /* 2055-01-01 */
    x.issuer_not_after = TIME_NO_EXPIRY;
}

static void without_p256(void)
{
    profile.key_algs &= ~KEY_BIT(KEY_P256);
}

static void usage_with_encipherment(void)
{
    profile.key_usage |= USAGE_KEY_ENCIPHERMENT;
}

static void usage_with_cert_sign(void)
{
    profile.key_usage |= USAGE_KEY_CERT_SIGN;
}

static void purpose_ocsp(void)
{
    profile.eku |= EKU_OCSP_SIGNING;
}

static void no_purpose(void)
{
    profile.eku = 0;
}

/* ---- the cases ---- */

#define RSA "spki=$spki_rsa", "key_bits=$rsa_key"
#define ED  "spki=$spki_ed", "key_bits=*32{33}"

static const struct lint_case cases[] = {
    {"cert.tbs.size", "is longer than a certificate may be", .bad = {"tail=04{*65536{00}}"}},
    {"cert.tbs.one", "is followed by an element", .bad = {"after=0500"}},
    {"cert.tbs.one", "is a SET", .bad = {"object=31{0500}"}},
    {"cert.tbs.one", "has a length in more octets than needed", .bad = {"object=3081020500"}},
    {"cert.tbs.one", "has an indefinite length", .bad = {"object=308005000000"}},
    {"cert.tbs.fields", "has a SET for validity", .bad = {"validity=31{$nb $na}"}},
    {"cert.tbs.fields", "has no serialNumber", .bad = {"serial="}},
    {"cert.tbs.trailing", "has an element behind the extensions", .bad = {"tail=0500"}},
    {"cert.version.explicit", "has no version", .bad = {"version="}},
    {"cert.version.explicit", "has a padded version", .bad = {"version=a0{02{0002}}"}},
    {"cert.version.explicit", "has two versions", .bad = {"version=a0{02{02} 02{02}}"}},
    {"cert.version.v3", "is v2", .bad = {"version=a0{02{01}}"}},

    {"cert.serial.minimal", "has a leading zero octet", .bad = {"serial=02{00 $drawn}"},
     .good = {"drawn=ca*18{11}", "serial=02{00 $drawn}"}},
    {"cert.serial.minimal", "has an empty serial", .bad = {"serial=0200"}},
    {"cert.serial.positive", "has a negative serial", .bad = {"serial=02{ca*19{11}}"}},
    {"cert.serial.positive", "has serial zero", .bad = {"serial=02{00}"}},
    {"cert.serial.length", "has a serial of 21 octets", .bad = {"drawn=4a*20{11}"}},
    {"cert.serial.length", "has a serial of 20 octets and a sign octet",
     .bad = {"drawn=ca*19{11}", "serial=02{00 $drawn}"}},
    {"cert.serial.entropy", "has a serial of 63 bits", .bad = {"drawn=4a*7{11}"},
     .good = {"drawn=ca*7{11}", "serial=02{00 $drawn}"}},
    {"cert.serial.drawn", "has another serial than drawn", .bad = {"serial=02{4b*19{11}}"}},

    {"cert.signature.form", "has an INTEGER for the algorithm", .bad = {"sig=30{02{01}}"}},
    {"cert.signature.algorithm", "has another hash", .bad = {"sig=30{06{2a8648ce3d040303}}"}},
    {"cert.signature.algorithm", "has SHA-1 with RSA", .setup = rsa_issuer,
     .bad = {"sig=30{06{2a864886f70d010105} 0500}"}, .good = {"sig=30{06{2a864886f70d01010b} 0500}"}},
    {"cert.signature.parameters", "has NULL for ECDSA", .bad = {"sig=30{06{2a8648ce3d040302} 0500}"}},
    {"cert.signature.parameters", "has nothing for RSA", .setup = rsa_issuer, .bad = {"sig=30{06{2a864886f70d01010b}}"},
     .good = {"sig=30{06{2a864886f70d01010b} 0500}"}},

    {"cert.issuer.empty", "has no issuer", .bad = {"issuer=30{}"}},
    {"cert.issuer.identical", "has the issuer in another string type",
     .bad = {"issuer=30{31{30{06{550403} 13{'Fleet CA 1'}}} 31{30{06{550406} 13{'JP'}}}}"}},

    {"cert.validity.form", "has no seconds", .bad = {"nb=17{'2611220000Z'}"}},
    {"cert.validity.form", "has a third time", .bad = {"validity=30{$nb $na $na}"}},
    {"cert.validity.form", "has an offset", .bad = {"na=17{'271122000000+0900'}"}},
    {"cert.validity.form", "has the 31st of a short month", .bad = {"na=17{'271131000000Z'}"}},
    {"cert.validity.not_before_type", "has GeneralizedTime before 2050", .bad = {"nb=18{'20261122000000Z'}"}},
    {"cert.validity.not_after_type", "has GeneralizedTime before 2050", .bad = {"na=18{'20271122000000Z'}"}},
    {"cert.validity.order", "ends before it begins", .bad = {"na=17{'261121235959Z'}"}},
    {"cert.validity.before_issuer", "begins before its issuer", .setup = issuer_began_now,
     .setup_bad = issuer_began_later},
    {"cert.validity.beyond_issuer", "ends after its issuer", .setup = issuer_ends_with_it,
     .setup_bad = issuer_ends_before_it},
    {"cert.validity.beyond_issuer", "has no expiry under an issuer with one", .setup = an_idevid,
     .setup_bad = issuer_ends_with_it, .common = {AN_IDEVID}},
    {"cert.validity.future", "begins in a second", .setup = now_is_not_before, .setup_bad = now_is_a_second_earlier},
    {"cert.validity.stale", "began 10 minutes and a second ago", .setup = now_is_ten_minutes_later,
     .setup_bad = now_is_a_second_more},
    {"cert.validity.profile", "is two seconds too long", .bad = {"na=17{'271122000002Z'}"},
     .good = {"na=17{'271122000001Z'}"}},
    {"cert.validity.profile", "is two seconds too short", .bad = {"na=17{'271121235958Z'}"},
     .good = {"na=17{'271121235959Z'}"}},
    {"cert.validity.profile", "ends a second before the issuer that limits it", .setup = issuer_ends_a_day_early,
     .bad = {"na=17{'271120235959Z'}"}, .good = {"na=17{'271121000000Z'}"}},
    {"cert.validity.profile", "ends a second after the limit given", .setup = limit_a_day_early,
     .bad = {"na=17{'271121000001Z'}"}, .good = {"na=17{'271121000000Z'}"}},
    {"cert.validity.profile", "is too long from 2055 on", .setup = in_2055, .common = {"nb=18{'20550101000000Z'}"},
     .bad = {"na=18{'20560101000002Z'}"}, .good = {"na=18{'20560101000000Z'}"}},
    {"cert.validity.no_expiry", "has no expiry though the profile has", .setup = issuer_without_expiry,
     .bad = {AN_IDEVID}},
    {"cert.validity.no_expiry", "expires though the profile does not", .setup = profile_without_expiry,
     .good = {AN_IDEVID}},
    {"cert.idevid.no_expiry", "is an IDevID that expires", .setup = an_idevid, .setup_bad = an_idevid_with_expiry,
     .good = {AN_IDEVID}},
    {"cert.idevid.serial_number", "is an IDevID without serialNumber", .setup = an_idevid, .common = {AN_IDEVID},
     .bad = {"sn="}},

    {"cert.subject.size", "has a subject of more than 1024 octets", .bad = {"o=*15{31{30{06{55040b} 0c{*64{'x'}}}}}"},
     .good = {"o=*12{31{30{06{55040b} 0c{*64{'x'}}}}}"}},
    {"cert.subject.form", "has an empty RDN", .bad = {"o=31{}"}},
    {"cert.subject.form", "has an attribute without a value", .bad = {"o=31{30{06{55040a}}}"}},
    {"cert.subject.form", "has a SEQUENCE for an RDN", .bad = {"o=30{30{06{55040a} 0c{'Acme'}}}"}},
    {"cert.subject.single", "has two attributes in one RDN",
     .bad = {"o=31{30{06{55040a} 0c{'Acme'}} 30{06{55040b} 0c{'Line'}}}"},
     .good = {"o=31{30{06{55040a} 0c{'Acme'}}} 31{30{06{55040b} 0c{'Line'}}}"}},
    {"cert.subject.attribute", "has a domainComponent", .bad = {"o=31{30{06{0992268993f22c640119} 16{'acme'}}}"}},
    {"cert.subject.string_type", "has a TeletexString", .bad = {"o_value=14{'Acme'}"}},
    {"cert.subject.string_type", "has a BMPString", .bad = {"o_value=1e{00410063}"}},
    {"cert.subject.printable", "has an asterisk in a PrintableString", .bad = {"o_value=13{'Acme*'}"},
     .good = {"o_value=13{'Acme (1)'}"}},
    {"cert.subject.utf8", "has an overlong character", .bad = {"o_value=0c{'Ac' c0af}"},
     .good = {"o_value=0c{'Ac' c2af}"}},
    {"cert.subject.utf8", "has a surrogate", .bad = {"o_value=0c{eda080}"}, .good = {"o_value=0c{ed9fbf}"}},
    {"cert.subject.utf8", "ends within a character", .bad = {"o_value=0c{'Ac' e697}"},
     .good = {"o_value=0c{'Ac' e697a5}"}},
    {"cert.subject.utf8", "is above U+10FFFF", .bad = {"o_value=0c{f4908080}"}, .good = {"o_value=0c{f48fbfbf}"}},
    {"cert.subject.control", "has a BEL", .bad = {"o_value=0c{'Ac' 07}"}, .good = {"o_value=0c{'Ac' 20}"}},
    {"cert.subject.control", "has a NUL", .bad = {"o_value=0c{'Ac' 00}"}},
    {"cert.subject.control", "has a C1 control", .bad = {"o_value=0c{c285}"}, .good = {"o_value=0c{c2a0}"}},
    {"cert.subject.length", "has an organization of 65 characters", .bad = {"o_value=0c{*65{e697a5}}"},
     .good = {"o_value=0c{*64{e697a5}}"}},
    {"cert.subject.length", "has an empty organization", .bad = {"o_value=0c{}"}},
    {"cert.subject.country", "has a country of three letters", .bad = {"o=31{30{06{550406} 13{'JPN'}}}"},
     .good = {"o=31{30{06{550406} 13{'JP'}}}"}},
    {"cert.subject.country", "has a country in UTF-8", .bad = {"o=31{30{06{550406} 0c{'JP'}}}"},
     .good = {"o=31{30{06{550406} 13{'JP'}}}"}},
    {"cert.subject.country", "has a country of digits", .bad = {"o=31{30{06{550406} 13{'39'}}}"},
     .good = {"o=31{30{06{550406} 13{'JP'}}}"}},
    {"cert.subject.serial_number_type", "has serialNumber in UTF-8", .bad = {"sn=31{30{06{550405} 0c{'dev-0042'}}}"}},
    {"cert.subject.one_cn", "has two commonNames", .bad = {"o=$cn"}},
    {"cert.subject.one_serial_number", "has two serialNumbers", .bad = {"o=$sn"}},
    {"cert.subject.device_id", "names another device", .setup_bad = other_device},
    {"cert.subject.device_id", "names the device as organization only", .bad = {"cn=", "sn=", "o_value=0c{'dev-0042'}"},
     .good = {"cn=", "o_value=0c{'dev-0042'}"}},
    {"cert.subject.empty", "has neither subject nor subjectAltName", .setup = no_device, .common = {"subject=30{}"},
     .bad = {"san="}, .good = {"san_c=0101ff"}},
    {"cert.subject.ca_named", "is a CA without a subject", .setup = a_ca, .common = {A_CA}, .bad = {"subject=30{}"}},
    {"cert.subject.not_issuer", "has the issuer's name", .setup = no_device, .bad = {"subject=$issuer_name"}},
    {"cert.subject.self", "is self-signed under another name", .setup = a_root, .common = {A_ROOT},
     .good = {"subject=$issuer_name"}},

    {"cert.spki.as_asked", "has another key than asked",
     .bad = {"asked=30{30{06{2a8648ce3d0201} 06{$curve}} 03{00 04*64{5b}}}"}},
    {"cert.spki.form", "has unused bits in the key",
     .bad = {"spki=30{30{06{2a8648ce3d0201} 06{$curve}} 03{01 $key_bits}}"}},
    {"cert.spki.form", "has a third field",
     .bad = {"spki=30{30{06{2a8648ce3d0201} 06{$curve}} 03{00 $key_bits} 0500}"}},
    {"cert.spki.algorithm", "has an Ed448 key", .bad = {"spki=30{30{06{2b6571}} 03{00 $key_bits}}"}},
    {"cert.spki.profile", "has a key type that the profile has not", .setup_bad = without_p256},
    {"cert.spki.profile", "has an RSA key of 3072 bits where the profile has 2048", .common = {RSA},
     .bad = {"rsa_n=c1*383{11}"}},
    {"cert.spki.ec_curve", "has a key on secp256k1", .bad = {"curve=2b8104000a"}},
    {"cert.spki.ec_curve", "has explicit curve parameters",
     .bad = {"spki=30{30{06{2a8648ce3d0201} 30{02{01}}} 03{00 $key_bits}}"}},
    {"cert.spki.ec_point", "has a short point", .bad = {"point=04*63{5a}"}, .good = {"point=02*32{5a}"}},
    {"cert.spki.ec_point", "has a P-256 point on P-384", .common = {"curve=2b81040022"}, .good = {"point=04*96{5a}"}},
    {"cert.spki.ec_point", "has a hybrid point", .bad = {"point=06*64{5a}"}},
    {"cert.spki.rsa_parameters", "has an RSA key without NULL", .common = {RSA}, .bad = {"rsa_parameters="}},
    {"cert.spki.rsa_form", "has an RSA key without exponent", .common = {RSA}, .bad = {"rsa_key=30{02{00$rsa_n}}"}},
    {"cert.spki.rsa_form", "has a negative modulus", .common = {RSA}, .bad = {"rsa_key=30{02{$rsa_n} 02{$rsa_e}}"}},
    {"cert.spki.rsa_size", "has an RSA key of 2047 bits", .common = {RSA},
     .bad = {"rsa_key=30{02{$rsa_n} 02{$rsa_e}}", "rsa_n=71*255{11}"}},
    {"cert.spki.rsa_size", "has an RSA key of 4104 bits", .common = {RSA}, .bad = {"rsa_n=c1*512{11}"}},
    {"cert.spki.rsa_modulus", "has an even modulus", .common = {RSA}, .bad = {"rsa_n=c1*254{11}10"}},
    {"cert.spki.rsa_exponent", "has the exponent 3", .common = {RSA}, .bad = {"rsa_e=03"}},
    {"cert.spki.rsa_exponent", "has the exponent 65535", .common = {RSA},
     .bad = {"rsa_e=ffff", "rsa_key=30{02{00$rsa_n} 02{00$rsa_e}}"}},
    {"cert.spki.rsa_exponent", "has the exponent 65538", .common = {RSA}, .bad = {"rsa_e=010002"}},
    {"cert.spki.rsa_exponent", "has an exponent of 257 bits", .common = {RSA}, .bad = {"rsa_e=01*32{11}"},
     .good = {"rsa_e=11*31{11}"}},
    {"cert.spki.ed25519", "has an Ed25519 key of 31 octets", .common = {ED}, .bad = {"key_bits=*31{33}"}},
    {"cert.spki.ed25519", "has an Ed25519 key with NULL", .common = {ED}, .bad = {"ed_parameters=0500"}},

    {"cert.issuer_unique_id", "has an issuerUniqueID", .bad = {"ids=81{00aa}"}},
    {"cert.subject_unique_id", "has a subjectUniqueID", .bad = {"ids=82{00aa}"}},
    {"cert.extensions.present", "has no extensions", .bad = {"exts="}},
    {"cert.extensions.form", "has an empty list of extensions", .bad = {"exts=a3{30{}}"}},
    {"cert.extensions.form", "has two lists of extensions", .bad = {"exts=a3{30{$aki} 30{$ski}}"}},
    {"cert.extension.form", "has an extension without OID", .bad = {"more=30{04{0500}}"}},
    {"cert.extension.form", "has an extension with four fields", .bad = {"ski=30{06{551d0e} 04{04{$key_id}} 0500}"}},
    {"cert.extension.critical_true", "has critical TRUE as 0x01", .bad = {"ku_c=010101"}},
    {"cert.extension.critical_default", "has critical FALSE written", .bad = {"ski_c=010100"}},
    {"cert.extension.empty", "has an empty subjectAltName", .bad = {"san=30{06{551d11} 0400}"}},
    {"cert.extension.duplicate", "has subjectAltName twice", .bad = {"more=$san"}},
    {"cert.extension.known", "has an issuerAltName", .bad = {"more=30{06{551d12} 04{30{82{'a.example'}}}}"}},
    {"cert.extension.known", "has a private extension", .bad = {"more=30{06{2b060104018237} 04{0500}}"}},
    {"cert.policies.absent", "has certificatePolicies", .bad = {"more=30{06{551d20} 04{30{30{06{551d2000}}}}}"}},
    {"cert.name_constraints.absent", "has nameConstraints", .setup = a_ca, .common = {A_CA},
     .bad = {"more=30{06{551d1e} 0101ff 04{30{a0{30{82{'example'}}}}}}"}},
    {"cert.freshest_crl.absent", "has freshestCRL", .bad = {"more=30{06{551d2e} 04{30{30{a0{a0{86{$crl_url}}}}}}}"}},

    {"cert.aki.present", "has no authorityKeyIdentifier", .bad = {"aki="}},
    {"cert.aki.critical", "has a critical authorityKeyIdentifier", .bad = {"aki_c=0101ff"}},
    {"cert.aki.form", "has an empty authorityKeyIdentifier", .bad = {"aki_v=30{}"}},
    {"cert.aki.form", "has an unknown field in it", .bad = {"aki_v=30{80{$issuer_ski} 83{01}}"}},
    {"cert.aki.issuer_serial", "names its issuer by name and serial",
     .bad = {"aki_v=30{80{$issuer_ski} a1{a4{$issuer_name}} 82{01}}"}},
    {"cert.aki.key_id", "names another key", .bad = {"aki_v=30{80{*20{a2}}}"}},
    {"cert.ski.present", "has no subjectKeyIdentifier", .bad = {"ski="}},
    {"cert.ski.critical", "has a critical subjectKeyIdentifier", .bad = {"ski_c=0101ff"}},
    {"cert.ski.form", "has a subjectKeyIdentifier of 19 octets", .bad = {"key_id=*19{a1}"}},
    {"cert.ski.key", "has the identifier of another key", .bad = {"key_id=*20{a1}"}},
    {"cert.key_usage.present", "has no keyUsage", .bad = {"ku="}},
    {"cert.key_usage.critical", "has a keyUsage that is not critical", .bad = {"ku_c="}},
    {"cert.key_usage.form", "has an OCTET STRING for keyUsage", .bad = {"ku_v=04{80}"}},
    {"cert.key_usage.form", "has encipherOnly", .bad = {"ku_v=03{0089}"}},
    {"cert.key_usage.minimal", "has a trailing zero bit", .bad = {"ku_v=03{0680}"}},
    {"cert.key_usage.minimal", "has no bit", .bad = {"ku_v=03{00}"}},
    {"cert.key_usage.profile", "may sign contracts", .bad = {"ku_v=03{06c0}"}},
    {"cert.key_usage.profile", "is a CA that may sign messages", .setup = a_ca, .common = {A_CA},
     .bad = {"ku_v=03{0186}"}},
    {"cert.key_usage.profile", "is an RSA server without keyEncipherment", .setup = usage_with_encipherment,
     .common = {RSA}, .good = {"ku_v=03{05a0}"}},
    {"cert.key_usage.cert_sign", "is a device that may sign certificates", .setup_bad = usage_with_cert_sign,
     .bad = {"ku_v=03{0284}"}},
    {"cert.key_usage.cert_sign", "is a CA that may not sign CRLs", .setup = a_ca, .common = {A_CA},
     .bad = {"ku_v=03{0204}"}},
    {"cert.key_usage.key_type", "has an EC key that enciphers keys", .setup = usage_with_encipherment,
     .bad = {"ku_v=03{05a0}"}},
    {"cert.key_usage.key_type", "has an Ed25519 key that agrees on keys", .common = {ED}, .bad = {"ku_v=03{0388}"}},

    {"cert.basic_constraints.present", "is a CA without basicConstraints", .setup = a_ca, .common = {A_CA},
     .bad = {"bc="}},
    {"cert.basic_constraints.critical", "is a CA with basicConstraints that are not critical", .setup = a_ca,
     .common = {A_CA}, .bad = {"bc_c="}},
    {"cert.basic_constraints.form", "has cA FALSE written", .bad = {"bc=30{06{551d13} 04{30{010100}}}"},
     .good = {"bc=30{06{551d13} 04{30{}}}"}},
    {"cert.basic_constraints.form", "has a third field", .setup = a_ca, .common = {A_CA},
     .bad = {"bc_v=30{0101ff 02{00} 0500}"}},
    {"cert.basic_constraints.ca", "is a CA without cA", .setup = a_ca, .common = {A_CA}, .bad = {"bc_v=30{}"}},
    {"cert.basic_constraints.end_entity", "is a device with cA", .bad = {"bc=30{06{551d13} 0101ff 04{30{0101ff}}}"},
     .good = {"bc=30{06{551d13} 0101ff 04{30{}}}"}},
    {"cert.basic_constraints.end_entity", "is a device with a path length",
     .bad = {"bc=30{06{551d13} 04{30{02{00}}}}"}},
    {"cert.basic_constraints.path_len", "has another path length", .setup = a_ca, .common = {A_CA},
     .bad = {"path_len=02{01}"}},
    {"cert.basic_constraints.path_len", "has no path length", .setup = a_ca, .common = {A_CA}, .bad = {"path_len="}},
    {"cert.basic_constraints.path_len", "is a root with a path length", .setup = a_root,
     .common = {A_ROOT, "subject=$issuer_name"}, .bad = {"path_len=02{00}"}},

    {"cert.eku.present", "has no extKeyUsage", .bad = {"eku="}},
    {"cert.eku.present", "has one though the profile has none", .setup = no_purpose, .good = {"eku="}},
    {"cert.eku.present", "is a CA with one", .setup = a_ca, .common = {A_CA}, .bad = {"eku=30{06{551d25} 04{$eku_v}}"}},
    {"cert.eku.critical", "has a critical extKeyUsage", .bad = {"eku_c=0101ff"}},
    {"cert.eku.form", "has an empty extKeyUsage", .bad = {"eku_v=30{}"}},
    {"cert.eku.form", "has an INTEGER as purpose", .bad = {"eku_v=30{02{01}}"}},
    {"cert.eku.duplicate", "has clientAuth twice", .bad = {"eku_v=30{$client_auth $client_auth}"}},
    {"cert.eku.any", "has anyExtendedKeyUsage", .bad = {"eku_v=30{$client_auth 06{551d2500}}"}},
    {"cert.eku.cmc_ra", "has cmcRA", .bad = {"eku_v=30{$client_auth 06{2b0601050507031c}}"}},
    {"cert.eku.profile", "has serverAuth too", .bad = {"eku_v=30{$client_auth $server_auth}"}},
    {"cert.eku.profile", "has codeSigning too", .bad = {"eku_v=30{$client_auth 06{2b06010505070303}}"}},
    {"cert.eku.ocsp_signing", "is a device that may sign OCSP answers", .setup_bad = purpose_ocsp,
     .bad = {"eku_v=30{$client_auth $ocsp_signing}"}},
    {"cert.eku.ocsp_signing", "is an OCSP signer that may be a client", .setup = an_ocsp_signer,
     .common = {AN_OCSP_SIGNER}, .bad = {"eku_v=30{$client_auth $ocsp_signing}"}},
    {"cert.eku.document_signing", "is a device that may sign the feed", .setup_bad = purpose_feed,
     .bad = {"eku_v=30{$client_auth $document_signing}"}},
    {"cert.eku.document_signing", "is a signer of the feed that may be a client", .setup = a_feed_signer,
     .common = {A_FEED_SIGNER}, .bad = {"eku_v=30{$client_auth $document_signing}"}},

    {"cert.san.critical", "has a critical subjectAltName beside a subject", .bad = {"san_c=0101ff"}},
    {"cert.san.critical", "has a subjectAltName that is not critical and no subject", .setup = no_device,
     .common = {"subject=30{}"}, .good = {"san_c=0101ff"}},
    {"cert.san.form", "has no name", .bad = {"names="}},
    {"cert.san.form", "has a broken length in a name", .bad = {"names=8205'abcd'"}},
    {"cert.san.count", "has 101 names", .bad = {"names=$names_101"}, .good = {"names=$names_100"}},
    {"cert.san.type", "has a directoryName", .bad = {"names=a4{$issuer_name}"}},
    {"cert.san.duplicate", "has a name twice", .bad = {"names=82{'a.example'} 82{'a.example'}"},
     .good = {"names=82{'a.example'} 82{'b.example'}"}},
    {"cert.san.dns", "has a label that begins with a hyphen", .bad = {"names=82{'-a.example'}"},
     .good = {"names=82{'a-b.example'}"}},
    {"cert.san.dns", "has a label that ends with a hyphen", .bad = {"names=82{'a-.example'}"}},
    {"cert.san.dns", "has an empty label", .bad = {"names=82{'a..example'}"}},
    {"cert.san.dns", "has a NUL within", .bad = {"names=82{'a.example' 00 '.evil'}"}},
    {"cert.san.dns", "has a label of 64 octets", .bad = {"names=82{*64{'a'} '.example'}"},
     .good = {"names=82{*63{'a'} '.example'}"}},
    {"cert.san.dns", "is empty", .bad = {"names=8200"}},
    {"cert.san.dns_wildcard", "has a wildcard", .bad = {"names=82{'*.example'}"}},
    {"cert.san.email", "has a mail name without host", .bad = {"names=81{'root'}"},
     .good = {"names=81{'root@a.example'}"}},
    {"cert.san.email", "has two @", .bad = {"names=81{'a@b@a.example'}"}},
    {"cert.san.uri", "has a URI without scheme", .bad = {"names=86{'//a.example/x'}"},
     .good = {"names=86{'urn:dev:ops:32473-dev-0042'}"}},
    {"cert.san.uri", "has a space in a URI", .bad = {"names=86{'urn:dev: x'}"}},
    {"cert.san.uri", "has nothing behind the scheme", .bad = {"names=86{'urn:'}"}},
    {"cert.san.ip", "has an address with a mask", .bad = {"names=87{c0000201ffffff00}"},
     .good = {"names=87{c0000201}"}},
    {"cert.san.ip", "has an address of 17 octets", .bad = {"names=87{*17{20}}"}, .good = {"names=87{*16{20}}"}},
    {"cert.san.other_name", "has a user principal name", .bad = {"names=a0{06{2b060104018237140203} a0{0c{'x'}}}"},
     .good = {"names=a0{06{2b06010505070804} a0{30{06{2b0601040182a76901} 04{'dev-0042'}}}}"}},
    {"cert.san.hardware_module", "has a hardwareModuleName without serial number",
     .bad = {"names=a0{06{2b06010505070804} a0{30{06{2b0601040182a76901} 0400}}}"},
     .good = {"names=a0{06{2b06010505070804} a0{30{06{2b0601040182a76901} 04{01}}}}"}},

    {"cert.crldp.expected", "has no CRL address", .bad = {"crldp="}},
    {"cert.crldp.expected", "has a CRL address where none belongs", .setup = no_addresses, .common = {"aia="},
     .good = {"crldp="}},
    {"cert.crldp.expected", "is a root with a CRL address", .setup = a_root, .common = {A_ROOT, "subject=$issuer_name"},
     .bad = {"crldp=$crldp_there"}},
    {"cert.crldp.critical", "has a critical CRL address", .bad = {"crldp_c=0101ff"}},
    {"cert.crldp.form", "has two distribution points", .bad = {"crldp_second=30{a0{a0{86{$crl_url}}}}"}},
    {"cert.crldp.form", "has a name relative to the issuer",
     .bad = {"crldp=30{06{551d1f} 04{30{30{a0{a1{30{06{550403} 0c{'x'}}}}}}}}"}},
    {"cert.crldp.form", "has an unknown field", .bad = {"crldp_more=83{01}"}},
    {"cert.crldp.reasons", "covers some reasons", .bad = {"crldp_more=81{0640}"}},
    {"cert.crldp.crl_issuer", "names another CRL issuer", .bad = {"crldp_more=a2{a4{$issuer_name}}"}},
    {"cert.crldp.http", "has an https address", .setup_bad = https_crl_url,
     .bad = {"crl_url='https://pki.example/crl/fleet.crl'"}},
    {"cert.crldp.uri", "has the address of another CRL", .bad = {"crl_url='http://pki.example/crl/fleet.crl2'"}},
    {"cert.aia.expected", "has no authorityInfoAccess", .bad = {"aia="}},
    {"cert.aia.expected", "has one where none belongs", .setup = no_ocsp_url, .good = {"aia="}},
    {"cert.aia.critical", "has a critical authorityInfoAccess", .bad = {"aia_c=0101ff"}},
    {"cert.aia.form", "has an access without address", .bad = {"access=30{06{2b06010505073002}}"}},
    {"cert.aia.form", "has a directoryName as address", .bad = {"access=30{06{2b06010505073002} a4{$issuer_name}}"}},
    {"cert.aia.method", "has an unknown method", .bad = {"access=30{06{2b06010505073003} 86{'http://a.example'}}"}},
    {"cert.aia.method", "has OCSP twice", .bad = {"access=$ocsp_access"}},
    {"cert.aia.http", "has an https address", .setup_bad = https_ocsp_url,
     .bad = {"ocsp_url='https://pki.example/ocsp'"}},
    {"cert.aia.ocsp", "has another OCSP address", .bad = {"ocsp_url='http://pki.example/ocsp2'"}},
    {"cert.aia.ocsp", "has an OCSP address where none belongs", .setup = only_ca_issuers,
     .common = {"access=$issuers_access"}, .good = {"ocsp_access="}},
    {"cert.aia.ca_issuers", "has no caIssuers", .setup = with_ca_issuers, .good = {"access=$issuers_access"}},
    {"cert.aia.ca_issuers", "has caIssuers where none belongs", .bad = {"access=$issuers_access"}},

    {"cert.nocheck.present", "is an OCSP signer without ocsp-nocheck", .setup = an_ocsp_signer,
     .common = {AN_OCSP_SIGNER}, .bad = {"more="}},
    {"cert.nocheck.present", "is a device with ocsp-nocheck", .bad = {"more=$nocheck"}},
    {"cert.nocheck.critical", "has a critical ocsp-nocheck", .setup = an_ocsp_signer, .common = {AN_OCSP_SIGNER},
     .bad = {"nocheck_c=0101ff"}},
    {"cert.nocheck.value", "has a SEQUENCE in ocsp-nocheck", .setup = an_ocsp_signer, .common = {AN_OCSP_SIGNER},
     .bad = {"nocheck_v=30{}"}},
    {"cert.ocsp_signer.crl", "is an OCSP signer with a CRL address", .setup = an_ocsp_signer,
     .common = {AN_OCSP_SIGNER}, .bad = {"crldp=$crldp_there"}},
    {"cert.ocsp_signer.aia", "is an OCSP signer with an OCSP address", .setup = an_ocsp_signer,
     .common = {AN_OCSP_SIGNER}, .bad = {"aia=$aia_there"}},
    {"cert.no_rev_avail.value", "has a noRevAvail with a value", .setup = no_addresses,
     .common = {"crldp=", "aia=", "more=$no_rev_avail"}, .bad = {"no_rev_avail_v=30{}"}},
    {"cert.no_rev_avail.value", "has a critical noRevAvail", .setup = no_addresses,
     .common = {"crldp=", "aia=", "more=$no_rev_avail"}, .bad = {"no_rev_avail_c=0101ff"}},
    {"cert.no_rev_avail.ca", "is a CA with noRevAvail", .setup = a_ca_without_addresses,
     .common = {A_CA, "crldp=", "aia="}, .bad = {"more=$no_rev_avail"}},
    {"cert.no_rev_avail.alone", "has noRevAvail beside a CRL address", .bad = {"more=$no_rev_avail"}},
};

/* ---- tests ---- */

static void each_rule_alone_rejects_its_object(void **state)
{
    (void)state;
    lint_cases_run(ARRAY(cases));
}

static void every_rule_has_a_case(void **state)
{
    size_t n;
    const struct lint_rule *rules = lint_rules_cert(&n);

    (void)state;
    assert_true(n >= 60);
    lint_cases_cover(rules, n, ARRAY(cases));
}

static void the_page_lists_the_rules(void **state)
{
    size_t n;
    const struct lint_rule *rules = lint_rules_cert(&n);

    (void)state;
    lint_cases_page(rules, n, TITLE);
}

static void all_findings_are_yielded(void **state)
{
    struct derb_vars vars = {.n = 0};
    struct lint_report r;
    char found[1024];

    (void)state;
    world_reset(&vars);
    derb_set(&vars, "version=a0{02{01}}");
    derb_set(&vars, "serial=02{00}");
    derb_set(&vars, "o_value=0c{07}");
    derb_set(&vars, "aki=");
    derb_set(&vars, "names=82{'*.example'} 87{00}");
    world_lint(&vars, &r);
    lint_cases_describe(&r, found, sizeof found);
    assert_int_equal(r.n, 6);
    for (size_t i = 0; i < 6; i++) {
        static const char *const ids[] = {"cert.version.v3",  "cert.serial.positive",  "cert.subject.control",
                                          "cert.aki.present", "cert.san.dns_wildcard", "cert.san.ip"};
        assert_string_equal(r.finding[i]->id, ids[i]);
    }
}

static void more_findings_than_room_are_counted(void **state)
{
    struct derb_vars vars = {.n = 0};
    struct lint_report r;
    struct err e = {.code = E_OK};

    (void)state;
    world_reset(&vars);
    derb_set(&vars, "version=");
    derb_set(&vars, "serial=02{00}");
    derb_set(&vars, "sig=30{}");
    derb_set(&vars, "issuer=30{}");
    derb_set(&vars, "validity=30{}");
    derb_set(&vars, "subject=30{31{}}");
    derb_set(&vars, "spki=30{}");
    derb_set(&vars, "asked=30{$nb}");
    derb_set(&vars, "ids=81{00aa} 82{00aa}");
    derb_set(&vars, "tail=0500");
    derb_set(&vars, "exts=a3{30{$nocheck 30{06{551d20} 04{0500}} 30{06{551d1e} 04{0500}} 30{06{551d2e} 04{0500}}}}");
    world_lint(&vars, &r);
    assert_true(r.n > LINT_FINDINGS_MAX);
    assert_int_equal(lint_result(&r, "certificate 4a11", &e), E_INTERNAL);
    assert_non_null(strstr(e.msg, " more"));
}

static void a_rule_broken_twice_is_one_finding(void **state)
{
    struct derb_vars vars = {.n = 0};
    struct lint_report r;

    (void)state;
    world_reset(&vars);
    derb_set(&vars, "names=87{00} 87{0000} 87{000000}");
    world_lint(&vars, &r);
    assert_int_equal(r.n, 1);
}

static void result_names_object_rule_and_clause(void **state)
{
    size_t n;
    const struct lint_rule *rules = lint_rules_cert(&n);
    struct lint_report r = {.n = 0};
    struct err e = {.code = E_OK};

    (void)state;
    assert_int_equal(lint_result(&r, "certificate 4a11", &e), E_OK);
    for (size_t i = 0; i < n; i++)
        if (strcmp(rules[i].id, "cert.serial.positive") == 0)
            r.finding[r.n++] = &rules[i];
    assert_int_equal(lint_result(&r, "certificate 4a11", &e), E_INTERNAL);
    assert_int_equal(e.code, E_INTERNAL);
    assert_string_equal(e.msg,
                        "certificate 4a11: lint: cert.serial.positive (RFC 5280 4.1.2.2) serialNumber is positive");
}

static void lint_object(struct bytes tbs, struct lint_report *r)
{
    lint_cert(tbs, &x, r);
}

static void broken_objects_are_survived(void **state)
{
    static uint8_t tbs[2048];
    struct derb_vars vars = {.n = 0};
    size_t len, noticed;

    (void)state;
    world_reset(&vars);
    len = world_build(&vars, tbs, sizeof tbs);
    noticed = lint_cases_mutate(tbs, len, lint_object);
    /* What may change unnoticed: letters of the organization and of the host name, digits of a time within a second. */
    print_message("%zu of %zu flipped bits noticed\n", noticed, 8 * len);
    assert_true(noticed > 8 * len * 9 / 10);
}

static void cost_is_printed(void **state)
{
    static uint8_t tbs[2048];
    struct derb_vars vars = {.n = 0};
    struct lint_report r;
    struct timespec from, to;
    const int rounds = 2000;
    size_t len;

    (void)state;
    world_reset(&vars);
    len = world_build(&vars, tbs, sizeof tbs);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < rounds; i++)
        lint_cert(BYTES(tbs, len), &x, &r);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_int_equal(r.n, 0);
    print_message("%.2f us per certificate of %zu octets\n",
                  ((double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3) / rounds, len);
}

static void make_names(char *out, const char *variable, int n)
{
    out += sprintf(out, "%s=", variable);
    for (int i = 0; i < n; i++)
        out += sprintf(out, "82{'h%d'} ", i);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_alone_rejects_its_object),
        cmocka_unit_test(every_rule_has_a_case),
        cmocka_unit_test(the_page_lists_the_rules),
        cmocka_unit_test(all_findings_are_yielded),
        cmocka_unit_test(more_findings_than_room_are_counted),
        cmocka_unit_test(a_rule_broken_twice_is_one_finding),
        cmocka_unit_test(result_names_object_rule_and_clause),
        cmocka_unit_test(broken_objects_are_survived),
        cmocka_unit_test(cost_is_printed),
    };
    size_t n;
    const struct lint_rule *rules = lint_rules_cert(&n);

    if (lint_cases_list(argc, argv, rules, n, TITLE))
        return 0;
    make_names(names_100, "names_100", 100);
    make_names(names_101, "names_101", 101);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
