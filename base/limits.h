/* SPDX-License-Identifier: Apache-2.0 */
/* Every limit on bytes, counts and times that come from outside, in one place. */
#ifndef INKAN_BASE_LIMITS_H
#define INKAN_BASE_LIMITS_H

/* HTTP (octets, counts) */
#define HTTP_REQUEST_LINE_MAX 4096
#define HTTP_HEADERS_MAX      8192
#define HTTP_HEADER_COUNT_MAX 32
#define EST_BODY_MAX          (32 * 1024)
#define OCSP_REQUEST_MAX      4096
#define EST_LABEL_MAX         64
#define UNIT_HEADER_MAX       512 /* of Inkan-Unit */
#define DECISION_BODY_MAX     (24 * 1024)
#define DECISIONS_BODY_MAX    (1024 * 1024)
#define FEED_WAIT_MAX_S       30
#define FACTORY_BODY_MAX      (16 * 1024)
#define BOX_BODY_MAX          (32 * 1024)
#define FACTORY_ANSWER_MAX    (60 * 1024)
#define ORDER_NO_MAX          48

/* HTTP (seconds, absolute deadlines) */
#define HANDSHAKE_DEADLINE_S 10
#define HEADERS_DEADLINE_S   10
#define REQUEST_DEADLINE_S   15
#define IDLE_DEADLINE_S      60

/* PKIX objects (octets, counts) */
#define CSR_MAX_LEN          (16 * 1024)
#define CERT_MAX_LEN         (64 * 1024) /* room for post-quantum keys and signatures */
#define SPKI_MAX_LEN         (8 * 1024)
#define SIGNATURE_MAX_LEN    (64 * 1024)
#define CLIENT_CHAIN_COUNT   4
#define CLIENT_CHAIN_MAX_LEN (16 * 1024)
#define SERIAL_MAX_LEN       20
#define OCSP_CERTS_MAX       16
#define OCSP_NONCE_MAX       128
#define NAME_MAX_LEN         1024 /* DER of one Name */
#define RSA_MIN_BITS         2048
#define RSA_MAX_BITS         4096
#define DECRYPT_KEY_ID_MAX   512 /* of DecryptKeyIdentifier and AsymmetricDecryptKeyIdentifier (RFC 7030 4.4.1) */
#define KEY_PACKAGE_MAX_LEN  (16 * 1024) /* a private key on its way to its owner, enveloped or not */
#define KEYGEN_POOL_MAX      32 /* keys of one kind made ahead */

/* Between our own processes */
#define MSG_MAX_LEN (64 * 1024) /* one message with its header; larger objects travel as descriptors */

/* Names: devices, domains, CAs, profiles, tokens, keys, labels (octets without the NUL) */
#define ID_MAX_LEN 64

/* Clock rules (seconds) */
#define CLOCK_BACK_MAX_S    300
#define CLOCK_FORWARD_MAX_S 3600
#define CLOCK_START_MAX_S   (30L * 86400)
#define NOT_BEFORE_SLACK_S  300

#endif
