/* SPDX-License-Identifier: Apache-2.0 */
/* Every key of the configuration: name, type, range, default and meaning. Reader, printer and manual come from here. */
#include "base/conf_int.h"

#include <string.h>

#include "base/auto.h"
#include "base/life.h"
#include "base/limits.h"

#define MINUTE 60
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static const struct conf_name log_levels[] = {
    {"debug", CONF_LOG_DEBUG}, {"info", CONF_LOG_INFO}, {"warn", CONF_LOG_WARN}, {"error", CONF_LOG_ERROR}, {NULL, 0}};

static const struct conf_name key_algs[] = {{"p256", KEY_P256},       {"p384", KEY_P384},       {"rsa2048", KEY_RSA2048},
                                            {"rsa3072", KEY_RSA3072}, {"rsa4096", KEY_RSA4096}, {"ed25519", KEY_ED25519},
                                            {NULL, 0}};

static const struct conf_name key_alg_bits[] = {{"p256", KEY_BIT(KEY_P256)},       {"p384", KEY_BIT(KEY_P384)},
                                                {"rsa2048", KEY_BIT(KEY_RSA2048)}, {"rsa3072", KEY_BIT(KEY_RSA3072)},
                                                {"rsa4096", KEY_BIT(KEY_RSA4096)}, {"ed25519", KEY_BIT(KEY_ED25519)},
                                                {NULL, 0}};

static const struct conf_name profile_kinds[] = {{"root-ca", PROFILE_ROOT_CA},
                                                 {"issuing-ca", PROFILE_ISSUING_CA},
                                                 {"idevid", PROFILE_IDEVID},
                                                 {"ldevid", PROFILE_LDEVID},
                                                 {"tls-server", PROFILE_TLS_SERVER},
                                                 {"ocsp-signer", PROFILE_OCSP_SIGNER},
                                                 {"station", PROFILE_STATION},
                                                 {"record-signer", PROFILE_RECORD_SIGNER},
                                                 {"operator", PROFILE_OPERATOR},
                                                 {"gateway", PROFILE_GATEWAY},
                                                 {"feed-signer", PROFILE_FEED_SIGNER},
                                                 {NULL, 0}};

static const struct conf_name key_usages[] = {{"digitalSignature", USAGE_DIGITAL_SIGNATURE},
                                              {"nonRepudiation", USAGE_NON_REPUDIATION},
                                              {"keyEncipherment", USAGE_KEY_ENCIPHERMENT},
                                              {"dataEncipherment", USAGE_DATA_ENCIPHERMENT},
                                              {"keyAgreement", USAGE_KEY_AGREEMENT},
                                              {"keyCertSign", USAGE_KEY_CERT_SIGN},
                                              {"cRLSign", USAGE_CRL_SIGN},
                                              {NULL, 0}};

static const struct conf_name ext_key_usages[] = {{"serverAuth", EKU_SERVER_AUTH},
                                                  {"clientAuth", EKU_CLIENT_AUTH},
                                                  {"OCSPSigning", EKU_OCSP_SIGNING},
                                                  {"documentSigning", EKU_DOCUMENT_SIGNING},
                                                  {NULL, 0}};

static const struct conf_name approval_rules[] = {{"none", APPROVAL_NONE},
                                                  {"first", APPROVAL_FIRST},
                                                  {"operator", APPROVAL_OPERATOR},
                                                  {NULL, 0}};

static const struct conf_name reenroll_rules[] = {{"supersede", REENROLL_SUPERSEDE},
                                                  {"approve", REENROLL_APPROVE},
                                                  {"refuse", REENROLL_REFUSE},
                                                  {NULL, 0}};

static const struct conf_name keygen_makers[] = {
    {"off", KEYGEN_OFF}, {"service", KEYGEN_SERVICE}, {"token", KEYGEN_TOKEN}, {NULL, 0}};

static const struct conf_name access_scopes[] = {{"line", 1 << SCOPE_LINE},     {"enroll-only", 1 << SCOPE_ENROLL},
                                                 {"update-only", 1 << SCOPE_UPDATE}, {"repair", 1 << SCOPE_REPAIR},
                                                 {"full", 1 << SCOPE_FULL},     {NULL, 0}};

#define AT(type, member) .offset = offsetof(struct type, member)
#define TOP(member)      AT(conf, member)

