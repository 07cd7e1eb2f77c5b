/* SPDX-License-Identifier: Apache-2.0 */
/* Requests from strangers: each hostile one beside a good neighbour that differs in that one thing. */
#include "pki_util.h"

#include "ca/csr.h"

enum part { VERSION, SUBJECT, SPKI, ATTRS, SIG_ALG, OUTER };

#define CN(v)       "31{30{0603550403 " v "}}"
#define GOOD_CN     CN("0c{\"dev-1\"}")
#define ATTR(o, v)  "30{" o " 31{" v "}}"
#define EXT_REQ     "06092a864886f70d01090e"
#define MS_EXT_REQ  "060a2b06010401823702010e"
#define CHALLENGE   "06092a864886f70d010907"
#define OTP         "060b2a864886f70d0109100238"
#define REVOKE_CH   "060b2a864886f70d0109100239"
#define LINKING     "060b2a864886f70d010910023a"
#define EXTS(x)     "a0{" ATTR(EXT_REQ, "30{" x "}") "}"
#define EXT(o, v)   "30{" o " 04{" v "}}"
#define SAN_OID     "0603551d11"
#define SAN(v)      EXTS(EXT(SAN_OID, "30{" v "}"))
#define KU_OID      "0603551d0f"
#define BC_OID      "0603551d13"
#define EKU_OID     "0603551d25"
#define EC_ALG_256  "30{06072a8648ce3d0201 06082a8648ce3d030107}"

