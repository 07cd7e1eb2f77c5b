/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP Basic credentials (RFC 7617), as a device presents them inside TLS (RFC 7030 3.2.3). */
#ifndef INKAN_ENROLL_BASIC_H
#define INKAN_ENROLL_BASIC_H

#include "base/bytes.h"

#define BASIC_PASSWORD_MAX 512

enum basic_result {
    BASIC_NONE,      /* no Authorization field, or another scheme */
    BASIC_OK,        /* user and password are set; either may be empty */
    BASIC_MALFORMED, /* Basic, but not base64 of "user:password" without control octets -> 400 */
    BASIC_TOO_LONG,  /* longer than any credential of ours: cannot be right -> 401 */
    BASIC_NO_MEMORY, /* nobody knows -> 503 */
};

/*
 * Reads the value of an Authorization field. Split at the first colon. `user` gets a NUL; `password` must be empty and
 * is to be cleared by the caller. What was decoded on the way is wiped.
 */
enum basic_result basic_read(struct bytes authorization, char *user, size_t user_size, struct secret *password);

#endif