static const struct conf_key top_keys[] = {
    {.name = "public_url", .type = T_TEXT, TOP(public_url), .required = true,
     .help = "Where the world reaches CRLs, OCSP and CA certificates: http:// and a DNS name, with a port where it is not "
             "80. It is written into certificates and stays there as long as they live."},
    {.name = "quickstart", .type = T_BOOL, TOP(quickstart), .def = "false",
     .help = "Allows localhost and addresses in public_url and server.names. For trying out only."},
    {.section = "directories", .name = "state", .type = T_PATH, TOP(dir_state), .def = "/var/lib/inkan",
     .help = "Ledger, status replica, CRLs and server keys, each in a directory of its own below it."},
    {.section = "directories", .name = "marks", .type = T_PATH, TOP(dir_marks), .def = "/var/lib/inkan-marks",
     .help = "High-water marks and signed audit heads: a second place, best on another disk."},
    {.section = "directories", .name = "run", .type = T_PATH, TOP(dir_run), .def = "/run/inkan",
     .help = "The administration socket and the pid files."},
    {.section = "directories", .name = "programs", .type = T_PATH, TOP(program_dir), .def = "",
     .note = "the directory inkand itself is in", .help = "Where inkan-core, inkan-front, inkan-status, inkan-signer and inkan-token are."},
    {.name = "log_file", .type = T_PATH, TOP(log_file), .def = "",
     .help = "Where log lines go when inkand runs in the background. Empty: standard error, with -f only. The file is "
             "opened again on SIGHUP."},
    {.name = "log_level", .type = T_ENUM, TOP(log_level), .names = log_levels, .def = "info", .help = "Lines below this level are not written."},
    {.section = "users", .name = "supervisor", .type = T_TEXT, TOP(user_supervisor), .def = "",
     .note = "the starting user", .help = "User of inkand after its start as root. All five users are set, or none."},
    {.section = "users", .name = "front", .type = T_TEXT, TOP(user_front), .def = "", .note = "the starting user",
     .help = "User of the network fronts."},
    {.section = "users", .name = "core", .type = T_TEXT, TOP(user_core), .def = "", .note = "the starting user",
     .help = "User of the core, which owns the ledger."},
    {.section = "users", .name = "status", .type = T_TEXT, TOP(user_status), .def = "", .note = "the starting user",
     .help = "User of the status process."},
    {.section = "users", .name = "signer", .type = T_TEXT, TOP(user_signer), .def = "", .note = "the starting user",
     .help = "User of the signers and of token administration; owns the PIN files."},
    {.section = "users", .name = "admin", .type = T_STRINGS, TOP(admin_users), .def = "",
     .help = "Users who may use the administration socket besides root and the supervisor's; each needs an operator record (inkan operator add NAME --user USER)."},
    {.section = "users", .name = "admin_server", .type = T_TEXT, TOP(user_admin), .def = "", .note = "the starting user",
     .help = "User of inkan-admin; needed with listen.admin where the other users are set."},
    {.section = "users", .name = "notify", .type = T_TEXT, TOP(user_notify), .def = "", .note = "the starting user",
     .help = "User of inkan-notify; needed with notify where the other users are set."},
    {.section = "listen", .name = "est", .type = T_STRINGS, TOP(listen_est), .def = "0.0.0.0:8443",
     .help = "HTTPS for EST: ADDRESS:PORT or [ADDRESS]:PORT."},
    {.section = "listen", .name = "http", .type = T_STRINGS, TOP(listen_http), .def = "0.0.0.0:8080",
     .help = "Plain HTTP for OCSP, CRLs and CA certificates."},
    {.section = "listen", .name = "health", .type = T_STRINGS, TOP(listen_health), .def = "127.0.0.1:8081",
     .help = "Plain HTTP for health checks; keep it on the loopback."},
    {.section = "listen", .name = "admin", .type = T_STRINGS, TOP(listen_admin), .def = "",
     .help = "HTTPS for administration over the network, with operators' certificates. Empty: inkan-admin is not started."},
    {.section = "listen", .name = "decision", .type = T_PATH, TOP(listen_decision), .def = "",
     .note = "decision.sock in directories.run", .help = "Socket on which gateways of this machine ask for decisions; there with decisions.enabled."},
    {.name = "fronts", .type = T_UINT, TOP(fronts), .min = 1, .max = 64, .def = "1",
     .help = "Front processes; one per processor core is a good number."},
    {.name = "connections", .type = T_UINT, TOP(connections), .min = 1, .max = 1000000, .def = "10000",
     .help = "Connections one front serves at a time."},
    {.name = "connections_per_address", .type = T_UINT, TOP(connections_per_address), .min = 1, .max = 1000000,
     .def = "64", .help = "Connections one front takes from one address at a time."},
    {.section = "server", .name = "names", .type = T_STRINGS, TOP(server_names), .def = "",
     .note = "the host of public_url", .help = "Names in the EST server certificate: dns:NAME or ip:ADDRESS."},
    {.section = "server", .name = "profile", .type = T_TEXT, TOP(server_profile), .def = "",
     .help = "Profile (kind tls-server) of the EST server certificate; required with listen.est."},
    {.name = "batch_max", .type = T_UINT, TOP(batch_max), .min = 1, .max = 1024, .def = "64",
     .help = "Enrollments that may share one commit of the ledger."},
    {.name = "enroll_queue", .type = T_UINT, TOP(enroll_queue), .min = 1, .max = 65536, .def = "1024",
     .help = "Enrollments that may wait in the core before it answers 503."},
    {.name = "keygen_pool", .type = T_UINT, TOP(keygen_pool), .min = 1, .max = KEYGEN_POOL_MAX, .def = "8",
     .help = "RSA keys of each size that are made ahead for serverkeygen and kept in locked memory."},
    {.section = "requests", .name = "max", .type = T_UINT, TOP(requests_max), .min = 1, .max = 1000000, .def = "10000",
     .help = "Requests that may wait for an operator; further ones get 429."},
    {.section = "requests", .name = "per_device", .type = T_UINT, TOP(requests_per_device), .min = 1, .max = 1000, .def = "4",
     .help = "How many of them may be of one device."},
    {.section = "audit", .name = "token", .type = T_TEXT, TOP(audit_token), .required = true,
     .help = "Token of the key that signs audit heads; not an offline one."},
    {.section = "audit", .name = "head_interval", .type = T_DURATION, TOP(audit_head_s), .min = 1, .max = DAY,
     .def = "60s", .help = "A head is signed at least this often while there are new entries."},
    {.section = "audit", .name = "head_entries", .type = T_UINT, TOP(audit_head_entries), .min = 1, .max = 1000000,
     .def = "1000", .help = "A head is signed after this many entries."},
    {.section = "records", .name = "token", .type = T_TEXT, TOP(records_token), .def = "",
     .help = "Token of the key that signs the service's records (close-out reports, hand-over lists) and the key packages of "
             "serverkeygen; empty: none are signed. Neither an offline one nor one of OCSP keys."},
    {.section = "records", .name = "key", .type = T_ENUM, TOP(records_key), .names = key_algs, .def = "p256",
     .help = "Algorithm of that key: p256, p384 or ed25519."},
    {.section = "records", .name = "profile", .type = T_TEXT, TOP(records_profile), .def = "",
     .help = "Profile (kind record-signer) of its certificate; required with records.token. Its CA certifies the key."},
    {.section = "people", .name = "profile", .type = T_TEXT, TOP(people_profile), .def = "",
     .help = "Profile (kind operator) of operators' certificates; required with listen.admin. Its CA should certify nobody else."},
    {.section = "people", .name = "two_person_above", .type = T_UINT, TOP(two_person_above), .min = 0, .max = 1000000000, .def = "100",
     .help = "A mass action on more units than these waits for a second operator."},
    {.section = "people", .name = "two_person_window", .type = T_DURATION, TOP(two_person_window_s), .min = 3600, .max = 366 * DAY, .def = "24h",
     .help = "What one operator did to units by mass action within it, alone, is counted with the next one."},
    {.section = "decisions", .name = "enabled", .type = T_BOOL, TOP(decisions), .def = "false",
     .help = "Answers /v1/decision: may this unit connect now, and for what? Takes about 200 octets of memory in inkan-status for each certificate and its device."},
    {.section = "decisions", .name = "group", .type = T_TEXT, TOP(decisions_group), .def = "", .note = "the supervisor's",
     .help = "Group whose programs may use the socket listen.decision."},
    {.section = "feed", .name = "token", .type = T_TEXT, TOP(feed_token), .def = "",
     .help = "Token of the key that signs the revocation feed, one of the ocsp_tokens; empty: there is no feed. Needs decisions.enabled."},
    {.section = "feed", .name = "key", .type = T_ENUM, TOP(feed_key), .names = key_algs, .def = "p256",
     .help = "Algorithm of that key: p256, p384 or ed25519."},
    {.section = "feed", .name = "profile", .type = T_TEXT, TOP(feed_profile), .def = "",
     .help = "Profile (kind feed-signer) of its certificate; required with feed.token. Its CA certifies the key."},
    {.section = "feed", .name = "keep", .type = T_UINT, TOP(feed_keep), .min = 1000, .max = 10000000, .def = "200000",
     .help = "Changes kept in memory, 8 octets each; whoever is further behind takes a snapshot."},
    {.section = "feed", .name = "valid", .type = T_DURATION, TOP(feed_valid_s), .min = 60, .max = 366 * DAY, .def = "7d",
     .help = "How long a gateway may go on with what it has when it hears nothing."},
    {.name = "secret_key_file", .type = T_PATH, TOP(secret_key_file), .def = "",
     .note = "enroll-secret.key in directories.state",
     .help = "The key under which enrollment secrets are kept, made on first use. Back it up apart from the ledger."},
    {.section = "box", .name = "name", .type = T_TEXT, TOP(box_name), .def = "",
     .help = "This service is the line box of that name: no device gets a certificate without an issuance budget from its centre. Empty: it is none."},
    {.section = "box", .name = "centre_key", .type = T_PATH, TOP(box_centre_key), .def = "",
     .help = "PEM file with the certificate, or the public key, that signs the centre's records; required with box.name."},
    {.section = "ocsp", .name = "unissued_revoked", .type = T_BOOL, TOP(ocsp_unissued_revoked), .def = "false",
     .help = "Answers revoked instead of unknown for serials never issued (RFC 6960 2.2)."},
    {.section = "ocsp", .name = "nonce_rate", .type = T_UINT, TOP(ocsp_nonce_rate), .min = 1, .max = 1000000,
     .def = "2000", .help = "Answers a second signed for a nonce; beyond it answers come without one."},
};

