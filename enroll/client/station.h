/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The side of a station in a factory line: takes units through the steps of one work order, several at a time, and keeps a
 * journal from which the next run goes on at the unfinished unit and step. Needs OpenSSL 3, libcurl and jansson; of this
 * project only the device library beside it.
 *
 * The service may be away, slow or restarted at any moment: every request is repeated until it is answered, and every
 * request may be repeated (docs/factory.md). The device is driven through a command that the user configures:
 *
 *   once per step     INKAN_STEP, INKAN_UNIT, INKAN_ORDER, INKAN_FIXTURE in the environment, data on standard input and output
 *   as a session      started once per fixture; "STEP UNIT BASE64|-" in, "ok BASE64|-" or "fail TEXT" out, a line each
 *
 *   step     in                                            out
 *   csr      -                                             certification request, DER or PEM; the same key until `install`
 *   key      only where the service makes the key: it, DER nothing
 *   install  certificate, PEM                              nothing, or the certificate as read back
 *   secret   only where asked for: 64 hex digits           nothing
 *   sign     octets to sign                                signature (ECDSA in DER, RSA PKCS#1 v1.5, Ed25519)
 *   evidence only where asked for: -                       JSON object: where the key lives, and how that was seen
 *
 * Threads: station_start makes one per fixture; the functions below are for the one thread that called it.
 */
#ifndef INKAN_ENROLL_CLIENT_STATION_H
#define INKAN_ENROLL_CLIENT_STATION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define STATION_ID_MAX       64
#define STATION_FIXTURES_MAX 64

enum station_step {
    STATION_RESERVE,
    STATION_ISSUE,
    STATION_WRITE,
    STATION_CONFIRM,
    STATION_PACK,
    STATION_SHIP,
    STATION_STEPS
};
extern const char *const station_step_name[STATION_STEPS];

/* The order's key_mode: who makes the device's key. What the service makes passes through this station's memory, never to its disk. */
enum station_key_mode {
    STATION_KEY_DEVICE,
    STATION_KEY_SERVER,           /* EST serverkeygen; wrapped for the device when its request asks for that */
    STATION_KEY_SERVER_ENCRYPTED, /* the same; a key in clear is refused */
    STATION_KEY_MODES
};
extern const char *const station_key_mode_name[STATION_KEY_MODES];

struct station_options {
    const char *url;      /* "https://host[:port]" */
    const char *ca;       /* PEM, trust anchors of the service */
    const char *cert;     /* of this station, PEM, leaf first */
    const char *key;      /* PEM file or pkcs11: URI */
    const char *order;
    enum station_key_mode key_mode;
    const char *journal;  /* made when missing; one process at a time */
    const char *device_command;
    const char *badge, *tool, *firmware, *carton; /* recorded with the unit; NULL without */
    unsigned steps;       /* bits 1 << enum station_step */
    unsigned fixtures;    /* 1 .. STATION_FIXTURES_MAX */
    unsigned device_tries;   /* of one step, before the unit is begun again or fails; 0 = 3 */
    unsigned failures_max;   /* units that fail one after the other before the station stops; 0 = 10 */
    unsigned timeout_s, device_timeout_s; /* 0 = 30, 60 */
    bool secrets;         /* each unit gets one, sealed for the customer of the order; with the step write */
    bool evidence;        /* each confirm tells the evidence that the device gave */
    bool session;         /* the device command stays and is spoken to line by line */
    bool retry_failed;    /* units that failed in an earlier run are tried again */
    bool renew;           /* renew the station's certificate at two thirds of its life; `cert` is replaced */
};

enum station_end {        /* why it takes no more units */
    STATION_GOES_ON,
    STATION_TOLD,         /* station_stop */
    STATION_ORDER_ENDED,  /* the service refuses the order or this station: see last_error */
    STATION_ORDER_FULL,   /* every number of the order was allotted: the ordinary end of a run without a list */
    STATION_FAILURES,     /* too many units failed one after the other */
    STATION_CANNOT,       /* journal, key or certificate of this station */
};

struct station_fixture_view {
    char unit[STATION_ID_MAX + 1]; /* "" = waits for one */
    enum station_step step;
    double seconds;                /* in this unit */
    char note[160];                /* what it waits for, "" = it works */
};

struct station_view {
    uint64_t done, failed, already, resumed; /* units of this run; `already`: were finished before */
    uint64_t earlier;                        /* units done in earlier runs, from the journal */
    uint64_t retries;                        /* requests that were repeated */
    uint64_t captured;                       /* left, to be issued later: the service keeps their requests (202) */
    uint64_t unfinished;                     /* begun or waiting, and not at work */
    unsigned busy;                           /* fixtures at work */
    double seconds;                          /* since start */
    double unit_p50_s, unit_p99_s;
    enum station_end end;
    char last_error[512];
    struct station_fixture_view fixture[STATION_FIXTURES_MAX];
    unsigned fixtures;
};

struct station;

/* One line per unit that ended, and per notable event; called from any thread, one at a time. `text` is complete. */
typedef void station_report(void *arg, bool is_error, const char *text);

/* NULL on failure, with the reason in `error`. Reads journal and credentials; asks nothing of the service yet. */
struct station *station_open(const struct station_options *o, station_report *report, void *arg, char error[512]);
/* Starts the fixtures; units that the journal holds unfinished come first. */
bool station_start(struct station *s, char error[512]);
/* Does a unit given now find a fixture soon? Else keep it. */
bool station_wants(struct station *s);
/* false: not a device_id (1 to 64 of A-Za-z0-9._:-). Units at work or done are counted and left alone. */
bool station_offer(struct station *s, const char *device_id);
/* A unit whose number the order allots (order of ids by range; needs the step reserve). */
void station_offer_allotted(struct station *s);
/* Units of the journal, those of earlier runs included. */
uint64_t station_units(struct station *s);
/* No more units will be offered. */
void station_no_more(struct station *s);
/* The fixtures finish the units at work, those that wait for the service leave them unfinished. */
void station_stop(struct station *s);
/* All fixtures have ended. */
bool station_is_finished(struct station *s);
void station_look(struct station *s, struct station_view *out);
/* Reasons of the units that failed: "reason count\n" to `f` as JSON members, {"reason":n,...}. */
void station_reasons(struct station *s, FILE *f);
/* Renews the station's certificate when it is due; blocks for one request. Call now and then when options.renew is set. */
void station_upkeep(struct station *s);
void station_close(struct station *s); /* after station_is_finished; kills what is left of the device commands */

#endif