static const struct {
    const char *name;
    enum part part;
    const char *good, *bad;
    enum err_code code;
    const char *says;
} cases[] = {
    /* the frame */
    {"version 1 is refused", VERSION, "020100", "020101", E_INVALID, "version"},
    {"version in two octets is refused", VERSION, "020100", "02020000", E_INVALID, "version"},
    {"negative version is refused", VERSION, "020100", "0201ff", E_INVALID, "version"},
    {"missing version is refused", VERSION, "020100", "", E_INVALID, "version"},
    {"attributes of another tag are refused", ATTRS, "a0{}", "a1{}", E_INVALID, "attributes"},
    {"attributes left out are tolerated, octets behind are not", ATTRS, "", "0500", E_INVALID, "attributes"},
    {"an attribute that is no SEQUENCE is refused", ATTRS, "a0{" ATTR("06032a0304", "0500") "}", "a0{0500}", E_INVALID,
     "attribute 1"},
    {"an attribute without SET is refused", ATTRS, "a0{" ATTR("06032a0304", "0500") "}", "a0{30{06032a0304 0500}}",
     E_INVALID, "attribute 1"},
    {"an attribute with an empty OID is refused", ATTRS, "a0{" ATTR("06032a0304", "0500") "}",
     "a0{" ATTR("0600", "0500") "}", E_INVALID, "attribute 1"},
    {"octets after the request are refused", OUTER, "", "00", E_INVALID, "one DER SEQUENCE"},
    {"a second element after the request is refused", OUTER, "", "0500", E_INVALID, "one DER SEQUENCE"},

    /* subject */
    {"a NUL in CN is refused", SUBJECT, "30{" GOOD_CN "}", "30{" CN("0c{\"dev\"00\"1\"}") "}", E_INVALID, "CN"},
    {"a newline in CN is refused", SUBJECT, "30{" GOOD_CN "}", "30{" CN("0c{\"dev\"0a}") "}", E_INVALID, "CN"},
    {"DEL in CN is refused", SUBJECT, "30{" GOOD_CN "}", "30{" CN("0c{\"dev\"7f}") "}", E_INVALID, "CN"},
    {"a C1 control in CN is refused", SUBJECT, "30{" CN("0c{\"dev\"c2a0}") "}", "30{" CN("0c{\"dev\"c285}") "}",
     E_INVALID, "CN"},
    {"overlong UTF-8 is refused", SUBJECT, "30{" CN("0c{c3a9}") "}", "30{" CN("0c{c0af}") "}", E_INVALID, "CN"},
    {"a surrogate in UTF-8 is refused", SUBJECT, "30{" CN("0c{ed9fbf}") "}", "30{" CN("0c{eda080}") "}", E_INVALID,
     "CN"},
    {"UTF-8 cut short is refused", SUBJECT, "30{" CN("0c{e697a5}") "}", "30{" CN("0c{e697}") "}", E_INVALID, "CN"},
    {"code points above 10ffff are refused", SUBJECT, "30{" CN("0c{f48fbfbf}") "}", "30{" CN("0c{f4908080}") "}",
     E_INVALID, "CN"},
    {"an octet outside PrintableString is refused", SUBJECT, "30{" CN("13{\"dev-1\"}") "}",
     "30{" CN("13{\"dev_1\"}") "}", E_INVALID, "PrintableString"},
    {"T61String is refused", SUBJECT, "30{" CN("13{\"dev\"}") "}", "30{" CN("14{\"dev\"}") "}", E_INVALID,
     "string type 14"},
    {"BMPString is refused", SUBJECT, "30{" CN("0c{\"d\"}") "}", "30{" CN("1e{00\"d\"}") "}", E_INVALID,
     "string type 1e"},
    {"a constructed value is refused", SUBJECT, "30{" CN("0c{\"d\"}") "}", "30{" CN("30{0c{\"d\"}}") "}", E_INVALID,
     "string type 30"},
    {"a CN of 65 is refused", SUBJECT, "30{" CN("0c{(61*64)}") "}", "30{" CN("0c{(61*65)}") "}", E_INVALID, "at most 64"},
    {"a serialNumber of 65 is refused", SUBJECT, "30{31{30{0603550405 13{(31*64)}}}}",
     "30{31{30{0603550405 13{(31*65)}}}}", E_INVALID, "at most 64"},
    {"an O of 65 is refused", SUBJECT, "30{" GOOD_CN "31{30{060355040a 0c{(61*64)}}}}",
     "30{" GOOD_CN "31{30{060355040a 0c{(61*65)}}}}", E_INVALID, "at most 64"},
    {"an OU of 65 is refused", SUBJECT, "30{" GOOD_CN "31{30{060355040b 0c{(61*64)}}}}",
     "30{" GOOD_CN "31{30{060355040b 0c{(61*65)}}}}", E_INVALID, "at most 64"},
    {"a C of 3 is refused", SUBJECT, "30{" GOOD_CN "31{30{0603550406 13{\"JP\"}}}}",
     "30{" GOOD_CN "31{30{0603550406 13{\"JPN\"}}}}", E_INVALID, "C "},
    {"a C in UTF8String is refused", SUBJECT, "30{" GOOD_CN "31{30{0603550406 13{\"JP\"}}}}",
     "30{" GOOD_CN "31{30{0603550406 0c{\"JP\"}}}}", E_INVALID, "C is not"},
    {"an empty CN is refused", SUBJECT, "30{" CN("0c{\"a\"}") "}", "30{" CN("0c{}") "}", E_INVALID, "empty"},
    {"two CNs are refused", SUBJECT, "30{" GOOD_CN "31{30{060355040a 0c{\"dev-1\"}}}}", "30{" GOOD_CN GOOD_CN "}",
     E_INVALID, "more than one CN"},
    {"two CNs in one RDN are refused", SUBJECT, "30{31{30{060355040a 0c{\"x\"}}30{0603550403 0c{\"a\"}}}}",
     "30{31{30{0603550403 0c{\"a\"}}30{0603550403 0c{\"b\"}}}}", E_INVALID, "more than one CN"},
    {"two serialNumbers are refused", SUBJECT, "30{31{30{0603550405 13{\"1\"}}}" GOOD_CN "}",
     "30{31{30{0603550405 13{\"1\"}}}31{30{0603550405 13{\"2\"}}}}", E_INVALID, "more than one serialNumber"},
    {"an empty RDN is refused", SUBJECT, "30{" GOOD_CN "}", "30{" GOOD_CN "31{}}", E_INVALID, "empty RDN"},
    {"21 RDNs are refused", SUBJECT,
     "30{" GOOD_CN "@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u}",
     "30{" GOOD_CN "@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u@u}", E_INVALID, "more than 20"},
    {"an RDN that is a SEQUENCE is refused", SUBJECT, "30{" GOOD_CN "}", "30{30{30{0603550403 0c{\"a\"}}}}", E_INVALID,
     "broken RDN"},
    {"an attribute with a third field is refused", SUBJECT, "30{" GOOD_CN "}", "30{" CN("0c{\"a\"}0500") "}", E_INVALID,
     "broken attribute"},
    {"a subject above 1024 octets is refused", SUBJECT, "30{" GOOD_CN "@v@v@v@v}", "30{" GOOD_CN "@v@v@v@v@v@v@v@v@v}",
     E_INVALID, "at most 1024"},
    {"an empty subject without SAN is refused", SUBJECT, "30{" GOOD_CN "}", "30{}", E_INVALID, "empty subject"},

    /* keys: what pubkey_read refuses is in test_pubkey.c; here, that csr_read asks it */
    {"a key off its curve is refused", SPKI, "@a", "30{" EC_ALG_256 " 03{0004(11*64)}}", E_INVALID, "not on the curve"},
    {"the point at infinity is refused", SPKI, "@a", "30{" EC_ALG_256 " 03{0000}}", E_INVALID, "point form 00"},
    {"an X25519 key is refused", SPKI, "@a", "30{30{06032b656e} 03{00(09*32)}}", E_INVALID, "not RSA, ECDSA or Ed25519"},

    /* signature algorithm */
    {"SHA-1 is refused", SIG_ALG, "30{06082a8648ce3d040302}", "30{06072a8648ce3d0401}", E_INVALID, "signature algorithm"},
    {"SHA-384 on another digest's signature is refused", SIG_ALG, "30{06082a8648ce3d040302}",
     "30{06082a8648ce3d040303}", E_INVALID, "proof of possession"},
    {"ECDSA with NULL parameters is refused", SIG_ALG, "30{06082a8648ce3d040302}", "30{06082a8648ce3d040302 0500}",
     E_INVALID, "signature algorithm"},
    {"RSA's algorithm for an EC key is refused", SIG_ALG, "30{06082a8648ce3d040302}", "30{06092a864886f70d01010b 0500}",
     E_INVALID, "signature algorithm"},
    {"an empty algorithm is refused", SIG_ALG, "30{06082a8648ce3d040302}", "30{}", E_INVALID, "signature algorithm"},

    /* extensionRequest */
    {"two extensionRequest attributes are refused", ATTRS, SAN("82{\"a.example\"}"),
     "a0{" ATTR(EXT_REQ, "30{" EXT(SAN_OID, "30{82{\"a\"}}") "}") ATTR(EXT_REQ, "30{" EXT(KU_OID, "03020780") "}") "}",
     E_INVALID, "two extensionRequest"},
    {"one of each kind of extensionRequest is refused", ATTRS,
     "a0{" ATTR(MS_EXT_REQ, "30{" EXT(SAN_OID, "30{82{\"a\"}}") "}") "}",
     "a0{" ATTR(EXT_REQ, "30{" EXT(SAN_OID, "30{82{\"a\"}}") "}")
         ATTR(MS_EXT_REQ, "30{" EXT(KU_OID, "03020780") "}") "}",
     E_INVALID, "two extensionRequest"},
    {"an extensionRequest of two values is refused", ATTRS, SAN("82{\"a.example\"}"),
     "a0{" ATTR(EXT_REQ, "30{" EXT(SAN_OID, "30{82{\"a\"}}") "}30{" EXT(KU_OID, "03020780") "}") "}", E_INVALID,
     "not one list"},
    {"an extensionRequest without value is refused", ATTRS, SAN("82{\"a.example\"}"), "a0{" ATTR(EXT_REQ, "") "}",
     E_INVALID, "not one list"},
    {"an empty list of extensions is refused", ATTRS, SAN("82{\"a.example\"}"), "a0{" ATTR(EXT_REQ, "30{}") "}", E_INVALID,
     "not one list"},
    {"an extension twice is refused", ATTRS, EXTS(EXT(KU_OID, "03020780") EXT(SAN_OID, "30{82{\"a\"}}")),
     EXTS(EXT(KU_OID, "03020780") EXT(KU_OID, "03020780")), E_INVALID, "twice"},
    {"an unknown extension twice is refused", ATTRS, EXTS(EXT("06032a0304", "0500") EXT("06032a0305", "0500")),
     EXTS(EXT("06032a0304", "0500") EXT("06032a0304", "0500")), E_INVALID, "twice"},
    {"a bare OID in extensionRequest is refused", ATTRS, SAN("82{\"a.example\"}"),
     "a0{" ATTR(EXT_REQ, "30{" SAN_OID "}") "}", E_INVALID, "broken extension"},
    {"a BOOLEAN of 01 is refused", ATTRS, EXTS("30{" KU_OID " 0101ff 04{03020780}}"),
     EXTS("30{" KU_OID " 010101 04{03020780}}"), E_INVALID, "broken extension"},
    {"an unknown critical extension is denied", ATTRS, EXTS("30{06032a0304 04{0500}}"),
     EXTS("30{06032a0304 0101ff 04{0500}}"), E_DENIED, "critical"},

    /* subjectAltName */
    {"an empty SAN is refused", ATTRS, SAN("82{\"a.example\"}"), SAN(""), E_INVALID, "at least one"},
    {"octets after a SAN are refused", ATTRS, SAN("82{\"a.example\"}"), EXTS(EXT(SAN_OID, "30{82{\"a\"}}0500")), E_INVALID,
     "at least one"},
    {"an empty dNSName is refused", ATTRS, SAN("82{\"a\"}"), SAN("82{}"), E_INVALID, "empty name"},
    {"a NUL in a dNSName is refused", ATTRS, SAN("82{\"good.example\"}"), SAN("82{\"good.example\"00\".evil\"}"),
     E_INVALID, "octet 00"},
    {"a wildcard is denied", ATTRS, SAN("82{\"a.example\"}"), SAN("82{\"*.example\"}"), E_DENIED, "wildcard"},
    {"a dNSName with an empty label is refused", ATTRS, SAN("82{\"a.b\"}"), SAN("82{\"a..b\"}"), E_INVALID, "host name"},
    {"a dNSName with a leading hyphen is refused", ATTRS, SAN("82{\"a-b\"}"), SAN("82{\"-ab\"}"), E_INVALID, "host name"},
    {"a label of 64 is refused", ATTRS, SAN("82{(61*63)}"), SAN("82{(61*64)}"), E_INVALID, "host name"},
    {"a non-ASCII dNSName is refused", ATTRS, SAN("82{\"a\"}"), SAN("82{c3a9}"), E_INVALID, "octet c3"},
    {"a blank in a URI is refused", ATTRS, SAN("86{\"urn:a\"}"), SAN("86{\"urn: a\"}"), E_INVALID, "octet 20"},
    {"an empty URI is refused", ATTRS, SAN("86{\"urn:a\"}"), SAN("86{}"), E_INVALID, "empty name"},
    {"an iPAddress of 5 octets is refused", ATTRS, SAN("87{c0000201}"), SAN("87{c000020100}"), E_INVALID, "5 octets"},
    {"an iPAddress of 15 octets is refused", ATTRS, SAN("87{(20*16)}"), SAN("87{(20*15)}"), E_INVALID, "15 octets"},
    {"an empty directoryName is refused", ATTRS, SAN("a4{30{" GOOD_CN "}}"), SAN("a4{30{}}"), E_INVALID, "directoryName"},
    {"a NUL in a directoryName is refused", ATTRS, SAN("a4{30{" GOOD_CN "}}"), SAN("a4{30{" CN("0c{00}") "}}"), E_INVALID,
     "directoryName"},
    {"an otherName without value is refused", ATTRS, SAN("a0{06082b06010505070804 a0{0500}}"),
     SAN("a0{06082b06010505070804}"), E_INVALID, "otherName"},
    {"an x400Address is refused", ATTRS, SAN("82{\"a\"}"), SAN("a3{0500}"), E_INVALID, "name form a3"},
    {"101 names are refused", ATTRS, SAN("@w@w@w@w@w@w@w@w@w@w"), SAN("@w@w@w@w@w@w@w@w@w@w 82{\"z\"}"), E_INVALID,
     "more than 100"},

    /* what is never granted */
    {"CA:TRUE is denied", ATTRS, EXTS(EXT(BC_OID, "30{}")), EXTS(EXT(BC_OID, "30{0101ff}")), E_DENIED, "CA:TRUE"},
    {"basicConstraints with octets behind is refused", ATTRS, EXTS(EXT(BC_OID, "30{}")), EXTS(EXT(BC_OID, "30{}00")),
     E_INVALID, "basicConstraints"},
    {"keyCertSign is denied", ATTRS, EXTS(EXT(KU_OID, "03020780")), EXTS(EXT(KU_OID, "03020204")), E_DENIED, "keyCertSign"},
    {"cRLSign is denied", ATTRS, EXTS(EXT(KU_OID, "03020780")), EXTS(EXT(KU_OID, "03020102")), E_DENIED, "cRLSign"},
    {"keyUsage with spare bits set is refused", ATTRS, EXTS(EXT(KU_OID, "03020780")), EXTS(EXT(KU_OID, "03020781")),
     E_INVALID, "keyUsage"},
    {"OCSPSigning is denied", ATTRS, EXTS(EXT(EKU_OID, "30{06082b06010505070302}")),
     EXTS(EXT(EKU_OID, "30{06082b06010505070309}")), E_DENIED, "OCSPSigning"},
    {"cmcRA is denied", ATTRS, EXTS(EXT(EKU_OID, "30{06082b06010505070302}")),
     EXTS(EXT(EKU_OID, "30{06082b06010505070302 06082b0601050507031c}")), E_DENIED, "cmcRA"},
    {"an empty extKeyUsage is refused", ATTRS, EXTS(EXT(EKU_OID, "30{06082b06010505070302}")), EXTS(EXT(EKU_OID, "30{}")),
     E_INVALID, "extKeyUsage"},

    /* bindings */
    {"a challengePassword without value is refused", ATTRS, "a0{" ATTR(CHALLENGE, "13{\"AAAA\"}") "}",
     "a0{" ATTR(CHALLENGE, "") "}", E_INVALID, "no value"},
    {"two challengePassword values are refused", ATTRS, "a0{" ATTR(CHALLENGE, "0c{\"AAAA\"}") "}",
     "a0{" ATTR(CHALLENGE, "13{\"AAAA\"}13{\"BBBB\"}") "}", E_INVALID, "not one value"},
    {"two challengePassword attributes are refused", ATTRS,
     "a0{" ATTR(CHALLENGE, "13{\"AAAA\"}") ATTR(LINKING, "13{\"AAAA\"}") "}",
     "a0{" ATTR(CHALLENGE, "13{\"AAAA\"}") ATTR(CHALLENGE, "13{\"AAAA\"}") "}", E_INVALID, "two challengePassword"},
    {"an empty challengePassword is refused", ATTRS, "a0{" ATTR(CHALLENGE, "13{\"A\"}") "}",
     "a0{" ATTR(CHALLENGE, "13{}") "}", E_INVALID, "0 octets"},
    {"a challengePassword of 256 is refused", ATTRS, "a0{" ATTR(CHALLENGE, "13{(41*255)}") "}",
     "a0{" ATTR(CHALLENGE, "13{(41*256)}") "}", E_INVALID, "256 octets"},
    {"an IA5String challengePassword is refused", ATTRS, "a0{" ATTR(CHALLENGE, "13{\"AAAA\"}") "}",
     "a0{" ATTR(CHALLENGE, "16{\"AAAA\"}") "}", E_INVALID, "string type 16"},
    {"a T61String challengePassword is refused", ATTRS, "a0{" ATTR(CHALLENGE, "13{\"AAAA\"}") "}",
     "a0{" ATTR(CHALLENGE, "14{\"AAAA\"}") "}", E_INVALID, "string type 14"},
    {"an OCTET STRING challengePassword is refused", ATTRS, "a0{" ATTR(CHALLENGE, "13{\"AAAA\"}") "}",
     "a0{" ATTR(CHALLENGE, "04{\"AAAA\"}") "}", E_INVALID, "string type 04"},
    {"a NUL in a challengePassword is refused", ATTRS, "a0{" ATTR(CHALLENGE, "0c{\"AAAA\"}") "}",
     "a0{" ATTR(CHALLENGE, "0c{\"AA\"00}") "}", E_INVALID, "challengePassword"},
    {"two estIdentityLinking values are refused", ATTRS, "a0{" ATTR(LINKING, "13{\"AAAA\"}") "}",
     "a0{" ATTR(LINKING, "13{\"AAAA\"}13{\"AAAB\"}") "}", E_INVALID, "not one value"},
    {"otpChallenge is refused", ATTRS, "a0{" ATTR(LINKING, "13{\"AAAA\"}") "}", "a0{" ATTR(OTP, "13{\"AAAA\"}") "}",
     E_INVALID, "otpChallenge"},
    {"revocationChallenge is refused", ATTRS, "a0{" ATTR(LINKING, "13{\"AAAA\"}") "}",
     "a0{" ATTR(REVOKE_CH, "13{\"AAAA\"}") "}", E_INVALID, "revocationChallenge"},
};

