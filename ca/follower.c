/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/follower.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/chan.h"
#include "base/log.h"
#include "ca/follow.h"

#define QUEUE_MAX      (1024 * 1024) /* octets; we send acknowledgements and questions only */
#define TURN_US        100           /* of the link's in one turn of the loop: questions are answered between rows */
#define ROWS_MAX       2048          /* in one message: more cannot fit */
#define ISSUERS_MAX    1024
#define STATE_TEXT_MAX 96
#define MERGING_US     1000          /* between two looks whether rows may be written again */
#define BUILD_MIN      200000 /* so many rows to come, and no more than a tenth of them here: the replica is built from sorted parts */

struct follower {
    struct event_base *base;
    struct replica *replica;
    struct responder *responder;
    struct decider *decider; /* NULL: no access decisions */
    struct follower_ops ops;
    struct chan *chan; /* NULL: no core */
    bool begun;        /* FOLLOW_BEGIN came on this link */
    bool issuers_open; /* between the first FOLLOW_ISSUER and FOLLOW_ISSUERS_END */
    size_t issuers_n;
    bool sealed;
    bool ahead; /* the core has less than it once confirmed to us: nothing of it is taken */
    bool target_known;
    uint64_t target; /* the core's seq as first named on this link */
    bool current;
    struct event *build; /* parts of a replica that has all its rows */
    struct event *merging; /* the link is paused */
    bool built;          /* it was built so, and the decider has not been told */
    char state[STATE_TEXT_MAX];
    struct status_row rows[ROWS_MAX];
};

static void tell_state(struct follower *f)
{
    char text[STATE_TEXT_MAX];

    if (f->sealed)
        snprintf(text, sizeof(text), "SEALED: the ledger is sealed");
    else if (f->ahead)
        snprintf(text, sizeof(text), "AHEAD: the ledger is older than the replica");
    else if (!f->current && !f->chan)
        snprintf(text, sizeof(text), "WAITING: no core yet");
    else if (!f->current)
        snprintf(text, sizeof(text), "FOLLOWING: behind the core");
    else if (!f->chan)
        snprintf(text, sizeof(text), "ALONE: no core; answers what the replica holds");
    else
        snprintf(text, sizeof(text), "CURRENT");
    if (strcmp(text, f->state) == 0)
        return;
    memcpy(f->state, text, sizeof(text));
    f->ops.state(f->ops.arg, text);
}

static void update(struct follower *f)
{
    responder_set_serving(f->responder, f->current && !f->sealed);
    tell_state(f);
}

static void set_sealed(struct follower *f, bool sealed)
{
    if (sealed != f->sealed)
        log_note(sealed ? LOG_ERROR : LOG_INFO, "status-sealed", "sealed", sealed ? "yes" : "no");
    f->sealed = sealed;
}

static bool send_msg(struct follower *f, struct msg *m)
{
    struct err e;

    if (!f->chan)
        return false;
    if (chan_send(f->chan, m, -1, &e) == E_OK)
        return true;
    /* Of a broken link on_gone tells from the loop. Of this nobody would, and the core would wait for a word that was not sent. */
    if (e.code == E_NOMEM)
        f->ops.doubt(f->ops.arg, "follow-failed", &e);
    return false;
}

static void acknowledge(struct follower *f, uint64_t seq)
{
    AUTO_MSG m;

    msg_begin(&m, FOLLOW_ACK, 0);
    msg_put_u64(&m, seq);
    (void)send_msg(f, &m);
}

static void note_refused(struct follower *f, size_t refused)
{
    struct log_line l;

    if (refused == 0)
        return;
    log_begin(&l, LOG_ERROR, "status-row-refused");
    log_str(&l, "why", "a revoked certificate never returns");
    log_u64(&l, "rows", refused);
    log_u64(&l, "up_to", replica_seq(f->replica));
    log_end(&l);
}

static void reach_target(struct follower *f)
{
    static const struct timeval next_round = {0, 0};
    struct log_line l;

    if (f->current || !f->target_known || replica_seq(f->replica) < f->target)
        return;
    if (replica_is_building(f->replica)) {
        evtimer_add(f->build, &next_round);
        return;
    }
    if (f->decider && f->built) {
        f->built = false;
        decider_built(f->decider);
    }
    f->current = true;
    log_begin(&l, LOG_INFO, "status-current");
    log_u64(&l, "seq", replica_seq(f->replica));
    log_end(&l);
    update(f);
}

static void look_again(struct event *ev)
{
    static const struct timeval a_little = {0, MERGING_US};

    evtimer_add(ev, &a_little);
}

