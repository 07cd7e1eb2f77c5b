/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 module for tests: forwards to the real one, counts, and fails on request.
 *
 *   INKAN_SHIM_MODULE  path of the real module
 *   INKAN_SHIM_RULES   rules file, read again whenever it changes; missing = no rules
 *   INKAN_SHIM_CALLS   one line per call is appended: the function's name
 *   INKAN_SHIM_SIGNED  one line per C_Sign is appended: mechanism and data, both hex
 *   INKAN_SHIM_PIN     how many wrong user PINs the token has seen in a row, for pin_lock; outlives the process
 *
 * One rule per line: FUNCTION key=value ...; FUNCTION is a name below or *. All matching rules act.
 *   rv=N         return this code; the real function is not called, so its operation stays open
 *   latency_ms=N sleep first
 *   jitter_ms=N  and up to N more, by chance
 *   hang=1       sleep for an hour
 *   kill=before  SIGKILL to the own process before the real call; kill=after: after it
 *   fork=1       make a child process first, which ends at once
 *   drop=1       close every session of every slot first
 *   lose=1       close the session of this call first: the real function says CKR_SESSION_HANDLE_INVALID
 *   flip=1       C_Sign: one bit of the signature
 *   attr=N value=0|1   C_GetAttributeValue: report this boolean for the attribute
 *   flags=N      C_GetTokenInfo: set these flags
 *   pin_lock=N   C_Login: after N wrong user PINs in a row CKR_PIN_LOCKED, for the right one too, as hardware does;
 *                C_GetTokenInfo then says COUNT_LOW, FINAL_TRY, LOCKED (needs the rule as well)
 * When it acts: after=N (not for the first N calls), every=N (every Nth from then on), first=N (at most N times),
 * chance=N (in N of 10,000 of those). Counting starts anew when the file changes.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

struct rule {
    char function[32];
    unsigned long rv, latency_ms, jitter_ms, hang, kill_before, kill_after, fork, drop, lose, flip, attr, value, flags;
    unsigned long pin_lock, after, every, first, chance;
    unsigned long seen, hits;
};

#define RULES_MAX 32
static CK_FUNCTION_LIST *real, shim;
static struct rule rules[RULES_MAX];
static size_t rules_n;
static struct stat rules_stat;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread CK_MECHANISM_TYPE last_mechanism;
/* A token that drops its sessions does so between calls; doing it inside another thread's call is a crash of SoftHSM. */
static pthread_rwlock_t calls = PTHREAD_RWLOCK_INITIALIZER;

static void append(const char *variable, const char *text, size_t n)
{
    const char *path = getenv(variable);
    int fd;

    if (!path)
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (write(fd, text, n) != (ssize_t)n)
        abort();
    close(fd);
}

static void set(struct rule *r, const char *key, const char *value)
{
    unsigned long n = strtoul(value, NULL, 0);
    const struct {
        const char *key;
        unsigned long *at;
    } fields[] = {{"rv", &r->rv},       {"latency_ms", &r->latency_ms}, {"jitter_ms", &r->jitter_ms}, {"hang", &r->hang},
                  {"fork", &r->fork},   {"drop", &r->drop},             {"lose", &r->lose},           {"flip", &r->flip},
                  {"attr", &r->attr},   {"value", &r->value},           {"flags", &r->flags},         {"pin_lock", &r->pin_lock},
                  {"after", &r->after}, {"every", &r->every},           {"first", &r->first},         {"chance", &r->chance}};

    if (strcmp(key, "kill") == 0)
        *(strcmp(value, "after") == 0 ? &r->kill_after : &r->kill_before) = 1;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (strcmp(key, fields[i].key) == 0)
            *fields[i].at = n;
}