/* What a request is made of, as text of der_text. */
struct recipe {
    const char *part[OUTER + 1];
    enum key_alg key;
    const char *md;
};

static struct buf spki_p256, rdn_l, rdn_long, ten_names;
static struct bytes blobs[26];

static struct recipe good_recipe(void)
{
    return (struct recipe){
        .part = {[VERSION] = "020100", [SUBJECT] = "30{" GOOD_CN "}", [SPKI] = "@a", [ATTRS] = "a0{}",
                 [SIG_ALG] = "30{06082a8648ce3d040302}", [OUTER] = ""},
        .key = KEY_P256,
        .md = "SHA256",
    };
}

/* The outer SEQUENCE around parts that are there; `tbs` NULL: made from the recipe and signed. */
static void csr_build(const struct recipe *r, struct buf *out)
{
    struct buf tbs = BUF_INIT(1 << 20), sig = BUF_INIT(4096), inner = BUF_INIT(1 << 20);
    struct derw w;

    for (int i = VERSION; i <= ATTRS; i++)
        der_text(r->part[i], blobs, &inner);
    derw_init(&w, &tbs);
    derw_element(&w, 0x30, buf_bytes(&inner));
    pkey_sign(test_key(r->key), r->md, buf_bytes(&tbs), &sig);
    buf_reset(&inner);
    buf_add_bytes(&inner, buf_bytes(&tbs));
    der_text(r->part[SIG_ALG], blobs, &inner);
    derw_init(&w, &inner);
    derw_bits(&w, buf_bytes(&sig), 0);
    derw_init(&w, out);
    derw_element(&w, 0x30, buf_bytes(&inner));
    der_text(r->part[OUTER], blobs, out);
    buf_clear(&tbs);
    buf_clear(&sig);
    buf_clear(&inner);
}

