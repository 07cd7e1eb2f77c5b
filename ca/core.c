/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/core.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/fsio.h"
#include "base/privkey.h"
#include "ca/alarm.h"
#include "ca/batch.h"
#include "ca/budget.h"
#include "ca/capture.h"
#include "ca/core_run.h"
#include "ca/enroll_policy.h"
#include "ca/factory.h"
#include "ca/issue.h"
#include "ca/life.h"
#include "ca/gateway.h"
#include "ca/metrics.h"
#include "ca/profile.h"
#include "ca/record.h"
#include "ca/request.h"
#include "ca/store/alarm.h"
#include "ca/transfer.h"

#define WAL_MAX        ((uint64_t)64 << 20)
#define WAL_PINNED_MAX ((uint64_t)4 << 30) /* a long reader keeps the log from being emptied: then it has to go */
#define FLOOR_EVERY_S  60
#define TICK_MS        250
#define RESTART_MS     200 /* time for the last answer to leave */
#define READY_ROOM     ((uint64_t)512 << 10) /* octets free for the ledger: with less it counts against readiness */
#define READY_CRL_TENTHS 9 /* of its window: later than this a list counts against readiness */

/* ---- transactions ---- */

static void die_in_doubt(const struct err *e) __attribute__((noreturn));
static void die_in_doubt(const struct err *e)
{
    proc_die("ledger-in-doubt", store_is_disk_error(e) ? PROC_EXIT_DISK : PROC_EXIT_RESTART, e);
}

void core_doubt(struct core *c, const struct err *e)
{
    if (store_is_doubtful(c->store))
        die_in_doubt(e);
}

enum err_code core_begin(struct core *c, struct err *e)
{
    c->purge.n = 0;
    c->purge.all = false;
    metrics_rolled_back(c);
    if (store_begin(c->store, e) != E_OK) {
        core_doubt(c, e);
        return err_wrap(e, "begin");
    }
    return E_OK;
}

void core_commit(struct core *c)
{
    static const struct timeval next_round = {0, 0}; /* of the loop: the answers leave first */
    struct err e = {0};

    if (c->clock.floor - c->floor_written >= FLOOR_EVERY_S) {
        if (store_meta_set_i64(c->store, "time_floor", c->clock.floor, &e) != E_OK)
            die_in_doubt(&e);
        c->floor_written = c->clock.floor;
    }
    if (store_commit(c->store, &e) != E_OK)
        die_in_doubt(&e);
    metrics_committed(c);
    if (c->checkpoint)
        evtimer_add(c->checkpoint, &next_round);
}

static void on_checkpoint(evutil_socket_t fd, short what, void *arg)
{
    struct core *c = arg;
    struct err e = {0};

    (void)fd;
    (void)what;
    if (c->stopping || store_in_transaction(c->store) || store_checkpoint_step(c->store, &e) == E_OK)
        return;
    core_doubt(c, &e);
    log_failure("checkpoint-failed", &e);
}

void core_rollback(struct core *c)
{
    store_rollback(c->store);
    c->purge.n = 0;
    c->purge.all = false;
    c->devices_changed = false;
}

void core_end(struct core *c, enum err_code code, const struct err *e)
{
    if (code == E_OK) {
        core_commit(c);
        return;
    }
    core_doubt(c, e);
    core_rollback(c);
}

enum err_code core_savepoint_end(struct core *c, enum err_code code, struct err *e)
{
    if (code == E_OK)
        code = store_savepoint_keep(c->store, e);
    if (code != E_OK) {
        core_doubt(c, e);
        store_savepoint_undo(c->store);
        core_doubt(c, e);
    }
    return code;
}

uint64_t core_seq(struct core *c)
{
    uint64_t seq = 0;
    struct err e = {0};

    if (store_status_seq(c->store, &seq, &e) != E_OK)
        core_doubt(c, &e);
    return seq;
}

