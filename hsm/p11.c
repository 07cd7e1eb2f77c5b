/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/p11.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"

/* ---- results ---- */

/* Codes differ by module (a C_Sign after the login was lost: OBJECT_HANDLE_INVALID, KEY_HANDLE_INVALID or HOST_MEMORY), so
 * the class decides, never the single code. */
#define RV(name, class) {name, #name, class}
static const struct {
    CK_RV rv;
    const char *name;
    enum rv_class class;
} results[] = {
    RV(CKR_OK, RV_FINE),

    RV(CKR_ARGUMENTS_BAD, RV_JOB),
    RV(CKR_DATA_INVALID, RV_JOB),
    RV(CKR_DATA_LEN_RANGE, RV_JOB),
    RV(CKR_MECHANISM_INVALID, RV_JOB),
    RV(CKR_MECHANISM_PARAM_INVALID, RV_JOB),
    RV(CKR_KEY_SIZE_RANGE, RV_JOB),
    RV(CKR_KEY_TYPE_INCONSISTENT, RV_JOB),
    RV(CKR_KEY_FUNCTION_NOT_PERMITTED, RV_JOB),
    RV(CKR_ATTRIBUTE_READ_ONLY, RV_JOB),
    RV(CKR_ATTRIBUTE_SENSITIVE, RV_JOB),
    RV(CKR_ATTRIBUTE_TYPE_INVALID, RV_JOB),
    RV(CKR_ATTRIBUTE_VALUE_INVALID, RV_JOB),
    RV(CKR_TEMPLATE_INCOMPLETE, RV_JOB),
    RV(CKR_TEMPLATE_INCONSISTENT, RV_JOB),
    RV(CKR_CURVE_NOT_SUPPORTED, RV_JOB),
    RV(CKR_DOMAIN_PARAMS_INVALID, RV_JOB),
    RV(CKR_ACTION_PROHIBITED, RV_JOB),
    RV(CKR_FUNCTION_NOT_SUPPORTED, RV_JOB),
    RV(CKR_TOKEN_WRITE_PROTECTED, RV_JOB),
    RV(CKR_SESSION_READ_ONLY, RV_JOB),
    RV(CKR_KEY_NOT_WRAPPABLE, RV_JOB),
    RV(CKR_KEY_UNEXTRACTABLE, RV_JOB),
    RV(CKR_WRAPPED_KEY_INVALID, RV_JOB),
    RV(CKR_WRAPPING_KEY_SIZE_RANGE, RV_JOB),
    RV(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, RV_JOB),

    RV(CKR_SESSION_HANDLE_INVALID, RV_SESSION),
    RV(CKR_SESSION_CLOSED, RV_SESSION),
    RV(CKR_OPERATION_ACTIVE, RV_SESSION),
    RV(CKR_OPERATION_NOT_INITIALIZED, RV_SESSION),
    RV(CKR_FUNCTION_FAILED, RV_SESSION),
    RV(CKR_FUNCTION_CANCELED, RV_SESSION),
    RV(CKR_BUFFER_TOO_SMALL, RV_SESSION),

    RV(CKR_USER_NOT_LOGGED_IN, RV_STALE),
    RV(CKR_OBJECT_HANDLE_INVALID, RV_STALE),
    RV(CKR_KEY_HANDLE_INVALID, RV_STALE),
    RV(CKR_HOST_MEMORY, RV_STALE),

    RV(CKR_DEVICE_ERROR, RV_DEVICE),
    RV(CKR_DEVICE_REMOVED, RV_DEVICE),
    RV(CKR_DEVICE_MEMORY, RV_DEVICE),
    RV(CKR_TOKEN_NOT_PRESENT, RV_DEVICE),
    RV(CKR_TOKEN_NOT_RECOGNIZED, RV_DEVICE),
    RV(CKR_GENERAL_ERROR, RV_DEVICE),
    RV(CKR_SLOT_ID_INVALID, RV_DEVICE),
    RV(CKR_CRYPTOKI_NOT_INITIALIZED, RV_DEVICE),
    RV(CKR_CRYPTOKI_ALREADY_INITIALIZED, RV_DEVICE),
    RV(CKR_NEED_TO_CREATE_THREADS, RV_DEVICE),
    RV(CKR_CANT_LOCK, RV_DEVICE),
    RV(CKR_USER_TYPE_INVALID, RV_DEVICE),
    RV(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, RV_DEVICE),
    RV(CKR_USER_ALREADY_LOGGED_IN, RV_DEVICE),
    RV(CKR_USER_TOO_MANY_TYPES, RV_DEVICE),
    RV(CKR_USER_PIN_NOT_INITIALIZED, RV_DEVICE),
    RV(CKR_RANDOM_NO_RNG, RV_DEVICE),
    RV(CKR_SESSION_READ_ONLY_EXISTS, RV_DEVICE),

    RV(CKR_SESSION_COUNT, RV_CAPACITY),

    RV(CKR_PIN_INCORRECT, RV_PIN),
    RV(CKR_PIN_INVALID, RV_PIN),
    RV(CKR_PIN_LEN_RANGE, RV_PIN),
    RV(CKR_PIN_EXPIRED, RV_PIN),
    RV(CKR_PIN_LOCKED, RV_PIN),
};
#undef RV