static void read_rules(void)
{
    const char *path = getenv("INKAN_SHIM_RULES");
    char line[256];
    struct stat st;
    FILE *f;

    if (!path || stat(path, &st) != 0) {
        rules_n = 0;
        memset(&rules_stat, 0, sizeof(rules_stat));
        return;
    }
    if (st.st_ino == rules_stat.st_ino && st.st_size == rules_stat.st_size &&
        memcmp(&st.st_mtim, &rules_stat.st_mtim, sizeof(st.st_mtim)) == 0)
        return;
    rules_stat = st;
    rules_n = 0;
    f = fopen(path, "re");
    while (f && rules_n < RULES_MAX && fgets(line, sizeof(line), f)) {
        char *save = NULL, *word = strtok_r(line, " \t\n", &save);
        struct rule r = {.every = 1};

        if (!word || word[0] == '#')
            continue;
        snprintf(r.function, sizeof(r.function), "%s", word);
        while ((word = strtok_r(NULL, " \t\n", &save)) != NULL) {
            char *eq = strchr(word, '=');
            if (!eq)
                continue;
            *eq = '\0';
            set(&r, word, eq + 1);
        }
        rules[rules_n++] = r;
    }
    if (f)
        fclose(f);
}

static void drop_sessions(void)
{
    CK_SLOT_ID slots[64];
    CK_ULONG n = 64;

    pthread_rwlock_wrlock(&calls);
    if (real->C_GetSlotList(CK_TRUE, slots, &n) == CKR_OK)
        for (CK_ULONG i = 0; i < n; i++)
            (void)real->C_CloseAllSessions(slots[i]);
    pthread_rwlock_unlock(&calls);
}

/* 0 .. n - 1; under `lock`. */
static unsigned long by_chance(unsigned long n)
{
    static uint64_t state;

    if (!state)
        state = ((uint64_t)time(NULL) << 20 ^ (uint64_t)getpid()) | 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned long)(state % n);
}

/* Counts the call and gathers what the rules want of it. */
static struct rule enter(const char *function)
{
    struct rule sum = {.rv = CKR_OK};
    char line[40];
    int n = snprintf(line, sizeof(line), "%s\n", function);

    append("INKAN_SHIM_CALLS", line, (size_t)n);
    pthread_mutex_lock(&lock);
    read_rules();
    for (size_t i = 0; i < rules_n; i++) {
        struct rule *r = &rules[i];

        if (strcmp(r->function, function) != 0 && strcmp(r->function, "*") != 0)
            continue;
        if (++r->seen <= r->after || (r->seen - r->after) % (r->every ? r->every : 1) != 0 ||
            (r->first && r->hits >= r->first) || (r->chance && by_chance(10000) >= r->chance))
            continue;
        r->hits++;
        sum.latency_ms += r->latency_ms + (r->jitter_ms ? by_chance(r->jitter_ms + 1) : 0);
        sum.hang |= r->hang;
        sum.kill_before |= r->kill_before;
        sum.kill_after |= r->kill_after;
        sum.fork |= r->fork;
        sum.drop |= r->drop;
        sum.lose |= r->lose;
        sum.flip |= r->flip;
        sum.flags |= r->flags;
        sum.pin_lock += r->pin_lock;
        if (r->attr) {
            sum.attr = r->attr;
            sum.value = r->value;
        }
        if (r->rv)
            sum.rv = r->rv;
    }
    pthread_mutex_unlock(&lock);
    if (sum.latency_ms || sum.hang) {
        struct timespec t = {sum.hang ? 3600 : (time_t)(sum.latency_ms / 1000), (long)(sum.latency_ms % 1000) * 1000000};
        nanosleep(&t, NULL);
    }
    if (sum.kill_before)
        kill(getpid(), SIGKILL);
    if (sum.fork && fork() == 0)
        _exit(0);
    if (sum.drop)
        drop_sessions();
    return sum;
}