/* ---- clock and seal ---- */

int64_t core_stamp(struct core *c)
{
    int64_t now = clock_now(), mono = clock_mono_ms();

    /* A clock that jumped ahead must not get into rows: a revocation dated a year ahead would hold back every list until
     * then. What has surely passed since the newest good time is the best that is known. */
    if (clock_rule_judge(&c->clock, now, mono) == CLOCK_FORWARD)
        now = c->clock.floor + (c->clock.running ? (mono - c->clock.floor_ms) / 1000 : 0);
    return clock_rule_stamp(&c->clock, now);
}

/* Inside the open transaction. How much of what others were told the ledger still holds: its own entries come after. */
static enum err_code note_restored(struct core *c, struct err *e)
{
    uint64_t audit = 0, alarms = 0;
    uint8_t hash[32];

    if (store_audit_last(c->store, &audit, hash, e) != E_OK || store_alarm_event_last(c->store, &alarms, e) != E_OK ||
        store_meta_set_i64(c->store, META_RESTORED_AUDIT, (int64_t)audit, e) != E_OK)
        return e->code;
    return store_meta_set_i64(c->store, META_RESTORED_ALARMS, (int64_t)alarms, e);
}

enum err_code core_seal(struct core *c, enum seal seal, const char *why, struct err *e)
{
    struct log_line l;

    snprintf(c->seal_why, sizeof(c->seal_why), "%s", why);
    c->seal = seal;
    log_begin(&l, LOG_ERROR, "ledger-sealed");
    log_str(&l, "kind", seal == SEAL_CLOCK ? "clock" : "restore");
    log_str(&l, "why", why);
    log_str(&l, "remedy", seal == SEAL_CLOCK ? "set the clock right, or: inkan clock accept" : "inkan restore --accept");
    log_end(&l);
    if (core_begin(c, e) != E_OK)
        return e->code;
    if ((seal == SEAL_RESTORE && note_restored(c, e) != E_OK) ||
        store_meta_set(c->store, "sealed", bytes_str(seal == SEAL_CLOCK ? "clock" : "restore"), e) != E_OK ||
        store_meta_set(c->store, "sealed_why", bytes_str(why), e) != E_OK ||
        core_audit(c, &ACTOR_CORE, "ledger-sealed", "", "ledger", json_pack("{s:s}", "why", why), core_stamp(c), e) !=
            E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    links_tick(c);
    return E_OK;
}

enum err_code core_may_sign(struct core *c, int64_t now, struct err *e)
{
    int64_t mono = clock_mono_ms();
    struct err sealing = {0};
    struct log_line l;
    char why[200], at[32], floor[32];

    if (c->seal != SEAL_NONE)
        return err_set(e, E_STORE, "sealed: %s", c->seal_why);
    switch (clock_rule_judge(&c->clock, now, mono)) {
    case CLOCK_GOOD:
        clock_rule_accept(&c->clock, now, mono);
        if (c->clock_is_back) {
            c->clock_is_back = false;
            log_note(LOG_INFO, "clock-good", "time", "within the rules again");
        }
        return E_OK;
    case CLOCK_BACK:
        clock_format(now, at);
        clock_format(c->clock.floor, floor);
        if (!c->clock_is_back) {
            c->clock_is_back = true;
            log_begin(&l, LOG_ERROR, "clock-refused");
            log_str(&l, "now", at);
            log_str(&l, "floor", floor);
            log_str(&l, "remedy", "set the clock right; nothing is issued or signed before");
            log_end(&l);
        }
        return err_set(e, E_STORE, "clock: %s is more than %d s before the newest time in the ledger, %s", at,
                       CLOCK_BACK_MAX_S, floor);
    case CLOCK_FORWARD:
    default:
        clock_format(now, at);
        clock_format(c->clock.floor, floor);
        snprintf(why, sizeof(why), "clock: %s is too far ahead of the newest time in the ledger, %s", at, floor);
        if (!store_in_transaction(c->store) && core_seal(c, SEAL_CLOCK, why, &sealing) != E_OK)
            log_failure("ledger-sealed", &sealing);
        return err_set(e, E_STORE, "%s", why);
    }
}

/* ---- profiles ---- */

const uint8_t *core_profile_hash(struct core *c, const struct conf_profile *p)
{
    return c->profile_hash[p - c->conf->profiles].hash;
}

/* Every profile is stored in full under its hash before anything names it. */
static enum err_code profiles_put(struct core *c, struct err *e)
{
    struct profile_hash *hashes = calloc(c->conf->profiles_n + 1, sizeof(*hashes));