enum rv_class rv_class(CK_RV rv)
{
    for (size_t i = 0; i < ARRAY_LEN(results); i++)
        if (results[i].rv == rv)
            return results[i].class;
    return RV_DEVICE;
}

const char *rv_name(CK_RV rv)
{
    for (size_t i = 0; i < ARRAY_LEN(results); i++)
        if (results[i].rv == rv)
            return results[i].name;
    return "CKR_unknown";
}

enum err_code err_rv(struct err *e, CK_RV rv, const char *call)
{
    err_set(e, E_TOKEN, "%s: %s (0x%lx)", call, rv_name(rv), rv);
    if (e)
        e->native = rv;
    return E_TOKEN;
}

/* ---- module ---- */

/* Fixed-size, blank-padded text of PKCS#11, made printable. */
static void padded_text(const CK_UTF8CHAR *from, size_t size, char *out)
{
    while (size > 0 && (from[size - 1] == ' ' || from[size - 1] == '\0'))
        size--;
    for (size_t i = 0; i < size; i++)
        out[i] = from[i] < 0x20 || from[i] == 0x7f ? '?' : (char)from[i];
    out[size] = '\0';
}

enum err_code p11_load(struct p11 *m, const char *path, struct err *e)
{
    CK_C_GetFunctionList get_list;
    CK_RV rv;

    *m = (struct p11){0};
    if (path[0] != '/')
        return err_set(e, E_INVALID, "PKCS#11 module \"%s\": not an absolute path", path);
    m->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!m->handle)
        return err_set(e, E_NOT_FOUND, "PKCS#11 module: %s", dlerror());
    *(void **)&get_list = dlsym(m->handle, "C_GetFunctionList");
    if (!get_list)
        return err_set(e, E_INVALID, "\"%s\" is not a PKCS#11 module: no C_GetFunctionList", path);
    rv = get_list(&m->f);
    if (rv != CKR_OK)
        return err_rv(e, rv, "C_GetFunctionList");
    if (!m->f || m->f->version.major != 2)
        return err_set(e, E_INVALID, "PKCS#11 module \"%s\": not version 2", path);
    return E_OK;
}

enum err_code p11_initialise(struct p11 *m, const char *init_args, struct err *e)
{
    CK_C_INITIALIZE_ARGS args = {0};
    CK_INFO info = {0};
    CK_RV rv;

