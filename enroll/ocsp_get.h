/* SPDX-License-Identifier: Apache-2.0 */
/* The OCSP request inside a GET path (RFC 6960 A.1, RFC 9919 6). */
#ifndef INKAN_ENROLL_OCSP_GET_H
#define INKAN_ENROLL_OCSP_GET_H

#include "base/bytes.h"

/*
 * `rest`: the raw path after the fixed prefix. Extra slashes at the start are skipped (a DER SEQUENCE of this size
 * starts with 'M', never with '/'), escapes are undone once, then strict base64 with padding; '+', '/' and '=' may stand
 * raw or escaped. Blanks are refused. false: not such a path; the OCSP answer is malformedRequest.
 */
bool ocsp_get_decode(struct bytes rest, struct buf *der);

#endif