    if (!hashes)
        return err_set(e, E_NOMEM, "profiles");
    free(c->profile_hash);
    c->profile_hash = hashes;
    for (size_t i = 0; i < c->conf->profiles_n; i++) {
        const struct conf_profile *p = &c->conf->profiles[i];
        AUTO_BUF text = BUF_INIT(64 * 1024);

        if (profile_describe(p, &text, hashes[i].hash, e) != E_OK)
            return err_wrap(e, "profile \"%s\"", p->name);
        buf_add_u8(&text, 0);
        if (!buf_ok(&text))
            return err_set(e, E_NOMEM, "profile \"%s\"", p->name);
        if (store_profile_put(c->store, hashes[i].hash, p->name, (const char *)text.p, core_stamp(c), e) != E_OK)
            return err_wrap(e, "profile \"%s\"", c->conf->profiles[i].name);
    }
    return E_OK;
}

/* What the core keeps in memory of the ledger and the configuration. */
static enum err_code core_load(struct core *c, struct err *e)
{
    if (keys_load(c, e) != E_OK)
        return err_wrap(e, "keys");
    if (authorities_load(c, e) != E_OK)
        return err_wrap(e, "authorities");
    if (record_load(c, e) != E_OK)
        return err_wrap(e, "records");
    if (anchors_load(c, e) != E_OK)
        return err_wrap(e, "anchors");
    if (issuance_configured(c, e) != E_OK)
        return err_wrap(e, "keys made ahead");
    return E_OK;
}

void core_authorities_changed(struct core *c)
{
    struct err e = {0};

    if (keys_load(c, &e) != E_OK || authorities_load(c, &e) != E_OK || record_load(c, &e) != E_OK) {
        core_doubt(c, &e);
        log_failure("authorities-failed", &e);
        return;
    }
    signer_links_tell_keys(c);
    links_send_issuers(c);
    links_send_config(c);
    admin_link_tell(c);
    jobs_poke(c);
}

enum err_code core_reload(struct core *c, struct err *e)
{
    c->conf = proc_conf(c->proc);
    /* A profile without its hash cannot be used, and the configuration before is no longer in force. */
    if (core_begin(c, e) != E_OK || profiles_put(c, e) != E_OK)
        proc_die("reload-failed", PROC_EXIT_RESTART, e);
    core_commit(c);
    if (core_load(c, e) != E_OK || admin_users_load(c, e) != E_OK || people_open(c, e) != E_OK)
        return e->code;
    signer_links_tell_keys(c);
    links_send_issuers(c);
    links_send_config(c);
    admin_link_tell(c);
    return E_OK;
}

/* ---- start ---- */

static enum err_code ledger_identity(struct core *c, struct err *e)
{
    int64_t restores = 0;

    if (store_meta_get(c->store, "ledger_id", &c->ledger_id, e) != E_OK)
        return e->code;
    if (store_meta_get_i64(c->store, "restores", &restores, e) != E_OK)
        return e->code;
    buf_reset(&c->follow_id);
    buf_add_bytes(&c->follow_id, buf_bytes(&c->ledger_id));
    if (restores)
        buf_printf(&c->follow_id, "-%lld", (long long)restores);
    return buf_ok(&c->follow_id) && buf_ok(&c->ledger_id) ? E_OK : err_set(e, E_NOMEM, "ledger id");
}

/* An intent that never became a certificate is void: its serial is burnt and never signed again. */
static enum err_code void_open_intents(struct core *c, struct err *e)
{
    uint64_t count = 0;
    struct log_line l;