    args.flags = CKF_OS_LOCKING_OK;
    if (init_args && init_args[0])
        args.pReserved = (void *)(uintptr_t)init_args;
    rv = m->f->C_Initialize(&args);
    if (rv != CKR_OK)
        return err_rv(e, rv, "C_Initialize");
    m->initialised = true;
    rv = m->f->C_GetInfo(&info);
    if (rv != CKR_OK) {
        p11_finalise(m);
        return err_rv(e, rv, "C_GetInfo");
    }
    padded_text(info.libraryDescription, sizeof(info.libraryDescription), m->library);
    snprintf(m->library + strlen(m->library), sizeof(m->library) - strlen(m->library), " %u.%u",
             info.libraryVersion.major, info.libraryVersion.minor);
    return E_OK;
}

void p11_finalise(struct p11 *m)
{
    if (m->initialised)
        (void)m->f->C_Finalize(NULL);
    m->initialised = false;
}

/* ---- token ---- */

#define SLOTS_MAX 1024

static void token_fill(struct p11_token *t, const CK_TOKEN_INFO *i)
{
    padded_text(i->label, sizeof(i->label), t->label);
    padded_text(i->serialNumber, sizeof(i->serialNumber), t->serial);
    padded_text(i->model, sizeof(i->model), t->model);
    padded_text(i->manufacturerID, sizeof(i->manufacturerID), t->manufacturer);
    snprintf(t->firmware, sizeof(t->firmware), "%u.%u", i->firmwareVersion.major, i->firmwareVersion.minor);
    t->flags = i->flags;
    t->sessions_max = i->ulMaxSessionCount == CK_UNAVAILABLE_INFORMATION ? 0 : i->ulMaxSessionCount;
}

enum err_code p11_find_token(struct p11 *m, const char *label, const char *serial, struct p11_token *out,
                             struct err *e)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    size_t found = 0;
    CK_RV rv = m->f->C_GetSlotList(CK_TRUE, slots, &n);

    *out = (struct p11_token){.m = m};
    if (rv != CKR_OK)
        return err_rv(e, rv, "C_GetSlotList");
    for (CK_ULONG i = 0; i < n; i++) {
        struct p11_token t = {.m = m, .slot = slots[i]};
        CK_TOKEN_INFO info = {0};

        rv = m->f->C_GetTokenInfo(slots[i], &info);
        if (rv != CKR_OK) /* another token's trouble is not ours */
            continue;
        token_fill(&t, &info);
        if (!(t.flags & CKF_TOKEN_INITIALIZED) || strcmp(t.label, label) != 0 ||
            (serial && serial[0] && strcmp(t.serial, serial) != 0))
            continue;
        *out = t;
        found++;
    }
    if (found == 0)
        return err_set(e, E_NOT_FOUND, "no token with label \"%s\"%s%s%s among %lu slots", label,
                       serial && serial[0] ? " and serial \"" : "", serial ? serial : "",
                       serial && serial[0] ? "\"" : "", n);
    if (found > 1)
        return err_set(e, E_CONFLICT, "%zu tokens with label \"%s\": set the serial too", found, label);
    return E_OK;
}

enum err_code p11_token_refresh(struct p11_token *t, struct err *e)
{
    struct p11_token now = *t;
    CK_TOKEN_INFO info = {0};
    CK_RV rv = t->m->f->C_GetTokenInfo(t->slot, &info);

    if (rv != CKR_OK)
        return err_rv(e, rv, "C_GetTokenInfo");
    token_fill(&now, &info);
    if (strcmp(now.label, t->label) != 0 || strcmp(now.serial, t->serial) != 0)
        return err_set(e, E_TOKEN, "slot holds another token now: label \"%s\" serial \"%s\"", now.label, now.serial);
    *t = now;
    return E_OK;
}

CK_RV p11_open_session(const struct p11_token *t, bool writable, CK_SESSION_HANDLE *out)
{
    *out = CK_INVALID_HANDLE;
    return t->m->f->C_OpenSession(t->slot, CKF_SERIAL_SESSION | (writable ? CKF_RW_SESSION : 0), NULL, NULL, out);
}