#define TOKEN(member) AT(conf_token, member)
static const struct conf_key token_keys[] = {
    {.name = "name", .type = T_TEXT, TOKEN(name), .required = true, .help = "Our name for the token; its signer is signer-NAME."},
    {.name = "module", .type = T_PATH, TOKEN(module), .def = "",
     .help = "The PKCS#11 module. Required here or as module-path in uri."},
    {.name = "label", .type = T_TEXT, TOKEN(label), .def = "", .help = "Label of the token. Required here or in uri."},
    {.name = "serial", .type = T_TEXT, TOKEN(serial), .def = "",
     .help = "Serial number of the token; when set, a token with another one is refused."},
    {.name = "uri", .type = T_TEXT, TOKEN(uri), .def = "",
     .help = "RFC 7512 URI with token=, serial= and ?module-path=, instead of label, serial and module. pin-value is refused."},
    {.name = "pin", .type = T_PIN, TOKEN(pin), .required = true,
     .help = "Where the user PIN comes from: file:PATH (mode 0400), credential:NAME (systemd), fd:N (a descriptor inkand is started with) or prompt (asked on the terminal); the last three are read once, at start."},
    {.name = "so_pin", .type = T_PIN, TOKEN(so_pin), .def = "",
     .help = "Where the SO PIN comes from, a file:PATH; used by `inkan token init` alone."},
    {.name = "init_args", .type = T_TEXT, TOKEN(init_args), .def = "",
     .help = "Parameter string for C_Initialize (NSS modules)."},
    {.name = "env", .type = T_STRINGS, TOKEN(env), .def = "",
     .help = "NAME=value for the processes that map the module, and for no other."},
    {.name = "workers", .type = T_UINT, TOKEN(workers), .min = 1, .max = 64, .def = "2", .help = "Signing threads."},
    {.name = "queue", .type = T_UINT, TOKEN(queue), .min = 1, .max = 65536, .def = "256",
     .help = "Signatures that may wait."},
    {.name = "deadline_ms", .type = T_UINT, TOKEN(deadline_ms), .min = 10, .max = 600000, .def = "5000",
     .help = "Milliseconds within which a signature is made or given up."},
    {.name = "offline", .type = T_BOOL, TOKEN(offline), .def = "false",
     .help = "No signer runs for it, except for the time of one command (`inkan ca root-sign`)."},
};

