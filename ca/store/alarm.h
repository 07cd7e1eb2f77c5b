/* SPDX-License-Identifier: Apache-2.0 */
/* Alarms as people and inkan-notify see them; raising and clearing are in store.h, whose rules hold here too. */
#ifndef INKAN_CA_STORE_ALARM_H
#define INKAN_CA_STORE_ALARM_H

#include "ca/store/store.h"

/* In the order of id, after `after_id`. */
MUST_CHECK enum err_code store_alarm_page(struct store *s, bool open_only, uint64_t after_id, uint64_t limit, alarm_row_fn fn, void *arg,
                                          struct err *e);
MUST_CHECK enum err_code store_alarm_by_id(struct store *s, uint64_t id, struct alarm_row *out, struct err *e);
MUST_CHECK enum err_code store_alarm_is_open(struct store *s, const char *kind, const char *domain, const char *object, bool *open,
                                             struct err *e);
/* A person has looked at it. E_NOT_FOUND: it is not open, or somebody has already. */
MUST_CHECK enum err_code store_alarm_ack(struct store *s, uint64_t id, const char *by, const char *note, int64_t at, struct err *e);

enum alarm_what { ALARM_WAS_RAISED, ALARM_WAS_ACKED, ALARM_WAS_CLEARED };
/* What became of alarms, in its order, with the alarm as it is now. */
struct alarm_event_row {
    uint64_t seq;
    uint8_t what;
    int64_t time;
    struct alarm_row alarm;
};
typedef bool (*alarm_event_fn)(void *arg, const struct alarm_event_row *row);
MUST_CHECK enum err_code store_alarm_event_each(struct store *s, uint64_t after_seq, uint64_t limit, alarm_event_fn fn, void *arg,
                                                struct err *e);
MUST_CHECK enum err_code store_alarm_event_last(struct store *s, uint64_t *seq, struct err *e); /* 0: none yet */

#endif