/* `session`: of the call, CK_INVALID_HANDLE where it has none */
#define FORWARD_FOR(session, function, ...)                                                                            \
    struct rule r = enter(#function);                                                                                  \
    CK_RV rv = r.rv;                                                                                                   \
    if (r.lose && session != CK_INVALID_HANDLE)                                                                        \
        (void)real->C_CloseSession(session);                                                                           \
    if (rv == CKR_OK) {                                                                                                \
        pthread_rwlock_rdlock(&calls);                                                                                 \
        rv = real->function(__VA_ARGS__);                                                                              \
        pthread_rwlock_unlock(&calls);                                                                                 \
    }                                                                                                                  \
    if (r.kill_after)                                                                                                  \
    kill(getpid(), SIGKILL)
#define FORWARD(function, ...)    FORWARD_FOR(CK_INVALID_HANDLE, function, __VA_ARGS__)
#define FORWARD_IN(function, ...) FORWARD_FOR(h, function, __VA_ARGS__) /* its first argument is a session h */

/* ---- the token's count of wrong PINs ---- */

static unsigned long wrong_pins(void)
{
    const char *path = getenv("INKAN_SHIM_PIN");
    unsigned long n = 0;
    FILE *f = path ? fopen(path, "re") : NULL;

    if (f && fscanf(f, "%lu", &n) != 1)
        n = 0;
    if (f)
        fclose(f);
    return n;
}

static void count_wrong_pins(unsigned long n)
{
    const char *path = getenv("INKAN_SHIM_PIN");
    FILE *f = path ? fopen(path, "we") : NULL;

    if (!f || fprintf(f, "%lu\n", n) < 0 || fclose(f) != 0)
        abort();
}

static CK_RV s_Initialize(void *a) { FORWARD(C_Initialize, a); return rv; }
static CK_RV s_Finalize(void *a) { FORWARD(C_Finalize, a); return rv; }
static CK_RV s_GetSlotList(CK_BBOOL p, CK_SLOT_ID *s, CK_ULONG *n) { FORWARD(C_GetSlotList, p, s, n); return rv; }
static CK_RV s_InitToken(CK_SLOT_ID s, CK_UTF8CHAR *p, CK_ULONG n, CK_UTF8CHAR *l) { FORWARD(C_InitToken, s, p, n, l); return rv; }
static CK_RV s_InitPIN(CK_SESSION_HANDLE h, CK_UTF8CHAR *p, CK_ULONG n) { FORWARD_IN(C_InitPIN, h, p, n); return rv; }
static CK_RV s_OpenSession(CK_SLOT_ID s, CK_FLAGS f, void *a, CK_NOTIFY n, CK_SESSION_HANDLE *h) { FORWARD(C_OpenSession, s, f, a, n, h); return rv; }
static CK_RV s_CloseSession(CK_SESSION_HANDLE h) { FORWARD_IN(C_CloseSession, h); return rv; }
static CK_RV s_GetSessionInfo(CK_SESSION_HANDLE h, CK_SESSION_INFO *i) { FORWARD_IN(C_GetSessionInfo, h, i); return rv; }
static CK_RV s_FindObjectsInit(CK_SESSION_HANDLE h, CK_ATTRIBUTE *t, CK_ULONG n) { FORWARD_IN(C_FindObjectsInit, h, t, n); return rv; }
static CK_RV s_FindObjects(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE *o, CK_ULONG m, CK_ULONG *n) { FORWARD_IN(C_FindObjects, h, o, m, n); return rv; }
static CK_RV s_FindObjectsFinal(CK_SESSION_HANDLE h) { FORWARD_IN(C_FindObjectsFinal, h); return rv; }
static CK_RV s_DestroyObject(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o) { FORWARD_IN(C_DestroyObject, h, o); return rv; }
static CK_RV s_GenerateKeyPair(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_ATTRIBUTE *a, CK_ULONG an, CK_ATTRIBUTE *b, CK_ULONG bn, CK_OBJECT_HANDLE *p, CK_OBJECT_HANDLE *k)
{
    FORWARD_IN(C_GenerateKeyPair, h, m, a, an, b, bn, p, k);
    return rv;
}

static CK_RV s_Login(CK_SESSION_HANDLE h, CK_USER_TYPE u, CK_UTF8CHAR *p, CK_ULONG n)
{
    FORWARD_IN(C_Login, h, u, p, n);
    if (!r.pin_lock || u != CKU_USER)
        return rv;
    if (wrong_pins() >= r.pin_lock) {
        if (rv == CKR_OK)
            (void)real->C_Logout(h);
        return CKR_PIN_LOCKED;
    }
    if (rv == CKR_OK || rv == CKR_PIN_INCORRECT)
        count_wrong_pins(rv == CKR_OK ? 0 : wrong_pins() + 1);
    return rv;
}

static CK_RV s_GetTokenInfo(CK_SLOT_ID s, CK_TOKEN_INFO *t)
{
    FORWARD(C_GetTokenInfo, s, t);
    if (rv != CKR_OK)
        return rv;
    t->flags |= r.flags;
    if (r.pin_lock && wrong_pins() > 0)
        t->flags |= CKF_USER_PIN_COUNT_LOW;
    if (r.pin_lock && wrong_pins() + 1 == r.pin_lock)
        t->flags |= CKF_USER_PIN_FINAL_TRY;
    if (r.pin_lock && wrong_pins() >= r.pin_lock)
        t->flags |= CKF_USER_PIN_LOCKED;
    return rv;
}

static CK_RV s_GetAttributeValue(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n)
{
    FORWARD_IN(C_GetAttributeValue, h, o, t, n);
    for (CK_ULONG i = 0; rv == CKR_OK && r.attr && i < n; i++)
        if (t[i].type == r.attr && t[i].pValue && t[i].ulValueLen == sizeof(CK_BBOOL))
            *(CK_BBOOL *)t[i].pValue = r.value ? CK_TRUE : CK_FALSE;
    return rv;
}

static CK_RV s_SignInit(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE k)
{
    FORWARD_IN(C_SignInit, h, m, k);
    last_mechanism = m ? m->mechanism : 0;
    return rv;
}

static void note_data(const CK_BYTE *data, CK_ULONG n)
{
    char *line;
    size_t at;

    if (!getenv("INKAN_SHIM_SIGNED") || !(line = malloc(2 * n + 32)))
        return;
    at = (size_t)sprintf(line, "%lx ", last_mechanism);
    for (CK_ULONG i = 0; i < n; i++)
        at += (size_t)sprintf(line + at, "%02x", data[i]);
    line[at++] = '\n';
    append("INKAN_SHIM_SIGNED", line, at);
    free(line);
}

static CK_RV s_Sign(CK_SESSION_HANDLE h, CK_BYTE *d, CK_ULONG n, CK_BYTE *s, CK_ULONG *sn)
{
    note_data(d, n);
    FORWARD_IN(C_Sign, h, d, n, s, sn);
    if (rv == CKR_OK && r.flip && s && *sn)
        s[*sn / 2] ^= 0x01;
    return rv;
}

static CK_RV s_GetFunctionList(CK_FUNCTION_LIST **l)
{
    *l = &shim;
    return CKR_OK;
}

static CK_RV load(void)
{
    const char *path = getenv("INKAN_SHIM_MODULE");
    void *h = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_C_GetFunctionList get = NULL;

    if (h)
        *(void **)&get = dlsym(h, "C_GetFunctionList");
    if (!get || get(&real) != CKR_OK)
        return CKR_GENERAL_ERROR;
    shim = *real;
    shim.C_GetFunctionList = s_GetFunctionList;
    shim.C_Initialize = s_Initialize;
    shim.C_Finalize = s_Finalize;
    shim.C_GetSlotList = s_GetSlotList;
    shim.C_GetTokenInfo = s_GetTokenInfo;
    shim.C_InitToken = s_InitToken;
    shim.C_InitPIN = s_InitPIN;
    shim.C_OpenSession = s_OpenSession;
    shim.C_CloseSession = s_CloseSession;
    shim.C_GetSessionInfo = s_GetSessionInfo;
    shim.C_Login = s_Login;
    shim.C_FindObjectsInit = s_FindObjectsInit;
    shim.C_FindObjects = s_FindObjects;
    shim.C_FindObjectsFinal = s_FindObjectsFinal;
    shim.C_GetAttributeValue = s_GetAttributeValue;
    shim.C_DestroyObject = s_DestroyObject;
    shim.C_GenerateKeyPair = s_GenerateKeyPair;
    shim.C_SignInit = s_SignInit;
    shim.C_Sign = s_Sign;
    return CKR_OK;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **l)
{
    CK_RV rv = CKR_OK;

    pthread_mutex_lock(&lock);
    if (!real)
        rv = load();
    pthread_mutex_unlock(&lock);
    *l = &shim;
    return rv;
}