static void hostile_requests_are_refused_and_their_neighbours_taken(void **state)
{
    (void)state;
    assert_true(ARRAY_LEN(cases) >= 60);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf good = BUF_INIT(1 << 20), bad = BUF_INIT(1 << 20);
        struct recipe r = good_recipe();
        struct csr csr;
        struct err e = {.code = E_OK};

        r.part[cases[i].part] = cases[i].good;
        csr_build(&r, &good);
        if (csr_read(buf_bytes(&good), &csr, &e) != E_OK)
            fail_msg("neighbour of \"%s\": %s", cases[i].name, e.msg);
        r.part[cases[i].part] = cases[i].bad;
        csr_build(&r, &bad);
        enum err_code code = csr_read(buf_bytes(&bad), &csr, &e);
        if (code != cases[i].code || !strstr(e.msg, cases[i].says))
            fail_msg("\"%s\": code %d, %s", cases[i].name, (int)code, e.msg);
        assert_int_equal(csr_read(buf_bytes(&bad), &csr, NULL), cases[i].code);
        buf_clear(&good);
        buf_clear(&bad);
    }
}

static void read_ok(const struct recipe *r, struct buf *der, struct csr *csr)
{
    struct err e = {.code = E_OK};

    csr_build(r, der);
    if (csr_read(buf_bytes(der), csr, &e) != E_OK)
        fail_msg("%s", e.msg);
}

