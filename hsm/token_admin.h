/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the core asks of inkan-token, the short-lived program that administers one token: initialise it, generate and
 * destroy keys, list, store certificate objects. It runs as the signer's user, takes the token's lock (the serving
 * signer is stopped for it) and is linked to the core only.
 *
 * Messages (core -> inkan-token; the answer has the same request id and starts with u8 err code, str message):
 *   TOKEN_INFO      -                         -> str label, str serial, str model, str manufacturer, str firmware,
 *                                                bool initialised, bool user_pin_set, str pin_state, str library
 *   TOKEN_INIT      -                         -> -         (libp11; PINs from the configured sources; a missing
 *                                                           file: source is made with a random PIN, mode 0400)
 *   TOKEN_GENERATE  u8 purpose, str name, u32 generation, str key_alg ("p256", ...)
 *                                             -> bytes cka_id, bytes spki, str attributes (read back, "SENSITIVE=1 ...")
 *   TOKEN_DESTROY   bytes cka_id, bytes spki  -> -         (both must match; reads back that nothing is left)
 *   TOKEN_LIST      -                         -> u32 n, n x { str cka_label, bytes cka_id, str key_alg, bytes spki,
 *                                                             bool never_extractable, str flags }
 *   TOKEN_STORE_CERT bytes cka_id, str label, bytes der -> -   (certificate object, libp11)
 *   TOKEN_UNBLOCK   -                         -> -         (forgets the refused PIN; the next login tries the source)
 */
#ifndef INKAN_HSM_TOKEN_ADMIN_H
#define INKAN_HSM_TOKEN_ADMIN_H

#include "base/msg.h"

enum token_type {
    TOKEN_INFO = MSG_RANGE_TOKEN,
    TOKEN_INIT,
    TOKEN_GENERATE,
    TOKEN_DESTROY,
    TOKEN_LIST,
    TOKEN_STORE_CERT,
    TOKEN_UNBLOCK,
    TOKEN_RESULT,
};

#endif
