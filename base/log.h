/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on standard error: `time=… level=… proc=… event=NAME key=value …`. Values are quoted when they hold
 * anything but [A-Za-z0-9._:/@+-]; control octets and quotes are escaped, so that hostile text stays on its line.
 * Event names never change once released; docs/operations.md lists them.
 *
 *     struct log_line l;
 *     log_begin(&l, LOG_INFO, "cert-issued");
 *     log_str(&l, "device", id);
 *     log_rid(&l, rid);
 *     log_end(&l);
 */
#ifndef INKAN_BASE_LOG_H
#define INKAN_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_line {
    enum log_level level;
    size_t len;
    bool cut;
    char text[4096]; /* longer lines are cut at a whole key=value and marked cut=yes */
};

/* `proc` ("front-0") must outlive the process. Lines below `least` are dropped. Lines go to fd 2 in one write. */
void log_setup(const char *proc, enum log_level least);
void log_set_level(enum log_level least);
bool log_wants(enum log_level level); /* for lines that cost something to make and are mostly dropped */
void log_begin(struct log_line *l, enum log_level level, const char *event);
void log_str(struct log_line *l, const char *key, const char *value); /* NULL value: key left out */
void log_bytes(struct log_line *l, const char *key, struct bytes text);
void log_hex(struct log_line *l, const char *key, struct bytes octets);
void log_u64(struct log_line *l, const char *key, uint64_t v);
void log_i64(struct log_line *l, const char *key, int64_t v);
void log_rid(struct log_line *l, uint64_t rid); /* rid=… in hex, as the client was told; 0: left out */
void log_err(struct log_line *l, const struct err *e); /* code=… error="…" */
void log_end(struct log_line *l);

/* The common short forms. */
void log_note(enum log_level level, const char *event, const char *key, const char *value);
void log_failure(const char *event, const struct err *e);
void log_failure_of(const char *event, const char *key, const char *value, const struct err *e);

#endif
