/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger_probe: for each line "STATE MARKS" on standard input (directories), what the core does with them when it starts, as
 * far as ledger and marks go: open, settle, void what is open, compare with the marks, verify the trail. One line of JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/auto.h"
#include "ca/audit.h"
#include "ca/store/store.h"

AUTO_TYPE(json_t, json_decref)

#define WHEN 2000000000 /* of voided intents; nothing here looks at it */

static enum err_code look(const char *state, const char *marks, json_t *out, struct err *e)
{
    char path[4096], heads[4096];
    AUTO_BUF behind = BUF_INIT(64 * 1024);
    struct marks *m = calloc(1, sizeof(*m));
    struct audit_verdict verdict = {0};
    struct store *s = NULL;
    uint64_t voided = 0, seq = 0;
    enum err_code code, audit;
    struct err why = {0};

    if (!m)
        return err_set(e, E_NOMEM, "marks");
    snprintf(path, sizeof(path), "%s/ledger/ledger.db", state);
    snprintf(heads, sizeof(heads), "%s/audit-heads", marks);
    code = store_open(path, STORE_WRITE, &s, e);
    if (code == E_OK)
        code = store_begin(s, e);
    if (code == E_OK)
        code = store_intent_void_open(s, WHEN, &voided, e);
    if (code == E_OK)
        code = store_commit(s, e);
    if (code == E_OK)
        code = store_status_seq(s, &seq, e);
    if (code == E_OK && (code = marks_read(marks, m, e)) == E_OK)
        code = marks_behind(s, m, &behind, e);
    else if (code == E_NOT_FOUND)
        code = E_OK; /* none were written yet */
    store_close(s);
    free(m);
    if (code != E_OK)
        return code;
    audit = audit_verify(path, access(heads, F_OK) == 0 ? heads : NULL, BYTES(NULL, 0), &verdict, &why);
    json_object_set_new(out, "seq", json_integer((json_int_t)seq));
    json_object_set_new(out, "voided", json_integer((json_int_t)voided));
    json_object_set_new(out, "behind", json_stringn(behind.p ? (const char *)behind.p : "", behind.len));
    json_object_set_new(out, "trail", json_string(audit == E_OK ? "" : audit == E_CONFLICT ? verdict.what : why.msg));
    return E_OK;
}

int main(void)
{
    char line[8192], *save = NULL;

    while (fgets(line, sizeof(line), stdin)) {
        const char *state = strtok_r(line, " \n", &save), *marks = strtok_r(NULL, " \n", &save);
        AUTO(json_t) *out = json_object();
        AUTO(char) *text = NULL;
        struct err e = {0};

        if (!state || !marks || !out)
            return 2;
        if (look(state, marks, out, &e) != E_OK)
            json_object_set_new(out, "error", json_string(e.msg));
        text = json_dumps(out, JSON_COMPACT);
        if (!text || printf("%s\n", text) < 0 || fflush(stdout) != 0)
            return 1;
    }
    return 0;
}