/* Rows wait for the disk; who asks does not. */
static void on_merging(evutil_socket_t fd, short what, void *arg)
{
    struct follower *f = arg;

    (void)fd;
    (void)what;
    if (replica_is_merging(f->replica))
        look_again(f->merging);
    else if (f->chan)
        chan_resume(f->chan);
}

static void pause_while_merging(struct follower *f)
{
    if (!f->chan || !replica_is_merging(f->replica))
        return;
    chan_pause(f->chan);
    look_again(f->merging);
}

static void drop_link(struct follower *f);

/* A part in each round of the loop: questions are answered with tryLater meanwhile. */
static void on_build(evutil_socket_t fd, short what, void *arg)
{
    struct follower *f = arg;
    size_t refused = 0;
    struct err e = {0};

    (void)fd;
    (void)what;
    if (!replica_is_building(f->replica)) {
        reach_target(f);
    } else if (replica_is_merging(f->replica)) {
        look_again(f->build);
    } else if (replica_build_step(f->replica, &refused, &e) != E_OK) {
        drop_link(f);
        f->ops.doubt(f->ops.arg, "follow-failed", &e);
    } else {
        note_refused(f, refused);
        reach_target(f);
        pause_while_merging(f);
    }
}

/* Before the first rows of a long log. */
static enum err_code consider_building(struct follower *f, struct err *e)
{
    uint64_t here = replica_seq(f->replica);

    if (f->current || f->target < BUILD_MIN || here > f->target / 10 || replica_is_building(f->replica))
        return E_OK;
    f->built = true;
    return replica_build(f->replica, e);
}

/* ---- messages ---- */

static enum err_code on_begin(struct follower *f, struct msg_reader *r, struct err *e)
{
    struct bytes ledger_id = msg_get_bytes(r, LEDGER_ID_MAX_LEN);
    bool rebuild = msg_get_bool(r), sealed = msg_get_bool(r);
    int64_t floor = msg_get_i64(r);
    struct log_line l;
    bool same;

    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if (ledger_id.len == 0)
        return err_set(e, E_INVALID, "FOLLOW_BEGIN: empty ledger id");
    if (f->begun)
        return err_set(e, E_INVALID, "FOLLOW_BEGIN twice on one link");
    same = bytes_equal(ledger_id, replica_ledger_id(f->replica));
    if (!same && !rebuild)
        return err_set(e, E_INVALID, "FOLLOW_BEGIN: another ledger without rebuild");
    f->begun = true;
    f->current = f->target_known = false;
    f->ahead = same && rebuild;
    set_sealed(f, sealed);
    update(f);
    if (f->ahead) {
        /* The same ledger, yet it lost rows we confirmed: starting over could turn revoked into good. Nothing is
         * answered until the ledger is restored properly, which gives it another id. */
        err_set(e, E_CONFLICT, "the core is behind our seq %llu", (unsigned long long)replica_seq(f->replica));
        log_failure("status-ahead", e);
        return E_OK;
    }
    if (rebuild) {
        log_note(LOG_WARN, "replica-rebuilt", "why", "asked by the core");
        responder_forget_answers(f->responder);
        if (replica_reset(f->replica, ledger_id, e) != E_OK)
            return e->code;
        f->built = false;
        if (f->decider)
            decider_reset(f->decider);
    }
    responder_core_time(f->responder, floor, true);
    log_begin(&l, LOG_INFO, "status-following");
    log_u64(&l, "from", replica_seq(f->replica));
    log_str(&l, "sealed", sealed ? "yes" : "no");
    log_end(&l);
    return E_OK;
}

static void issuers_begin(struct follower *f)
{
    responder_issuers_begin(f->responder);
    if (f->decider)
        access_issuers_begin(decider_access(f->decider));
}

static enum err_code on_issuer(struct follower *f, struct msg_reader *r, struct err *e)
{
    struct follow_issuer in;

    if (follow_issuer_decode(r, &in, e) != E_OK)
        return err_wrap(e, "FOLLOW_ISSUER");
    if (!f->issuers_open) {
        issuers_begin(f);
        f->issuers_open = true;
        f->issuers_n = 0;
    }
    if (++f->issuers_n > ISSUERS_MAX)
        return err_set(e, E_INVALID, "more than %d issuers", ISSUERS_MAX);
    if (f->decider && access_issuers_add(decider_access(f->decider), &in, e) != E_OK)
        return e->code;
    return responder_issuers_add(f->responder, &in, f->ops.offers(f->ops.arg, in.name), e);
}