    if (store_intent_void_open(c->store, core_stamp(c), &count, e) != E_OK)
        return e->code;
    if (count == 0)
        return E_OK;
    log_begin(&l, LOG_WARN, "intent-voided");
    log_u64(&l, "count", count);
    log_str(&l, "why", "open at start");
    log_end(&l);
    return core_audit(c, &ACTOR_CORE, "intents-voided", "", "ledger",
                      json_pack("{s:I, s:s}", "count", (json_int_t)count, "why", "open at start"), core_stamp(c), e);
}

static enum err_code seal_read(struct core *c, struct err *e)
{
    AUTO_BUF text = BUF_INIT(64);
    AUTO_BUF why = BUF_INIT(4096);
    enum err_code code = store_meta_get(c->store, "sealed", &text, e);

    c->seal = SEAL_NONE;
    if (code == E_NOT_FOUND || (code == E_OK && text.len == 0))
        return E_OK;
    if (code != E_OK)
        return code;
    c->seal = bytes_equal(buf_bytes(&text), bytes_str("clock")) ? SEAL_CLOCK : SEAL_RESTORE;
    if (bytes_equal(buf_bytes(&text), bytes_str("restored")) && /* the first start after a backup was put in place */
        (note_restored(c, e) != E_OK || store_meta_set(c->store, "sealed", bytes_str("restore"), e) != E_OK))
        return e->code;
    code = store_meta_get(c->store, "sealed_why", &why, e);
    snprintf(c->seal_why, sizeof(c->seal_why), "%.*s", (int)why.len, why.p ? (const char *)why.p : "");
    return code == E_NOT_FOUND ? E_OK : code;
}

static enum err_code make_dirs(const struct conf *conf, struct err *e)
{
    static const struct {
        const char *name;
        mode_t mode;
    } dirs[] = {{"", 0755}, {"/ledger", 0700}, {"/ledger/tmp", 0700}, {"/crl", 0755}};
    char path[PATH_LEN];

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        snprintf(path, sizeof(path), "%s%s", conf->dir_state, dirs[i].name);
        if (dir_make(path, dirs[i].mode, e) != E_OK)
            return e->code;
    }
    return dir_make(conf->dir_marks, 0755, e);
}

static enum err_code readers_open(struct core *c, const char *ledger, struct err *e)
{
    static const char *const names[READERS] = {"read-lists", "read-long", "read-pages", "read-fleet"};

    for (size_t i = 0; i < READERS; i++)
        if (!(c->reader[i] = reader_new(c->base, names[i], ledger, e)))
            return e->code;
    return E_OK;
}

static enum err_code core_open(struct core *c, struct err *e)
{
    char path[PATH_LEN], what[200] = "";
    bool behind = false;
    struct err clock = {0};