#define CA(member) AT(conf_ca, member)
static const struct conf_key ca_keys[] = {
    {.name = "name", .type = T_TEXT, CA(name), .required = true, .help = "Also part of addresses: /crl/NAME.crl."},
    {.name = "issuer", .type = T_TEXT, CA(issuer), .def = "", .help = "The CA that signs it; empty for a root; external: a CA of another service (`inkan ca request` and `inkan ca install`)."},
    {.name = "token", .type = T_TEXT, CA(token), .required = true, .help = "The token that holds its key."},
    {.name = "key", .type = T_ENUM, CA(key), .names = key_algs, .def = "p256", .help = "Algorithm of its key."},
    {.name = "profile", .type = T_TEXT, CA(profile), .required = true,
     .help = "Profile of its own certificate: kind root-ca for a root, issuing-ca otherwise. With an external issuer what comes back is held against it: path_len, and whether it may have an end."},
    {.name = "subject", .type = T_TEXT, CA(subject), .required = true, .help = "Its name, as in \"CN=Fleet CA 1,O=Example\"."},
    {.name = "ocsp_token", .type = T_TEXT, CA(ocsp_token), .def = "",
     .help = "The token that holds its OCSP responder key; empty: no OCSP for what it issues. Never the CA's own and never an offline one."},
    {.name = "ocsp_key", .type = T_ENUM, CA(ocsp_key), .names = key_algs, .def = "p256",
     .help = "Algorithm of its OCSP responder key."},
    {.name = "ocsp_profile", .type = T_TEXT, CA(ocsp_profile), .def = "",
     .help = "Profile (kind ocsp-signer) of its OCSP responder certificate; required with ocsp_token."},
    {.name = "crl_validity", .type = T_DURATION, CA(crl_validity_s), .min = 900, .max = 400 * DAY,
     .note = "7d; 180d where the token is offline", .help = "thisUpdate to nextUpdate; a new list is signed at half of it."},
    {.name = "crl_shards", .type = T_UINT, CA(crl_shards), .min = 0, .max = 1024, .def = "0",
     .help = "Parts a sharded CRL has beside the full one; 0: only the full one. Fixed once certificates name a shard."},
    {.name = "ocsp_validity", .type = T_DURATION, CA(ocsp_validity_s), .min = 10, .max = 30 * DAY, .def = "1h",
     .help = "thisUpdate to nextUpdate of OCSP answers."},
};

