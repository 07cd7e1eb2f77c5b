/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the life of devices (0007_life.sql); rules for callers as in ca/store/store.h. */
#ifndef INKAN_CA_STORE_LIFE_H
#define INKAN_CA_STORE_LIFE_H

#include "ca/store/store.h"

struct device_event_row {
    uint64_t id, device;
    int64_t time;
    enum device_state from, to;
    const char *actor;
    const char *reason, *evidence; /* "" = none */
    uint64_t batch, audit_seq;     /* 0 = none */
};
MUST_CHECK enum err_code store_device_event_add(struct store *s, const struct device_event_row *row, struct err *e);
typedef bool (*device_event_fn)(void *arg, const struct device_event_row *row); /* false stops */
/* In the order they happened, from the one after `after_id`. */
MUST_CHECK enum err_code store_device_event_each(struct store *s, uint64_t device, uint64_t after_id, device_event_fn fn, void *arg,
                                                 struct err *e);

#endif