    if (make_dirs(c->conf, e) != E_OK)
        return e->code;
    snprintf(path, sizeof(path), "%s/ledger/ledger.db", c->conf->dir_state);
    if (store_open(path, STORE_WRITE, &c->store, e) != E_OK)
        return err_wrap(e, "ledger");
    if (store_time_newest(c->store, &c->clock.floor, e) != E_OK)
        return err_wrap(e, "ledger");
    c->floor_written = c->clock.floor;
    if (store_begin(c->store, e) != E_OK)
        return err_wrap(e, "ledger");
    if (ledger_identity(c, e) != E_OK || seal_read(c, e) != E_OK || void_open_intents(c, e) != E_OK ||
        profiles_put(c, e) != E_OK)
        return err_wrap(e, "ledger");
    core_commit(c);
    c->purge_seq = core_seq(c); /* the core before may have died between a commit and its confirmation */
    if (secret_key_load(c, e) != E_OK || core_load(c, e) != E_OK || admin_users_load(c, e) != E_OK ||
        factory_load(c, e) != E_OK)
        return e->code;
    if (marks_compare(c, &behind, what, sizeof(what), e) != E_OK)
        return err_wrap(e, "marks");
    if (behind && c->seal != SEAL_RESTORE && core_seal(c, SEAL_RESTORE, what, e) != E_OK)
        return e->code;
    if (c->seal == SEAL_RESTORE && !c->seal_why[0])
        text_copy(c->seal_why, sizeof(c->seal_why), behind ? what : "a backup was put in place");
    if (people_open(c, e) != E_OK)
        return err_wrap(e, "people");
    if (budget_open(c, e) != E_OK)
        return err_wrap(e, "budgets");
    if (readers_open(c, path, e) != E_OK)
        return e->code;
    if (batches_open(c, e) != E_OK)
        return err_wrap(e, "batches");
    publish_open(c);
    audit_open(c);
    if (c->seal != SEAL_NONE)
        log_note(LOG_ERROR, "ledger-sealed", "why", c->seal_why);
    else if (core_may_sign(c, clock_now(), &clock) != E_OK)
        log_failure("clock-refused", &clock);
    return E_OK;
}

static void on_restart(evutil_socket_t fd, short what, void *arg)
{
    struct core *c = arg;

    (void)fd;
    (void)what;
    c->stopping = true;
    proc_exit_loop(c->proc, PROC_EXIT_RESTART);
}

void core_restored(struct core *c)
{
    struct timeval soon = {0, RESTART_MS * 1000};

    marks_update(c);
    /* A replica follows one ledger for the life of its link: a new process has new links and the ledger's new identity. */
    if (event_base_once(c->base, -1, EV_TIMEOUT, on_restart, c, &soon) != 0)
        on_restart(-1, 0, c);
}

/* ---- health ---- */

static bool lists_are_fresh(struct core *c, int64_t now)
{
    for (size_t i = 0; i < c->ca_n; i++)
        for (size_t k = 0; c->ca[i].exists && k < c->ca[i].scope_n; k++) {
            const struct crl_scope *s = &c->ca[i].scope[k];
            if (s->exists && now > s->this_update + (s->next_update - s->this_update) / 10 * READY_CRL_TENTHS)
                return false;
        }
    return true;
}

/* A core that starts on a full disk still finds a page or two for itself, but none for what it is asked for. */
static bool ledger_has_room(const struct core *c)
{
    char path[PATH_LEN];
    struct statvfs v;

    snprintf(path, sizeof(path), "%s/ledger", c->conf->dir_state);
    return statvfs(path, &v) != 0 || (uint64_t)v.f_bavail * v.f_frsize >= READY_ROOM;
}

bool core_is_ready(struct core *c, const char **why)
{
    struct err ignored = {0};
    size_t issuing = 0;

    *why = NULL;
    if (c->seal != SEAL_NONE)
        *why = c->seal_why;
    else if (c->clock_is_back)
        *why = "clock is behind the ledger";
    for (size_t i = 0; i < c->ca_n && !*why; i++) {
        if (!c->ca[i].exists || authority_is_offline(c, &c->ca[i]))
            continue;
        issuing++;
        if (authority_is_ready(c, &c->ca[i], why) && c->ca[i].foreign && authority_is_good(c, &c->ca[i], &ignored) != E_OK)
            *why = "the CA above says that this CA is revoked or on hold";
    }
    if (!*why && issuing == 0)
        *why = "no issuing CA exists yet";
    if (!*why && !lists_are_fresh(c, clock_now()))
        *why = "a CRL is close to its nextUpdate";
    if (!*why && !ledger_has_room(c))
        *why = "the ledger's disk is full";
    return *why == NULL;
}

