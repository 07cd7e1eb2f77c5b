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

/* States that need a person at some time; one row for each device and kind. */
enum device_due { DUE_SUSPEND_REVIEW, DUE_COMPROMISE_CONFIRM, DEVICE_DUES };
struct device_due_row {
    uint64_t device;
    enum device_due kind;
    int64_t due_at;
    char by[ID_MAX_LEN * 4]; /* who brought it about */
    char domain[ID_MAX_LEN + 1], device_id[ID_MAX_LEN + 1];
};
MUST_CHECK enum err_code store_device_due_put(struct store *s, uint64_t device, enum device_due kind, int64_t due_at, const char *by,
                                              struct err *e);
MUST_CHECK enum err_code store_device_due_get(struct store *s, uint64_t device, enum device_due kind, struct device_due_row *out,
                                              struct err *e); /* E_NOT_FOUND */
/* The one that falls due first, not after `now`; E_NOT_FOUND. */
MUST_CHECK enum err_code store_device_due_first(struct store *s, int64_t now, struct device_due_row *out, struct err *e);
/* It is not asked for again; none: no change. */
MUST_CHECK enum err_code store_device_due_drop(struct store *s, uint64_t device, enum device_due kind, struct err *e);

/* The release that ends a device's quarantine; "" takes it away. */
MUST_CHECK enum err_code store_device_wanted_put(struct store *s, uint64_t device, const char *firmware, struct err *e);
MUST_CHECK enum err_code store_device_wanted(struct store *s, uint64_t device, char firmware[ID_MAX_LEN + 1], struct err *e); /* "": none */

/* Certificates that a renewal replaced. */
MUST_CHECK enum err_code store_retire_put(struct store *s, uint64_t cert, int64_t due_at, struct err *e); /* again: the earlier time */
MUST_CHECK enum err_code store_retire_first(struct store *s, int64_t now, uint64_t *cert, struct err *e); /* E_NOT_FOUND */
MUST_CHECK enum err_code store_retire_drop(struct store *s, uint64_t cert, struct err *e);
/* Those that `cert` replaced fall due at `at`. */
MUST_CHECK enum err_code store_retire_replaced(struct store *s, uint64_t device, uint64_t cert, int64_t at, struct err *e);

enum transfer_state { TRANSFER_OPEN, TRANSFER_ACCEPTED, TRANSFER_CANCELLED, TRANSFER_STATES };
struct transfer_row {
    uint64_t id;
    char name[ID_MAX_LEN + 1];
    uint8_t digest[32]; /* SHA-256 of the order's file */
    char from_domain[ID_MAX_LEN + 1], to_domain[ID_MAX_LEN + 1];
    enum transfer_state state;
    int64_t expires_at, opened_at, ended_at;
    struct bytes file, acceptance; /* on insert; not read back */
};
MUST_CHECK enum err_code store_transfer_insert(struct store *s, struct transfer_row *row, struct err *e); /* sets id; E_CONFLICT */
MUST_CHECK enum err_code store_transfer_by_name(struct store *s, const char *name, struct transfer_row *out, struct err *e);
MUST_CHECK enum err_code store_transfer_by_digest(struct store *s, const uint8_t digest[32], struct transfer_row *out, struct err *e);
/* The open transfer a device is in; E_NOT_FOUND. */
MUST_CHECK enum err_code store_transfer_of(struct store *s, uint64_t device, struct transfer_row *out, struct err *e);
/* The open transfer that runs out first; E_NOT_FOUND. Reads them all. */
MUST_CHECK enum err_code store_transfer_first(struct store *s, struct transfer_row *out, struct err *e);
MUST_CHECK enum err_code store_transfer_end(struct store *s, uint64_t id, enum transfer_state state, struct bytes acceptance, int64_t at,
                                            struct err *e);
MUST_CHECK enum err_code store_transfer_add(struct store *s, uint64_t transfer, uint64_t device, struct err *e);
typedef bool (*transfer_device_fn)(void *arg, uint64_t device);
MUST_CHECK enum err_code store_transfer_each(struct store *s, uint64_t transfer, transfer_device_fn fn, void *arg, struct err *e);

#endif
