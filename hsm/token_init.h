/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What inkan-token does through libp11: initialise a token and its user PIN, store a certificate object. Each call loads
 * the module through libp11 and finalises it again, so it must not overlap a p11_initialise. Private to hsm/.
 */
#ifndef INKAN_HSM_TOKEN_INIT_H
#define INKAN_HSM_TOKEN_INIT_H

#include "base/conf.h"
#include "base/err.h"

/*
 * Initialises the first free slot under the configured label, then sets the user PIN. A token that has the label but no
 * user PIN (an initialisation that was cut short) only gets its PIN. Missing `file:` PIN sources are made.
 *
 * E_CONFLICT   a token with this label is initialised
 * E_NOT_FOUND  no free slot
 * E_DENIED     the SO PIN was refused, now or before
 */
MUST_CHECK enum err_code token_initialise(const struct conf_token *conf, const char *dir_state, struct err *e);

/* Stores a certificate object; the same certificate twice is one object. */
MUST_CHECK enum err_code token_store_cert(const struct conf_token *conf, const char *dir_state, struct bytes cka_id,
                                          const char *label, struct bytes der, struct err *e);

#endif