static void every_key_type_proves_possession(void **state)
{
    static const struct {
        enum key_alg key;
        const char *md, *alg;
    } kinds[] = {
        {KEY_P256, "SHA256", "30{06082a8648ce3d040302}"},        {KEY_P256, "SHA512", "30{06082a8648ce3d040304}"},
        {KEY_P384, "SHA384", "30{06082a8648ce3d040303}"},        {KEY_P384, "SHA256", "30{06082a8648ce3d040302}"},
        {KEY_RSA2048, "SHA256", "30{06092a864886f70d01010b0500}"}, {KEY_RSA2048, "SHA256", "30{06092a864886f70d01010b}"},
        {KEY_RSA2048, "SHA384", "30{06092a864886f70d01010c0500}"}, {KEY_RSA2048, "SHA512", "30{06092a864886f70d01010d0500}"},
        {KEY_RSA3072, "SHA256", "30{06092a864886f70d01010b0500}"}, {KEY_RSA4096, "SHA256", "30{06092a864886f70d01010b0500}"},
        {KEY_ED25519, NULL, "30{06032b6570}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct buf spki = BUF_INIT(4096), der = BUF_INIT(1 << 16);
        struct recipe r = good_recipe();
        struct csr csr;
        struct err e;

        pkey_spki(test_key(kinds[i].key), &spki);
        blobs['b' - 'a'] = buf_bytes(&spki);
        r.part[SPKI] = "@b";
        r.part[SIG_ALG] = kinds[i].alg;
        r.key = kinds[i].key;
        r.md = kinds[i].md;
        read_ok(&r, &der, &csr);
        assert_int_equal(csr.key.alg, kinds[i].key);
        assert_true(bytes_equal(csr.key.spki, buf_bytes(&spki)));

        /* The neighbour: one bit of the signature, then one of what was signed. */
        der.p[der.len - 1] ^= 1;
        assert_int_equal(csr_read(buf_bytes(&der), &csr, &e), E_INVALID);
        der.p[der.len - 1] ^= 1;
        uint8_t *cn = memmem(der.p, der.len, "dev-1", 5);
        cn[4] = '2';
        assert_int_equal(csr_read(buf_bytes(&der), &csr, &e), E_INVALID);
        assert_non_null(strstr(e.msg, "proof of possession"));
        buf_clear(&spki);
        buf_clear(&der);
    }
}

/* With e = 1 the "signature" is the padded digest itself: no private key is needed. */
static void a_forged_signature_under_e_1_is_refused(void **state)
{
    static const uint8_t digest_info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                          0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
    struct buf n_octets = BUF_INIT(512), spki = BUF_INIT(4096), tbs = BUF_INIT(8192), inner = BUF_INIT(8192),
               der = BUF_INIT(8192);
    uint8_t em[256], one = 1;
    BIGNUM *n = NULL;
    struct derw w;
    struct csr csr;
    struct err e;

    (void)state;
    assert_int_equal(EVP_PKEY_get_bn_param(test_key(KEY_RSA2048), OSSL_PKEY_PARAM_RSA_N, &n), 1);
    assert_true(buf_reserve(&n_octets, 256));
    n_octets.len = (size_t)BN_bn2bin(n, n_octets.p);
    BN_free(n);
    rsa_spki(buf_bytes(&n_octets), BYTES(&one, 1), &spki);
    blobs['b' - 'a'] = buf_bytes(&spki);
    der_text("020100 30{" GOOD_CN "} @b a0{}", blobs, &inner);
    derw_init(&w, &tbs);
    derw_element(&w, 0x30, buf_bytes(&inner));

    memset(em, 0xff, sizeof em);
    em[0] = 0;
    em[1] = 1;
    em[sizeof em - 32 - sizeof digest_info - 1] = 0;
    memcpy(em + sizeof em - 32 - sizeof digest_info, digest_info, sizeof digest_info);
    sha256(buf_bytes(&tbs), em + sizeof em - 32);

    buf_reset(&inner);
    buf_add_bytes(&inner, buf_bytes(&tbs));
    der_text("30{06092a864886f70d01010b0500}", blobs, &inner);
    derw_init(&w, &inner);
    derw_bits(&w, BYTES_OF(em), 0);
    derw_init(&w, &der);
    derw_element(&w, 0x30, buf_bytes(&inner));
    assert_int_equal(csr_read(buf_bytes(&der), &csr, &e), E_INVALID);
    assert_non_null(strstr(e.msg, "exponent"));
    buf_clear(&n_octets);
    buf_clear(&spki);
    buf_clear(&tbs);
    buf_clear(&inner);
    buf_clear(&der);
}

static void no_prefix_and_no_flipped_octet_reads_as_a_request(void **state)
{
    struct buf der = BUF_INIT(1 << 16);
    struct recipe r = good_recipe();
    struct csr csr;

    (void)state;
    r.part[ATTRS] = SAN("82{\"a.example\"}");
    read_ok(&r, &der, &csr);
    for (size_t n = 0; n < der.len; n++) {
        uint8_t *cut = malloc(n ? n : 1); /* its own block, so that a sanitizer sees a read past it */
        memcpy(cut, der.p, n);
        assert_int_not_equal(csr_read(BYTES(cut, n), &csr, NULL), E_OK);
        free(cut);
    }
    for (size_t n = 0; n < der.len; n++)
        for (unsigned bit = 1; bit < 256; bit <<= 1) {
            der.p[n] ^= (uint8_t)bit;
            assert_int_not_equal(csr_read(buf_bytes(&der), &csr, NULL), E_OK);
            der.p[n] ^= (uint8_t)bit;
        }
    assert_int_equal(csr_read(buf_bytes(&der), &csr, NULL), E_OK);
    buf_clear(&der);
}

static void the_size_limit_is_exact(void **state)
{
    struct recipe r = good_recipe();
    struct csr csr;
    struct err e;
    char attrs[128];

    (void)state;
    for (unsigned pad = 15000; pad < 17000; pad++) {
        struct buf der = BUF_INIT(1 << 16);
        snprintf(attrs, sizeof attrs, "a0{" ATTR("06032a0304", "04{(00*%u)}") "}", pad);
        r.part[ATTRS] = attrs;
        csr_build(&r, &der);
        size_t len = der.len;
        enum err_code code = csr_read(buf_bytes(&der), &csr, &e);
        buf_clear(&der);
        if (len == CSR_MAX_LEN)
            assert_int_equal(code, E_OK);
        if (len > CSR_MAX_LEN) {
            assert_int_equal(code, E_INVALID);
            assert_non_null(strstr(e.msg, "at most"));
            return;
        }
        if (len < CSR_MAX_LEN - 20)
            pad += CSR_MAX_LEN - 20 - (unsigned)len;
    }
    fail();
}

static void what_was_asked_is_told(void **state)
{
    struct buf der = BUF_INIT(1 << 16);
    struct recipe r = good_recipe();
    struct csr csr;

    (void)state;
    r.part[SUBJECT] = "30{31{30{0603550405 13{\"SN-7\"}}}" CN("0c{e697a5e69cac}") "}";
    r.part[ATTRS] = "a0{" ATTR(EXT_REQ, "30{" EXT(SAN_OID, "30{82{\"a.example\"}}") EXT(KU_OID, "03020780")
                                    EXT(EKU_OID, "30{06082b06010505070302}") "}")
        ATTR(CHALLENGE, "13{\"AAAA\"}") ATTR(LINKING, "0c{\"BBBB\"}") ATTR("06082b06010505070724", "30{}") "}";
    read_ok(&r, &der, &csr);
    assert_string_equal(csr.serial_number, "SN-7");
    assert_string_equal(csr.common_name, "\xe6\x97\xa5\xe6\x9c\xac");
    assert_true(csr.has_san);
    assert_int_equal(csr.san.len, 13);
    assert_int_equal(csr.san.p[0], 0x30);
    assert_true(csr.asks_key_usage && csr.key_usage == USAGE_DIGITAL_SIGNATURE);
    assert_true(csr.asks_eku && csr.eku == EKU_CLIENT_AUTH);
    assert_int_equal(csr.binding, CSR_BINDING_BOTH);
    assert_true(bytes_equal(csr.challenge, bytes_str("AAAA")));
    assert_true(bytes_equal(csr.linking, bytes_str("BBBB")));
    assert_true(csr.change_subject);
    buf_clear(&der);

    r = good_recipe();
    read_ok(&r, &der, &csr);
    assert_string_equal(csr.serial_number, "");
    assert_string_equal(csr.common_name, "dev-1");
    assert_false(csr.has_san || csr.asks_key_usage || csr.asks_eku || csr.change_subject);
    assert_int_equal(csr.binding, CSR_BINDING_NONE);
    buf_clear(&der);

    /* An empty subject is fine beside a SAN; 64 characters of four octets each still fit. */
    r.part[SUBJECT] = "30{}";
    r.part[ATTRS] = SAN("82{\"a.example\"}");
    read_ok(&r, &der, &csr);
    assert_string_equal(csr.common_name, "");
    buf_clear(&der);
    r.part[SUBJECT] = "30{" CN("0c{@x}") "}";
    read_ok(&r, &der, &csr);
    assert_int_equal(strlen(csr.common_name), 256);
    buf_clear(&der);
}

static void usage_must_overlap_with_the_profile(void **state)
{
    struct conf_profile p = {.name = (char *)(uintptr_t) "ldevid",
                             .key_usage = USAGE_DIGITAL_SIGNATURE | USAGE_KEY_AGREEMENT,
                             .eku = EKU_CLIENT_AUTH};
    struct csr csr = {.asks_key_usage = true, .key_usage = USAGE_DIGITAL_SIGNATURE | USAGE_KEY_ENCIPHERMENT};
    struct err e;

    (void)state;
    assert_int_equal(csr_check_usage(&csr, &p, &e), E_OK);
    csr.key_usage = USAGE_KEY_ENCIPHERMENT;
    assert_int_equal(csr_check_usage(&csr, &p, &e), E_INVALID);
    csr = (struct csr){.asks_eku = true, .eku = EKU_CLIENT_AUTH | EKU_SERVER_AUTH};
    assert_int_equal(csr_check_usage(&csr, &p, &e), E_OK);
    csr.eku = EKU_SERVER_AUTH;
    assert_int_equal(csr_check_usage(&csr, &p, &e), E_INVALID);
    csr = (struct csr){0};
    assert_int_equal(csr_check_usage(&csr, &p, &e), E_OK);
}

static void bindings_are_compared_after_decoding(void **state)
{
    static const uint8_t value[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const struct {
        const char *name;
        enum csr_binding kind;
        const char *challenge, *linking;
        bool expected;
        enum err_code code;
    } rows[] = {
        {"no binding in the request", CSR_BINDING_NONE, "", "", true, E_OK},
        {"no binding, none on the connection", CSR_BINDING_NONE, "", "", false, E_OK},
        {"the right one", CSR_BINDING_CHALLENGE, "AQIDBAUGBwgJCgsM", "", true, E_OK},
        {"the right one, line breaks inside", CSR_BINDING_CHALLENGE, "AQIDBAUG\r\nBwgJCgsM\n", "", true, E_OK},
        {"another value", CSR_BINDING_CHALLENGE, "AQIDBAUGBwgJCgsN", "", true, E_INVALID},
        {"a shorter value", CSR_BINDING_CHALLENGE, "AQIDBAUGBwgJ", "", true, E_INVALID},
        {"a password, not base64", CSR_BINDING_CHALLENGE, "correct horse!", "", true, E_INVALID},
        {"nothing but white space", CSR_BINDING_CHALLENGE, "  ", "", true, E_INVALID},
        {"right, but the connection has none", CSR_BINDING_CHALLENGE, "AQIDBAUGBwgJCgsM", "", false, E_INVALID},
        {"linking, the right one", CSR_BINDING_LINKING, "", "AQIDBAUGBwgJCgsM", true, E_OK},
        {"linking, another value", CSR_BINDING_LINKING, "", "AAIDBAUGBwgJCgsM", true, E_INVALID},
        {"both right", CSR_BINDING_BOTH, "AQIDBAUGBwgJCgsM", "AQIDBAUGBwgJCgsM", true, E_OK},
        {"the second one wrong", CSR_BINDING_BOTH, "AQIDBAUGBwgJCgsM", "AAIDBAUGBwgJCgsM", true, E_INVALID},
        {"the first one wrong", CSR_BINDING_BOTH, "AAIDBAUGBwgJCgsM", "AQIDBAUGBwgJCgsM", true, E_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct csr csr = {.binding = rows[i].kind,
                          .challenge = bytes_str(rows[i].challenge),
                          .linking = bytes_str(rows[i].linking)};
        struct bytes expected = rows[i].expected ? BYTES_OF(value) : BYTES(NULL, 0);
        bool judged;
        struct err e;

        if (csr_check_binding(&csr, expected, &judged, &e) != rows[i].code)
            fail_msg("%s", rows[i].name);
        assert_int_equal(judged, rows[i].kind != CSR_BINDING_NONE);
    }
}

static void openssl_requests_are_read(void **state)
{
    X509_REQ *req = X509_REQ_new();
    X509_NAME *name = X509_NAME_new();
    unsigned char *der = NULL;
    struct csr csr;
    struct err e;
    int n;

    (void)state;
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"unit-9", -1, -1, 0);
    X509_REQ_set_subject_name(req, name);
    X509_REQ_set_pubkey(req, test_key(KEY_P256));
    X509_REQ_add1_attr_by_txt(req, "challengePassword", MBSTRING_ASC, (const unsigned char *)"AQID", -1);
    assert_true(X509_REQ_sign(req, test_key(KEY_P256), EVP_sha256()) > 0);
    n = i2d_X509_REQ(req, &der);
    if (csr_read(BYTES(der, (size_t)n), &csr, &e) != E_OK)
        fail_msg("%s", e.msg);
    assert_string_equal(csr.common_name, "unit-9");
    assert_true(bytes_equal(csr.challenge, bytes_str("AQID")));
    OPENSSL_free(der);
    X509_REQ_free(req);
    X509_NAME_free(name);
}

/* ---- serverkeygen ---- */

#define SPKI_ANY  "30{30{06052b0e030202} 030200ff}"
#define SIG_NONE_AT_ALL "30{06022a03} 030100"
#define KEK_ID(v) ATTR("060b2a864886f70d0109100225", v)
#define ASYM_ID(v) ATTR("060b2a864886f70d0109100236", v)
#define CAPS(v)   ATTR("06092a864886f70d01090f", v)
#define WRAP      "30{0609608648016503040105}"

static const struct {
    const char *name, *spki, *attrs, *sig;
    enum err_code code;
    const char *says; /* of the error */
    bool symmetric, asymmetric, capabilities;
} keygen_cases[] = {
    {"no attributes: in clear", SPKI_ANY, "a0{}", SIG_NONE_AT_ALL, E_OK, NULL, false, false, false},
    {"attributes left out", SPKI_ANY, "", SIG_NONE_AT_ALL, E_OK, NULL, false, false, false},
    {"a key of no octets", "30{30{06022a03} 030100}", "a0{}", SIG_NONE_AT_ALL, E_OK, NULL, false, false, false},
    {"a key without algorithm", "30{030100}", "a0{}", SIG_NONE_AT_ALL, E_INVALID, "subjectPKInfo", false, false, false},
    {"a key without bits", "30{30{06022a03}}", "a0{}", SIG_NONE_AT_ALL, E_INVALID, "subjectPKInfo", false, false, false},
    {"more than a key", "30{30{06022a03} 030100 0500}", "a0{}", SIG_NONE_AT_ALL, E_INVALID, "subjectPKInfo", false, false, false},
    {"no signature field", SPKI_ANY, "a0{}", "30{06022a03}", E_INVALID, "signature", false, false, false},
    {"something behind the signature", SPKI_ANY, "a0{}", SIG_NONE_AT_ALL "0500", E_INVALID, "signature", false, false, false},
    {"shared key", SPKI_ANY, "a0{" KEK_ID("04{01}") CAPS("30{" WRAP "}") "}", SIG_NONE_AT_ALL, E_OK, NULL, true, false, true},
    {"certificate", SPKI_ANY, "a0{" CAPS("30{" WRAP "}") ASYM_ID("04{(11*512)}") "}", SIG_NONE_AT_ALL, E_OK, NULL, false, true, true},
    {"both: the policy's to refuse", SPKI_ANY, "a0{" KEK_ID("04{01}") ASYM_ID("04{02}") "}", SIG_NONE_AT_ALL, E_OK, NULL, true, true, false},
    {"identifier of 513 octets", SPKI_ANY, "a0{" ASYM_ID("04{(11*513)}") "}", SIG_NONE_AT_ALL, E_INVALID, "not 1 to 512", false, false, false},
    {"identifier of no octets", SPKI_ANY, "a0{" KEK_ID("0400") "}", SIG_NONE_AT_ALL, E_INVALID, "not 1 to 512", false, false, false},
    {"identifier of another type", SPKI_ANY, "a0{" KEK_ID("0c{41}") "}", SIG_NONE_AT_ALL, E_INVALID, "OCTET STRING", false, false, false},
    {"two identifiers in one attribute", SPKI_ANY, "a0{" KEK_ID("04{01} 04{02}") "}", SIG_NONE_AT_ALL, E_INVALID, "OCTET STRING", false, false, false},
    {"no value", SPKI_ANY, "a0{" KEK_ID("") "}", SIG_NONE_AT_ALL, E_INVALID, "OCTET STRING", false, false, false},
    {"the attribute twice", SPKI_ANY, "a0{" ASYM_ID("04{01}") ASYM_ID("04{01}") "}", SIG_NONE_AT_ALL, E_INVALID, "two Asym", false, false, false},
    {"no capability: the policy's to refuse", SPKI_ANY, "a0{" CAPS("3000") "}", SIG_NONE_AT_ALL, E_OK, NULL, false, false, true},
    {"a capability with parameters", SPKI_ANY, "a0{" CAPS("30{30{06022a03 0500}}") "}", SIG_NONE_AT_ALL, E_OK, NULL, false, false, true},
    {"a capability with two parameters", SPKI_ANY, "a0{" CAPS("30{30{06022a03 0500 0500}}") "}", SIG_NONE_AT_ALL, E_INVALID, "entry 1", false, false, false},
    {"a capability without algorithm", SPKI_ANY, "a0{" CAPS("30{" WRAP "3000}") "}", SIG_NONE_AT_ALL, E_INVALID, "entry 2", false, false, false},
    {"capabilities twice", SPKI_ANY, "a0{" CAPS("3000") CAPS("3000") "}", SIG_NONE_AT_ALL, E_INVALID, "two SMIME", false, false, false},
    {"a binding is read as ever", SPKI_ANY, "a0{" ATTR(CHALLENGE, "") "}", SIG_NONE_AT_ALL, E_INVALID, "challengePassword", false, false, false},
    {"what is never granted is not granted here", SPKI_ANY, EXTS(EXT(BC_OID, "30{0101ff}")), SIG_NONE_AT_ALL, E_DENIED, "CA:TRUE", false, false, false},
};

static void keygen_ignores_key_and_signature(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keygen_cases); i++) {
        AUTO_BUF der = BUF_INIT(CSR_MAX_LEN);
        char text[2048];
        struct csr csr;
        struct err e = {0};
        enum err_code code;

        print_message("%s\n", keygen_cases[i].name);
        snprintf(text, sizeof text, "30{30{020100 30{" GOOD_CN "} %s %s} %s}", keygen_cases[i].spki, keygen_cases[i].attrs,
                 keygen_cases[i].sig);
        der_text(text, blobs, &der);
        code = csr_read_for_keygen(buf_bytes(&der), &csr, &e);
        assert_int_equal(code, keygen_cases[i].code);
        if (code != E_OK) {
            assert_non_null(strstr(e.msg, keygen_cases[i].says));
            continue;
        }
        assert_int_equal(csr.key.alg, KEY_NONE);
        assert_string_equal(csr.common_name, "dev-1");
        assert_int_equal(csr.delivery.has_symmetric, keygen_cases[i].symmetric);
        assert_int_equal(csr.delivery.has_asymmetric, keygen_cases[i].asymmetric);
        assert_int_equal(csr.delivery.has_capabilities, keygen_cases[i].capabilities);
        assert_int_equal(csr_read(buf_bytes(&der), &csr, &e), E_INVALID); /* nowhere else */
    }
}