#define PROFILE(member) AT(conf_profile, member)
static const struct conf_key profile_keys[] = {
    {.name = "name", .type = T_TEXT, PROFILE(name), .required = true, .help = "The name of the profile."},
    {.name = "kind", .type = T_ENUM, PROFILE(kind), .names = profile_kinds, .required = true,
     .help = "What its certificates are for."},
    {.name = "ca", .type = T_TEXT, PROFILE(ca), .def = "",
     .help = "The issuing CA; required but for root-ca and issuing-ca, which have none."},
    {.name = "subject", .type = T_TEXT, PROFILE(subject),
     .note = "CN={device_id},serialNumber={device_id} for idevid and ldevid, CN={name} for the others",
     .help = "Template of the subject; {device_id}, {domain}, {product}, {model}, {lot} and {name} are filled in."},
    {.name = "san", .type = T_STRINGS, PROFILE(san), .def = "",
     .help = "Templates of subjectAltName: dns:NAME, uri:URI, ip:ADDRESS, hwmodule:OID:SERIAL."},
    {.name = "key_algs", .type = T_BITS, PROFILE(key_algs), .names = key_alg_bits,
     .def = "p256 p384 rsa2048 rsa3072 rsa4096 ed25519", .help = "Keys it certifies."},
    {.name = "key_usage", .type = T_BITS, PROFILE(key_usage), .names = key_usages,
     .note = "keyCertSign and cRLSign for CAs, digitalSignature for the others", .help = "keyUsage (RFC 5280 4.2.1.3)."},
    {.name = "eku", .type = T_BITS, PROFILE(eku), .names = ext_key_usages,
     .note = "what the kind needs: clientAuth, serverAuth or OCSPSigning; none for CAs", .help = "extKeyUsage (RFC 5280 4.2.1.12)."},
    {.name = "validity", .type = T_VALIDITY, PROFILE(validity_s), .offset2 = offsetof(struct conf_profile, no_expiry),
     .min = 1, .max = (int64_t)100 * 366 * DAY,
     .note = "root-ca 25y, issuing-ca 15y, idevid none, ldevid 365d, tls-server and gateway 90d, ocsp-signer and station 30d, record-signer and feed-signer 365d",
     .help = "How long a certificate lives; none: without expiry (99991231235959Z), which needs issuers without expiry too."},
    {.name = "path_len", .type = T_PATH_LEN, PROFILE(path_len), .min = 0, .max = 8, .note = "0 for issuing-ca, none for root-ca",
     .help = "pathLenConstraint of CA certificates (RFC 5280 4.2.1.9)."},
    {.name = "crl_url", .type = T_BOOL, PROFILE(crl_url), .def = "false", .help = "cRLDistributionPoints in its certificates."},
    {.name = "ocsp_url", .type = T_BOOL, PROFILE(ocsp_url), .def = "false", .help = "id-ad-ocsp in its certificates."},
    {.name = "ca_issuers_url", .type = T_BOOL, PROFILE(ca_issuers_url), .def = "false",
     .help = "id-ad-caIssuers in its certificates."},
    {.name = "pop_required", .type = T_BOOL, PROFILE(pop_required), .def = "false",
     .help = "EST requests must bind the key to the TLS connection (RFC 7030 3.5, RFC 9266)."},
    {.name = "allow_idevid_key", .type = T_BOOL, PROFILE(allow_idevid_key), .def = "false",
     .help = "An LDevID may certify the key of the IDevID."},
    {.name = "rekey_required", .type = T_BOOL, PROFILE(rekey_required), .def = "false", .help = "Renewal must bring a new key."},
    {.name = "basic_reenroll", .type = T_BOOL, PROFILE(basic_reenroll), .def = "false",
     .help = "simplereenroll is open to a password without a certificate."},
    {.name = "renew_percent", .type = T_UINT, PROFILE(renew_percent), .min = 1, .max = 99, .def = "66",
     .help = "Share of its life after which a certificate is due for renewal."},
    {.name = "expired_grace", .type = T_DURATION, PROFILE(expired_grace_s), .min = 0, .max = (int64_t)3660 * DAY,
     .def = "0s", .help = "How long after its end a certificate may still renew itself; 0s: never."},
    {.name = "retire_after", .type = T_VALIDITY, PROFILE(retire_after_s), .offset2 = offsetof(struct conf_profile, retire_never),
     .min = 0, .max = (int64_t)3660 * DAY, .def = "none",
     .help = "After a renewal the certificate it replaced is revoked as superseded so long after; 0s: once the new one is used here; "
             "none: it lives to its end."},
    {.name = "idevid_reenroll", .type = T_ENUM, PROFILE(idevid_reenroll), .names = reenroll_rules, .def = "supersede",
     .help = "What happens when a device in service enrols again from its birth certificate with a new key: the old certificate is "
             "superseded, an operator decides (inkan request), or it is refused."},
    {.name = "clone_window", .type = T_DURATION, PROFILE(clone_window_s), .min = 0, .max = (int64_t)3660 * DAY,
     .def = "30d", .help = "Such an enrollment raises an alarm when the last certificate is younger than this."},
    {.name = "keygen", .type = T_ENUM, PROFILE(keygen), .names = keygen_makers, .def = "off",
     .help = "EST serverkeygen (RFC 7030 4.4): off, or who makes the device's key: the service or a token. For idevid and ldevid."},
    {.name = "keygen_key", .type = T_ENUM, PROFILE(keygen_key), .names = key_algs, .def = "p256",
     .help = "The kind of key serverkeygen makes; one of key_algs."},
    {.name = "keygen_clear", .type = T_BOOL, PROFILE(keygen_clear), .def = "false",
     .help = "serverkeygen may send the private key protected by TLS alone, to a client that asks for no encryption of its own."},
    {.name = "keygen_token", .type = T_TEXT, PROFILE(keygen_token), .def = "",
     .note = "the token of ca", .help = "The token that makes the key where keygen is token; never an offline one."},
    {.name = "approval", .type = T_ENUM, PROFILE(approval), .names = approval_rules, .def = "none",
     .help = "Which EST requests wait for an operator (inkan request), answered 202 meanwhile: none, the first enrollment of a "
             "device, or every one (operator)."},
    {.name = "approval_within", .type = T_DURATION, PROFILE(approval_within_s), .min = 1, .max = 366 * DAY, .def = "7d",
     .help = "How long a request waits for the operator, and an approved one for the client to repeat it."},
    {.name = "approval_retry", .type = T_DURATION, PROFILE(approval_retry_s), .min = 1, .max = 7 * DAY, .def = "60s",
     .help = "Retry-After of such a 202."},
};

