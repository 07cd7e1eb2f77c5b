/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that a selector chooses (ca/selector.h). The rules of ca/store/store.h hold; meant for readers, since most
 * selectors read the whole table once (docs/fleet.md says which do not).
 *
 * Over devices, terms about certificates that are joined by "and" speak of one and the same certificate of the device,
 * and "not" before them says that it has no such certificate. Over certificates it is the other way round: terms about
 * the device speak of the certificate's device, and are false of a certificate without one.
 *
 * Rows come in the order of their ids, so a list is read page after page by `after_id`, each page where the last ended.
 */
#ifndef INKAN_CA_STORE_SELECT_H
#define INKAN_CA_STORE_SELECT_H

#include "ca/selector.h"
#include "ca/store/store.h"

/* `limit` 0 = none. */
MUST_CHECK enum err_code store_select_devices(struct store *s, const struct selector *sel, uint64_t after_id, uint64_t limit,
                                              device_row_fn fn, void *arg, struct err *e);
MUST_CHECK enum err_code store_select_certs(struct store *s, const struct selector *sel, uint64_t after_id, uint64_t limit,
                                            cert_row_fn fn, void *arg, struct err *e);
/* How SQLite would go about it, a line for each step, and the statement itself first: for tests and the curious. */
MUST_CHECK enum err_code store_select_plan(struct store *s, const struct selector *sel, bool over_certs, struct buf *out, struct err *e);

#endif