json_t *core_health(struct core *c)
{
    const char *why;
    bool ready = core_is_ready(c, &why);

    return json_pack("{s:b, s:b, s:s, s:I, s:I, s:i}", "ready", ready, "sealed", c->seal != SEAL_NONE, "why",
                     why ? why : "", "seq", (json_int_t)core_seq(c), "time", (json_int_t)clock_now(), "waiting",
                     (int)issue_waiting(c));
}

/* ---- timers ---- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct core *c = arg;
    struct err e = {0};

    (void)fd;
    (void)what;
    if (c->stopping)
        return;
    c->ticks++;
    if (c->ticks % 4 == 0) {
        if (store_wal_size(c->store) > WAL_PINNED_MAX)
            reader_interrupt(c->reader[READER_LONG], "the ledger's log grew too large meanwhile: again in a quieter hour");
        /* Asked also when nobody wants anything signed: a jump is noticed within a second. */
        if (core_may_sign(c, clock_now(), &e) == E_OK) {
            audit_tick(c);
            request_tick(c);
            people_tick(c);
            capture_tick(c);
        }
        factory_tick(c);
        life_tick(c);
        transfer_tick(c);
        jobs_poke(c);
    }
    publish_tick(c);
    batches_tick(c);
    metrics_tick(c);
    notify_link_tick(c);
    if (c->ticks % 20 == 0)
        links_tick(c);
    if (c->ticks % 40 == 0)
        services_renew(c);
    if (c->ticks % 8 == 0)
        alarm_watch(c);
    if (c->ticks % 240 == 0 && issue_waiting(c) == 0 && store_checkpoint(c->store, WAL_MAX, &e) != E_OK) {
        core_doubt(c, &e);
        log_failure("checkpoint-failed", &e);
    }
}

static void on_go(struct proc *p, void *arg)
{
    struct core *c = arg;
    struct timeval every = {0, TICK_MS * 1000};

    c->going = true;
    evtimer_add(c->tick, &every);
    services_renew(c);
    publish_tick(c);
    proc_ready(p);
}

static void on_reload(struct proc *p, void *arg)
{
    struct core *c = arg;
    struct err e = {0};

    if (proc_reload_conf(p, &e) != E_OK || core_reload(c, &e) != E_OK) {
        log_failure("reload-failed", &e);
        return;
    }
    log_note(LOG_INFO, "reloaded", "config", c->conf->path);
}

static void on_stop(struct proc *p, void *arg)
{
    struct core *c = arg;

    c->stopping = true;
    marks_update(c);
    proc_exit_loop(p, PROC_EXIT_OK);
}

static void on_listen(struct proc *p, const char *name, int fd, void *arg)
{
    (void)p;
    if (strcmp(name, "admin") == 0) {
        admin_listen(arg, fd);
        return;
    }
    log_note(LOG_ERROR, "unknown-listener", "name", name);
    close(fd);
}

static void on_processes(struct proc *p, const struct proc_info *list, size_t n, void *arg)
{
    struct core *c = arg;
    struct proc_info *copy = calloc(n ? n : 1, sizeof(*copy));

    (void)p;
    if (!copy)
        return; /* the next change brings it again */
    memcpy(copy, list, n * sizeof(*copy));
    free(c->processes);
    c->processes = copy;
    c->processes_n = n;
}

const struct proc_info *core_process(const struct core *c, const char *name)
{
    for (size_t i = 0; i < c->processes_n; i++)
        if (strcmp(c->processes[i].name, name) == 0)
            return &c->processes[i];
    return NULL;
}

static const struct proc_ops core_proc_ops = {
    .on_link = links_on_link,
    .on_gone = links_on_gone,
    .on_listen = on_listen,
    .on_go = on_go,
    .on_reload = on_reload,
    .on_stop = on_stop,
    .on_run_result = jobs_on_run_result,
    .on_processes = on_processes,
};