#define DOMAIN(member) AT(conf_domain, member)
static const struct conf_key domain_keys[] = {
    {.name = "name", .type = T_TEXT, DOMAIN(name), .required = true, .help = "One owner's world."},
    {.name = "owner_key", .type = T_PATH, DOMAIN(owner_key), .def = "",
     .help = "PEM, the owner's public key or certificate: transfer orders and their acceptance are signed with it."},
    {.name = "quarantine_hold", .type = T_BOOL, DOMAIN(quarantine_hold), .def = "false",
     .help = "Quarantine puts operational certificates on hold. A service that goes by lists alone then refuses the update path too."},
    {.name = "enroll_before_shipped", .type = T_BOOL, DOMAIN(enroll_before_shipped), .def = "false",
     .help = "A unit of a work order may enrol before it is shipped."},
};

#define ANCHOR(member) AT(conf_anchor, member)
static const struct conf_key anchor_keys[] = {
    {.name = "name", .type = T_TEXT, ANCHOR(name), .required = true, .help = "The name of the anchor."},
    {.name = "file", .type = T_PATH, ANCHOR(file), .def = "", .help = "PEM, one or more CA certificates, each as OpenSSL's strict verification wants a CA (RFC 5280). This or ca."},
    {.name = "ca", .type = T_TEXT, ANCHOR(ca), .def = "", .help = "One of our own CAs. This or file."},
    {.name = "domains", .type = T_STRINGS, ANCHOR(domains), .required = true,
     .help = "Domains whose devices may hold birth certificates under it."},
    {.name = "products", .type = T_STRINGS, ANCHOR(products), .def = "", .help = "Products it is limited to; empty: every one."},
};

