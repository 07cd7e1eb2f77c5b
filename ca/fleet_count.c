/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/fleet_count.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/openmetrics.h"
#include "ca/store/tally.h"

#define STEP_ROWS   10000
#define REST        19   /* times what a step took, before the next */
#define BETWEEN_MS  2000 /* rest between two counts at least */

struct counted {
    uint64_t device[DEVICE_STATES];
    struct renewal_tally renewal;
    int64_t at; /* when it was finished; 0: never */
};

enum part { PART_DEVICES, PART_CERTS };

struct fleet_count {
    struct reader_job job;
    struct core *core;
    bool running;
    enum part part;
    uint64_t after;
    bool ended; /* of the part: the step found nothing more */
    int64_t now, took_us, next_ms;
    struct counted open, done;
};

static enum err_code step_run(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct fleet_count *f = (struct fleet_count *)job;
    int64_t began = clock_mono_us();
    uint64_t before = f->after;
    enum err_code code = f->part == PART_DEVICES ? store_device_tally(ledger, &f->after, STEP_ROWS, f->open.device, e)
                                                 : store_renewal_tally(ledger, &f->after, STEP_ROWS, f->now, &f->open.renewal, e);

    f->ended = f->after == before;
    f->took_us = clock_mono_us() - began;
    return code;
}

static void begin_anew(struct fleet_count *f)
{
    f->open = (struct counted){0};
    f->part = PART_DEVICES;
    f->after = 0;
}

static void step_done(struct reader_job *job, enum err_code code, const struct err *e)
{
    struct fleet_count *f = (struct fleet_count *)job;

    (void)e;
    f->running = false;
    f->next_ms = clock_mono_ms() + f->took_us * REST / 1000;
    if (code != E_OK) { /* a reader may fail at any time: from the start, later */
        begin_anew(f);
        f->next_ms += BETWEEN_MS;
    } else if (f->ended && f->part == PART_DEVICES) {
        f->part = PART_CERTS;
        f->after = 0;
    } else if (f->ended) {
        f->done = f->open;
        f->done.at = clock_now();
        begin_anew(f);
        f->next_ms += BETWEEN_MS;
    }
}

struct fleet_count *fleet_count_new(struct core *c)
{
    struct fleet_count *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    f->core = c;
    f->job.run = step_run;
    f->job.done = step_done;
    return f;
}

void fleet_count_free(struct fleet_count *f)
{
    free(f);
}

void fleet_count_tick(struct fleet_count *f)
{
    struct err e = {0};

    if (f->running || clock_mono_ms() < f->next_ms)
        return;
    f->now = core_stamp(f->core);
    f->running = reader_submit(f->core->reader[READER_PAGES], &f->job, &e) == E_OK; /* busy: at the next tick */
}

void fleet_count_write(const struct fleet_count *f, struct buf *out)
{
    om_family(out, "inkan_fleet_counted_seconds", "gauge", "seconds", "When devices and certificates were counted last, since 1970; 0: not yet.");
    om_sample(out, "inkan_fleet_counted_seconds", (double)f->done.at, NULL);
    if (f->done.at == 0)
        return;
    om_family(out, "inkan_devices", "gauge", "", "Devices by state.");
    for (int i = 0; i < DEVICE_STATES; i++)
        om_sample(out, "inkan_devices", (double)f->done.device[i], "state", device_state_name((enum device_state)i), NULL);
    om_family(out, "inkan_device_certificates", "gauge", "", "Operational certificates of devices that are in date and good.");
    om_sample(out, "inkan_device_certificates", (double)f->done.renewal.good, NULL);
    om_family(out, "inkan_renewals_due", "gauge", "", "Of these: past two thirds of their life and not renewed.");
    om_sample(out, "inkan_renewals_due", (double)f->done.renewal.due, NULL);
    om_family(out, "inkan_renewals_missed", "gauge", "", "Operational certificates that ended in the last 30 days and were not renewed.");
    om_sample(out, "inkan_renewals_missed", (double)f->done.renewal.expired, NULL);
    om_family(out, "inkan_renewal_lag_seconds", "gauge", "seconds", "The longest time since one of them was due.");
    om_sample(out, "inkan_renewal_lag_seconds", (double)f->done.renewal.lag_s, NULL);
}