static enum err_code on_issuers_end(struct follower *f, struct msg_reader *r, struct err *e)
{
    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "FOLLOW_ISSUERS_END");
    if (!f->issuers_open)
        issuers_begin(f); /* a ledger without a CA yet */
    f->issuers_open = false;
    responder_issuers_end(f->responder);
    if (f->decider)
        access_issuers_end(decider_access(f->decider));
    f->ops.issuers_changed(f->ops.arg);
    return E_OK;
}

static enum err_code on_rows(struct follower *f, struct msg_reader *r, struct err *e)
{
    size_t n = msg_get_u32(r), refused = 0;

    if (n == 0 || n > ROWS_MAX)
        return err_set(e, E_INVALID, "FOLLOW_ROWS of %zu rows", n);
    for (size_t i = 0; i < n && !r->failed; i++)
        status_row_get(r, &f->rows[i]);
    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "FOLLOW_ROWS");
    if (f->ahead) { /* we answer nothing, so nothing contradicts them */
        acknowledge(f, f->rows[n - 1].seq);
        return E_OK;
    }
    if (replica_apply(f->replica, f->rows, n, &refused, e) != E_OK)
        return e->code;
    note_refused(f, refused);
    if (f->decider && decider_rows(f->decider, f->rows, n, e) != E_OK)
        return e->code;
    /* Kept answers about these certificates go before the core hears that the rows are in force. */
    responder_rows_applied(f->responder, f->rows, n);
    acknowledge(f, replica_seq(f->replica));
    reach_target(f);
    pause_while_merging(f);
    return E_OK;
}

/* As they stand now; rows that name them follow. */
static enum err_code on_devices(struct follower *f, struct msg_reader *r, struct err *e)
{
    static struct access_device v[DEVICES_MAX];
    static char room[DEVICES_MAX][DEVICE_ROOM];
    size_t n = msg_get_u32(r);

    if (n == 0 || n > DEVICES_MAX || !f->decider)
        return err_set(e, E_INVALID, "FOLLOW_DEVICES of %zu devices", n);
    for (size_t i = 0; i < n && !r->failed; i++)
        follow_device_get(r, &v[i], room[i]);
    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "FOLLOW_DEVICES");
    if (f->ahead)
        return E_OK;
    if (replica_put_devices(f->replica, v, n, e) != E_OK)
        return e->code;
    pause_while_merging(f);
    return decider_devices(f->decider, v, n, e);
}

static enum err_code on_feed_key(struct follower *f, struct msg_reader *r, struct err *e)
{
    struct follow_feed_key key;

    if (follow_feed_key_decode(r, &key, e) != E_OK)
        return err_wrap(e, "FOLLOW_FEED_KEY");
    if (!f->decider)
        return E_OK;
    if (feed_set_key(decider_feed(f->decider), &key, e) != E_OK)
        return e->code;
    f->ops.issuers_changed(f->ops.arg);
    return E_OK;
}

static enum err_code on_current(struct follower *f, struct msg_reader *r, struct err *e)
{
    uint64_t seq = msg_get_u64(r), ask_id = r->request_id;
    bool sealed = msg_get_bool(r);
    int64_t floor = msg_get_i64(r);

    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "FOLLOW_CURRENT");
    if (f->ahead)
        return E_OK;
    if (seq < replica_seq(f->replica))
        return err_set(e, E_INVALID, "the core is at seq %llu, behind our %llu", (unsigned long long)seq,
                       (unsigned long long)replica_seq(f->replica));
    set_sealed(f, sealed);
    responder_core_time(f->responder, floor, false);
    if (!f->target_known) {
        f->target_known = true;
        f->target = seq;
        if (consider_building(f, e) != E_OK)
            return e->code;
    }
    update(f);
    reach_target(f);
    if (f->decider && !sealed)
        decider_current(f->decider, seq);
    if (f->decider && ask_id & DECIDER_ASK_BIT)
        decider_core_seq(f->decider, ask_id, seq);
    else if (ask_id)
        responder_core_seq(f->responder, ask_id, seq);
    return E_OK;
}

/*
 * A burst of rows is many messages, and the loop hears a front, and sends it what was answered, only between two turns of the link. The
 * first yield lets a front on the same core hand over its question, the second lets it pass the answer on.
 */
static void serve_first(struct follower *f)
{
    sched_yield();
    if (f->ops.serve(f->ops.arg))
        sched_yield();
}