#define LABEL(member) AT(conf_label, member)
static const struct conf_key label_keys[] = {
    {.name = "name", .type = T_TEXT, LABEL(name), .def = "",
     .help = "Path segment /.well-known/est/NAME/OPERATION; empty: /.well-known/est/OPERATION."},
    {.name = "domain", .type = T_TEXT, LABEL(domain), .required = true, .help = "The domain it enrols into."},
    {.name = "profile", .type = T_TEXT, LABEL(profile), .required = true,
     .help = "Profile of what is issued: kind ldevid, station or idevid."},
    {.name = "auth_cert", .type = T_BOOL, LABEL(auth_cert), .def = "true", .help = "A client certificate opens it."},
    {.name = "auth_password", .type = T_BOOL, LABEL(auth_password), .def = "true", .help = "An enrollment secret opens it."},
    {.name = "auth_key", .type = T_BOOL, LABEL(auth_key), .def = "false",
     .help = "A unit of a work order that left the line before its certificate was signed fetches it here with nothing but its "
             "registered key: a simpleenroll bound to the TLS connection and signed with that key. Nothing is issued for it. "
             "Needs a profile with pop_required."},
    {.name = "wrap64", .type = T_BOOL, LABEL(wrap64), .def = "false", .help = "Base64 answers in lines of 64 columns."},
    {.name = "anchors", .type = T_STRINGS, LABEL(anchors), .def = "", .note = "those of the domain",
     .help = "Manufacturer anchors accepted here."},
};

#define ORDER_SIGNER(member) AT(conf_order_signer, member)
static const struct conf_key order_signer_keys[] = {
    {.name = "name", .type = T_TEXT, ORDER_SIGNER(name), .required = true, .help = "Stands in the ledger beside what was signed."},
    {.name = "file", .type = T_PATH, ORDER_SIGNER(file), .required = true,
     .help = "PEM, the signer's public key (P-256, P-384 or Ed25519) or a certificate with it. Read when an order is opened."},
    {.name = "domains", .type = T_STRINGS, ORDER_SIGNER(domains), .required = true, .help = "Domains whose work orders he may sign."},
};

#define AUDIENCE(member) AT(conf_audience, member)
static const struct conf_key audience_keys[] = {
    {.name = "name", .type = T_TEXT, AUDIENCE(name), .required = true,
     .help = "What a gateway says it asks for; one that says nothing is of audience default, which is there with the values below unless it is configured."},
    {.name = "scopes", .type = T_BITS, AUDIENCE(scopes), .names = access_scopes, .def = "full", .help = "Scopes of a unit that are admitted."},
    {.name = "domains", .type = T_STRINGS, AUDIENCE(domains), .def = "", .help = "Domains whose units are admitted; empty: every one."},
    {.name = "products", .type = T_STRINGS, AUDIENCE(products), .def = "", .help = "Products that are admitted; empty: every one."},
    {.name = "firmware_blocked", .type = T_STRINGS, AUDIENCE(firmware_blocked), .def = "",
     .help = "Firmware releases that are denied; one that ends in * stands for all that begin so."},
    {.name = "stale_soft", .type = T_DURATION, AUDIENCE(stale_soft_s), .min = 1, .max = 366 * DAY, .def = "24h",
     .help = "Data older than this is called stale, with an alarm; known-good units are admitted still."},
    {.name = "stale_hard", .type = T_DURATION, AUDIENCE(stale_hard_s), .min = 1, .max = 366 * DAY, .def = "7d",
     .help = "With data older than this everybody is denied."},
    {.name = "cache_allow", .type = T_DURATION, AUDIENCE(cache_allow_s), .min = 0, .max = 3600, .def = "10s",
     .help = "How long the asker may keep an allow."},
    {.name = "cache_deny", .type = T_DURATION, AUDIENCE(cache_deny_s), .min = 0, .max = DAY, .def = "300s",
     .help = "How long the asker may keep a deny that cannot be lifted; one that can is kept 5 s at most."},
};