static void core_close(struct core *c)
{
    if (c->tick)
        event_free(c->tick);
    if (c->checkpoint)
        event_free(c->checkpoint);
    c->checkpoint = NULL;
    for (size_t i = 0; i < READERS; i++)
        reader_free(c->reader[i]); /* first: readers and signers answer what is pending */
    links_free(c);
    batches_free(c);
    jobs_free(c);
    publish_free(c);
    served_free(c);
    issuance_free(c->issuance);
    captures_free(c->captures);
    factory_free(c);
    admin_free(c);
    budget_close(c);
    audit_free(c);
    authorities_clear(c);
    record_clear(c);
    anchors_free(c->anchors);
    guess_limit_free(c->guesses);
    metrics_free(c->metrics);
    gateways_free(c->gateways);
    secret_clear(&c->secret_key);
    buf_clear(&c->ledger_id);
    buf_clear(&c->follow_id);
    keys_clear(c);
    free(c->profile_hash);
    free(c->processes);
    store_close(c->store);
    proc_free(c->proc);
}

/* Files for the fronts travel as descriptors, one for each list. */
static void raise_descriptors(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= r.rlim_max)
        return;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0)
        log_note(LOG_WARN, "descriptors-limited", "reason", "RLIMIT_NOFILE cannot be raised");
}

/* Answers of the administration hold new enrollment secrets: JSON leaves nothing behind in freed memory. */
static void free_wiped(void *p)
{
    if (p)
        OPENSSL_cleanse(p, malloc_usable_size(p));
    free(p);
}

static int exit_code_of_start(const struct core *c, const struct err *e)
{
    if (store_is_disk_error(e))
        return PROC_EXIT_DISK;
    return c->store && store_is_doubtful(c->store) ? PROC_EXIT_RESTART : 1;
}

/* The reason goes to the supervisor too: it tells whoever ordered the start. */
static _Noreturn void fail_start(const struct core *c, int code, const struct err *e)
{
    proc_state(c->proc, e->msg);
    proc_die("start-failed", code, e);
}

int core_run(int argc, char **argv)
{
    static struct core c;
    struct err e = {0};
    int code;

    LIST_INIT(&c.fronts);
    LIST_INIT(&c.signers);
    LIST_INIT(&c.confirmations);
    LIST_INIT(&c.served);
    LIST_INIT(&c.outdated);
    buf_init(&c.ledger_id, 64);
    buf_init(&c.follow_id, 128);
    c.status.core = &c;
    raise_descriptors();
    json_set_alloc_funcs(malloc, free_wiped);
    c.proc = proc_start(argc, argv, PROC_CORE, &core_proc_ops, &c);
    c.conf = proc_conf(c.proc);
    c.base = proc_base(c.proc);
    c.guesses = guess_limit_new();
    c.issuance = issuance_new(&c);
    c.captures = captures_new();
    c.metrics = metrics_new(&c);
    c.gateways = gateways_new();
    c.tick = event_new(c.base, -1, EV_PERSIST, on_tick, &c);
    c.checkpoint = evtimer_new(c.base, on_checkpoint, &c);
    if (!secret_heap_open())
        log_note(LOG_WARN, "memory-not-locked", "reason", "RLIMIT_MEMLOCK is too small for the memory of private keys");
    if (!c.guesses || !c.issuance || !c.captures || !c.metrics || !c.gateways || !c.tick || !c.checkpoint) {
        err_set(&e, E_NOMEM, "start");
        fail_start(&c, 1, &e);
    }
    if (core_open(&c, &e) != E_OK)
        fail_start(&c, exit_code_of_start(&c, &e), &e);
    if (proc_confine(c.proc, &e) != E_OK)
        fail_start(&c, 1, &e);
    code = proc_loop(c.proc);
    core_close(&c);
    return code;
}