static enum err_code handle(struct follower *f, struct msg_reader *r, int fd, struct err *e)
{
    if (fd >= 0)
        return err_set(e, E_INVALID, "a descriptor beside message 0x%04x", r->type);
    if (r->type != FOLLOW_BEGIN && !f->begun)
        return err_set(e, E_INVALID, "message 0x%04x before FOLLOW_BEGIN", r->type);
    switch (r->type) {
    case FOLLOW_BEGIN:
        return on_begin(f, r, e);
    case FOLLOW_ISSUER:
        return on_issuer(f, r, e);
    case FOLLOW_ISSUERS_END:
        return on_issuers_end(f, r, e);
    case FOLLOW_ROWS:
        serve_first(f);
        return on_rows(f, r, e);
    case FOLLOW_CURRENT:
        return on_current(f, r, e);
    case FOLLOW_DEVICES:
        serve_first(f);
        return on_devices(f, r, e);
    case FOLLOW_FEED_KEY:
        return on_feed_key(f, r, e);
    default:
        return err_set(e, E_INVALID, "unknown message type 0x%04x", r->type);
    }
}

static void drop_link(struct follower *f)
{
    chan_free(f->chan);
    f->chan = NULL;
    f->begun = f->issuers_open = false;
    responder_core_lost(f->responder);
    if (f->decider)
        decider_core_lost(f->decider);
    tell_state(f);
}

static void on_message(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    struct follower *f = arg;
    struct err e = {0};

    (void)c;
    if (fd >= 0)
        close(fd);
    if (handle(f, r, fd, &e) == E_OK)
        return;
    drop_link(f);
    f->ops.doubt(f->ops.arg, "follow-failed", &e);
}

static void on_gone(struct chan *c, const struct err *why, void *arg)
{
    struct follower *f = arg;

    (void)c;
    log_failure("core-lost", why);
    drop_link(f);
}

void follower_link(struct follower *f, int fd)
{
    static const struct chan_ops ops = {on_message, on_gone};
    AUTO_MSG m;
    struct err e;

    if (f->chan)
        drop_link(f);
    msg_begin(&m, FOLLOW_HELLO, 0);
    msg_put_bytes(&m, replica_ledger_id(f->replica));
    msg_put_u64(&m, replica_seq(f->replica));
    msg_put_bool(&m, f->decider != NULL);
    f->chan = chan_new(f->base, fd, &ops, f, QUEUE_MAX, &e);
    if (!f->chan) {
        f->ops.doubt(f->ops.arg, "follow-failed", &e);
        return;
    }
    chan_turn(f->chan, TURN_US);
    (void)send_msg(f, &m);
    tell_state(f);
    pause_while_merging(f);
}

void follower_rest(struct follower *f)
{
    replica_rest(f->replica);
    pause_while_merging(f);
}

bool follower_ask(struct follower *f, uint64_t ask_id)
{
    AUTO_MSG m;

    msg_begin(&m, FOLLOW_ASK, ask_id);
    return f->begun && send_msg(f, &m);
}

void follower_tell_seen(struct follower *f, uint64_t device)
{
    AUTO_MSG m;

    msg_begin(&m, FOLLOW_SEEN, 0);
    msg_put_u64(&m, device);
    if (f->begun)
        (void)send_msg(f, &m);
    else
        msg_clear(&m);
}

void follower_tell_gateway(struct follower *f, const struct follow_gateway *gateway)
{
    AUTO_MSG m;

    msg_begin(&m, FOLLOW_GATEWAY, 0);
    follow_gateway_encode(&m, gateway);
    if (f->begun)
        (void)send_msg(f, &m);
}

bool follower_is_linked(const struct follower *f)
{
    return f->chan != NULL;
}

bool follower_is_current(const struct follower *f)
{
    return f->current;
}

bool follower_is_sealed(const struct follower *f)
{
    return f->sealed;
}

void follower_set_responder(struct follower *f, struct responder *responder)
{
    f->responder = responder;
}

void follower_set_decider(struct follower *f, struct decider *decider)
{
    f->decider = decider;
}

struct follower *follower_new(struct event_base *base, struct replica *replica, const struct follower_ops *ops,
                              struct err *e)
{
    struct follower *f = calloc(1, sizeof(*f));

    if (!f) {
        err_set(e, E_NOMEM, "follower");
        return NULL;
    }
    f->base = base;
    f->replica = replica;
    f->ops = *ops;
    f->build = evtimer_new(base, on_build, f);
    f->merging = evtimer_new(base, on_merging, f);
    if (!f->build || !f->merging) {
        err_set(e, E_NOMEM, "follower");
        follower_free(f);
        return NULL;
    }
    return f;
}

void follower_free(struct follower *f)
{
    if (!f)
        return;
    chan_free(f->chan);
    if (f->build)
        event_free(f->build);
    if (f->merging)
        event_free(f->merging);
    free(f);
}