static int setup(void **state)
{
    static uint8_t wide[256];

    (void)state;
    spki_p256 = BUF_INIT(4096);
    rdn_l = BUF_INIT(256);
    rdn_long = BUF_INIT(512);
    ten_names = BUF_INIT(512);
    pkey_spki(test_key(KEY_P256), &spki_p256);
    der_text("31{30{0603550407 0c{\"x\"}}}", blobs, &rdn_l);
    der_text("31{30{0603550407 0c{(61*120)}}}", blobs, &rdn_long);
    for (int i = 0; i < 10; i++)
        der_text("82{\"name.example\"}", blobs, &ten_names);
    for (size_t i = 0; i < sizeof wide; i += 4)
        memcpy(wide + i, "\xf0\x9f\x98\x80", 4);
    blobs['a' - 'a'] = buf_bytes(&spki_p256);
    blobs['u' - 'a'] = buf_bytes(&rdn_l);
    blobs['v' - 'a'] = buf_bytes(&rdn_long);
    blobs['w' - 'a'] = buf_bytes(&ten_names);
    blobs['x' - 'a'] = BYTES_OF(wide);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_clear(&spki_p256);
    buf_clear(&rdn_l);
    buf_clear(&rdn_long);
    buf_clear(&ten_names);
    test_keys_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_requests_are_refused_and_their_neighbours_taken),
        cmocka_unit_test(every_key_type_proves_possession),
        cmocka_unit_test(a_forged_signature_under_e_1_is_refused),
        cmocka_unit_test(no_prefix_and_no_flipped_octet_reads_as_a_request),
        cmocka_unit_test(the_size_limit_is_exact),
        cmocka_unit_test(what_was_asked_is_told),
        cmocka_unit_test(usage_must_overlap_with_the_profile),
        cmocka_unit_test(bindings_are_compared_after_decoding),
        cmocka_unit_test(openssl_requests_are_read),
        cmocka_unit_test(keygen_ignores_key_and_signature),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