#define NOTIFY(member) AT(conf_notify, member)
static const struct conf_name notify_streams[] = {
    {"alarms", 1 << NOTIFY_ALARMS}, {"audit", 1 << NOTIFY_AUDIT}, {"heads", 1 << NOTIFY_HEADS}, {NULL, 0}};
static const struct conf_key notify_keys[] = {
    {.name = "name", .type = T_TEXT, NOTIFY(name), .required = true,
     .help = "How far it has been told is kept under this name: another name begins anew."},
    {.name = "to", .type = T_TEXT, NOTIFY(to), .required = true,
     .help = "https://... (a webhook), unix:PATH, udp:HOST:PORT or tcp:HOST:PORT (syslog), file:PATH (a line each)."},
    {.name = "send", .type = T_BITS, NOTIFY(send), .names = notify_streams, .def = "alarms",
     .help = "alarms, audit (entries of the trail), heads (signed heads of the trail, to be kept where the service cannot write them anew)."},
    {.name = "secret", .type = T_PATH, NOTIFY(secret), .def = "",
     .help = "File with the secret that signs what is sent to a webhook; readable by users.notify alone."},
    {.name = "ca", .type = T_PATH, NOTIFY(ca), .def = "", .help = "PEM of what a webhook's server certificate must chain to."},
    {.name = "history", .type = T_BOOL, NOTIFY(history), .def = "false",
     .help = "Tell a new one everything from the beginning, not only what comes."},
};

#define LIST(text, rows, struct_name, member, about)                                                                   \
    {.name = text, .keys = rows, .keys_n = ARRAY_LEN(rows), .item_size = sizeof(struct struct_name),                   \
     .offset = offsetof(struct conf, member), .offset_n = offsetof(struct conf, member##_n), .help = about}

const struct conf_list conf_lists[CONF_LISTS] = {
    [LIST_TOP] = {.keys = top_keys, .keys_n = ARRAY_LEN(top_keys), .item_size = sizeof(struct conf)},
    [LIST_TOKENS] = LIST("tokens", token_keys, conf_token, tokens, "PKCS#11 tokens."),
    [LIST_CAS] = LIST("cas", ca_keys, conf_ca, cas, "Certification authorities, roots included."),
    [LIST_PROFILES] = LIST("profiles", profile_keys, conf_profile, profiles, "What certificates look like."),
    [LIST_DOMAINS] = LIST("domains", domain_keys, conf_domain, domains, "Owners of devices; a device is (domain, device_id)."),
    [LIST_ANCHORS] = LIST("anchors", anchor_keys, conf_anchor, anchors, "Manufacturers whose birth certificates are believed, and for what."),
    [LIST_LABELS] = LIST("labels", label_keys, conf_label, labels, "EST entry points."),
    [LIST_ORDER_SIGNERS] = LIST("order_signers", order_signer_keys, conf_order_signer, order_signers,
                                "Who may sign work orders; without one no order can be opened."),
    [LIST_AUDIENCES] = LIST("audiences", audience_keys, conf_audience, audiences, "Who asks for access decisions, and what for."),
    [LIST_NOTIFY] = LIST("notify", notify_keys, conf_notify, notify, "Who is told of alarms, of entries of the trail and of its heads; without one nothing goes out."),
};

_Static_assert(ARRAY_LEN(top_keys) <= CONF_KEYS_MAX && ARRAY_LEN(profile_keys) <= CONF_KEYS_MAX, "CONF_KEYS_MAX");

const char *key_alg_name(enum key_alg alg)
{
    for (const struct conf_name *n = key_algs; n->text; n++)
        if (n->value == (int)alg)
            return n->text;
    return "none";
}

bool key_alg_from_name(const char *s, enum key_alg *out)
{
    for (const struct conf_name *n = key_algs; n->text; n++)
        if (strcmp(n->text, s) == 0) {
            *out = (enum key_alg)n->value;
            return true;
        }
    return false;
}

const char *profile_kind_name(enum profile_kind k)
{
    for (const struct conf_name *n = profile_kinds; n->text; n++)
        if (n->value == (int)k)
            return n->text;
    return "unknown";
}
