/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/permission.h"

#include <stdio.h>
#include <string.h>

#define AUDITOR  ROLE_BIT(ROLE_AUDITOR)
#define OPERATOR ROLE_BIT(ROLE_OPERATOR)
#define SECURITY ROLE_BIT(ROLE_SECURITY)
#define FACTORY  ROLE_BIT(ROLE_FACTORY)
#define CA_ADMIN ROLE_BIT(ROLE_CA_ADMIN)
#define SYNC     ROLE_BIT(ROLE_SYNC)
#define PEOPLE   (OPERATOR | SECURITY | FACTORY | CA_ADMIN)
#define ANYBODY  (AUDITOR | PEOPLE) /* of flesh and blood: reading is for all of them */
#define TRAIL    (AUDITOR | SECURITY | CA_ADMIN)

#define PLAIN  .signature = false
#define SIGNED .signature = true
#define TWO    .signature = true, .two_persons = true

const struct permission permissions[] = {
    {"status", ANYBODY, PLAIN},
    {"doctor", ANYBODY, PLAIN},

    {"token.list", ANYBODY, PLAIN},
    {"token.info", ANYBODY, PLAIN},
    {"token.init", CA_ADMIN, TWO},
    {"token.unblock", CA_ADMIN, SIGNED},
    {"key.list", ANYBODY, PLAIN},
    {"key.generate", CA_ADMIN, TWO},
    {"key.destroy", CA_ADMIN, TWO},
    {"ca.list", ANYBODY, PLAIN},
    {"ca.show", ANYBODY, PLAIN},
    {"ca.create", CA_ADMIN, TWO},
    {"ca.request", CA_ADMIN, TWO}, /* it makes a key */
    {"ca.install", CA_ADMIN, TWO},
    {"ca.sign", CA_ADMIN, TWO},
    {"ca.root_sign", CA_ADMIN, TWO},
    {"profile.list", ANYBODY, PLAIN},
    {"profile.show", ANYBODY, PLAIN},
    {"domain.list", ANYBODY, PLAIN},
    {"domain.show", ANYBODY, PLAIN},

    {"device.add", OPERATOR | FACTORY, PLAIN},
    {"device.import", OPERATOR | FACTORY, SIGNED}, /* many at once */
    {"device.list", ANYBODY, PLAIN},
    {"device.count", ANYBODY, PLAIN},
    {"device.show", ANYBODY, PLAIN},
    {"device.history", ANYBODY, PLAIN},
    {"device.set_firmware", OPERATOR | FACTORY, PLAIN},
    {"device.ship", OPERATOR | FACTORY, PLAIN},
    {"device.unship", OPERATOR | FACTORY, PLAIN},
    {"device.suspend", OPERATOR | SECURITY, PLAIN},
    {"device.release", OPERATOR | SECURITY, PLAIN},
    {"device.quarantine", OPERATOR | SECURITY, PLAIN},
    {"device.compromise", SECURITY, SIGNED},
    {"device.compromise_confirm", SECURITY, SIGNED},
    {"device.lose", OPERATOR | SECURITY, PLAIN},
    {"device.find", OPERATOR | SECURITY, PLAIN},
    {"device.repair", OPERATOR | FACTORY, PLAIN},
    {"device.repaired", OPERATOR | FACTORY, PLAIN},
    {"device.decommission", OPERATOR | SECURITY, SIGNED},
    {"device.recommission", OPERATOR | SECURITY, SIGNED},
    {"device.dispose", OPERATOR, TWO},
    {"device.transfer", OPERATOR, SIGNED},
    {"device.accept", OPERATOR, SIGNED},
    {"device.transfer_cancel", OPERATOR, SIGNED},
    {"device.stop", OPERATOR | SECURITY, SIGNED},

    {"batch.preview", ANYBODY, PLAIN},
    {"batch.preview_list", ANYBODY, PLAIN},
    {"batch.create", OPERATOR | SECURITY, SIGNED},
    {"batch.create_list", OPERATOR | SECURITY, SIGNED},
    {"batch.list", ANYBODY, PLAIN},
    {"batch.show", ANYBODY, PLAIN},
    {"batch.refused", ANYBODY, PLAIN},
    {"batch.run", OPERATOR | SECURITY, SIGNED}, /* two persons above people.two_person_above units */
    {"batch.pause", OPERATOR | SECURITY, SIGNED},
    {"batch.resume", OPERATOR | SECURITY, SIGNED},
    {"batch.cancel", OPERATOR | SECURITY, SIGNED},
    {"batch.undo", OPERATOR | SECURITY, SIGNED},

    {"secret.add", OPERATOR | SECURITY, SIGNED},
    {"secret.list", ANYBODY, PLAIN},
    {"secret.revoke", OPERATOR | SECURITY, PLAIN},
    {"request.list", ANYBODY, PLAIN},
    {"request.show", ANYBODY, PLAIN},
    {"request.approve", OPERATOR | SECURITY, SIGNED},
    {"request.refuse", OPERATOR | SECURITY, PLAIN},

    {"order.open", FACTORY, PLAIN}, /* the file is signed by whoever may order */
    {"order.list", ANYBODY, PLAIN},
    {"order.status", ANYBODY, PLAIN},
    {"order.units", ANYBODY, PLAIN},
    {"order.close", FACTORY, SIGNED}, /* with force it scraps units: two persons above people.two_person_above of them */
    {"order.export", ANYBODY, PLAIN},
    {"order.report", ANYBODY, PLAIN},
    {"record.signer", ANYBODY, PLAIN},
    {"unit.show", ANYBODY, PLAIN},
    {"station.add", FACTORY, SIGNED},
    {"station.list", ANYBODY, PLAIN},
    {"station.revoke", FACTORY | SECURITY, PLAIN},
    {"kek.add", SECURITY, SIGNED},
    {"kek.list", ANYBODY, PLAIN},
    {"kek.revoke", SECURITY, SIGNED},
    {"capture.list", ANYBODY, PLAIN},
    {"capture.retry", FACTORY, PLAIN},
    {"capture.drop", FACTORY, PLAIN},

    {"cert.issue", CA_ADMIN, SIGNED},
    {"cert.list", ANYBODY, PLAIN},
    {"cert.show", ANYBODY, PLAIN},
    /* Of devices. What is no device's takes the role security and a signature; a CA's, two persons (ca/admin_cert.c). */
    {"cert.revoke", OPERATOR | SECURITY, SIGNED, .second = SECURITY},
    {"cert.hold", OPERATOR | SECURITY, PLAIN},
    {"cert.release", OPERATOR | SECURITY, PLAIN, .second = SECURITY},
    {"crl.list", ANYBODY, PLAIN},
    {"crl.publish", OPERATOR | SECURITY | CA_ADMIN, PLAIN},
    {"crl.get", ANYBODY, PLAIN},
    {"crl.import", SECURITY | CA_ADMIN, PLAIN}, /* signed by the CA above */
    {"ocsp.list", ANYBODY, PLAIN},
    {"gateway.list", ANYBODY, PLAIN},

    {"budget.grant", FACTORY, SIGNED},
    {"budget.install", FACTORY, PLAIN}, /* signed by the centre */
    {"budget.list", ANYBODY, PLAIN},
    {"box.list", ANYBODY, PLAIN},
    {"box.show", ANYBODY, PLAIN},
    {"box.records", ANYBODY, PLAIN},
    {"box.report", ANYBODY, PLAIN},
    {"box.link", FACTORY, SIGNED},
    {"box.outbox", SYNC, PLAIN},
    {"box.heard", SYNC, PLAIN},

    {"audit.export", TRAIL, PLAIN},
    {"audit.heads", TRAIL, PLAIN},
    {"alarm.list", ANYBODY, PLAIN},
    {"alarm.show", ANYBODY, PLAIN},
    {"alarm.ack", OPERATOR | SECURITY, PLAIN},
    {"backup", CA_ADMIN, SIGNED, .local = true}, /* a copy of the whole ledger stays on the machine */
    {"restore.accept", 0, SIGNED, .local = true}, /* root's: a restored ledger does not know which operators ended since */
    {"clock.accept", CA_ADMIN | SECURITY, SIGNED},

    {"operator.add", CA_ADMIN, TWO},
    {"operator.change", CA_ADMIN, TWO},
    {"operator.end", CA_ADMIN, TWO}, /* what cannot wait: cert.hold of the operator's certificate */
    {"operator.list", ANYBODY, PLAIN},
    {"operator.show", ANYBODY, PLAIN},
    {"approval.list", ANYBODY, PLAIN},
    {"approval.show", ANYBODY, PLAIN},
    {"approval.approve", PEOPLE, SIGNED}, /* and a role that may do what is approved */
    {"approval.refuse", PEOPLE, SIGNED},
};
const size_t permissions_n = sizeof(permissions) / sizeof(permissions[0]);

const struct permission *permission_of(const char *op)
{
    for (size_t i = 0; i < permissions_n; i++)
        if (strcmp(permissions[i].op, op) == 0)
            return &permissions[i];
    return NULL;
}

const char *role_name(enum role r)
{
    static const char *const names[ROLES] = {
        [ROLE_AUDITOR] = "auditor", [ROLE_OPERATOR] = "operator", [ROLE_SECURITY] = "security",
        [ROLE_FACTORY] = "factory", [ROLE_CA_ADMIN] = "ca-admin", [ROLE_SYNC] = "sync",
    };

    return (unsigned)r < ROLES ? names[r] : "unknown";
}

enum err_code roles_read(const char *text, unsigned *out, struct err *e)
{
    *out = 0;
    do {
        size_t len = strcspn(text, ",");
        unsigned i = 0;

        while (i < ROLES && (strlen(role_name((enum role)i)) != len || memcmp(role_name((enum role)i), text, len) != 0))
            i++;
        if (i == ROLES)
            return err_set(e, E_INVALID, "roles: \"%.*s\" is none of auditor, operator, security, factory, ca-admin, sync",
                           (int)(len < 40 ? len : 40), text);
        *out |= ROLE_BIT(i);
        text += len;
    } while (*text++ == ',');
    return E_OK;
}

void roles_write(unsigned roles, char out[ROLES_TEXT_MAX])
{
    size_t at = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < ROLES; i++)
        if (roles & ROLE_BIT(i))
            at += (size_t)snprintf(out + at, ROLES_TEXT_MAX - at, "%s%s", at ? "," : "", role_name((enum role)i));
}

enum err_code permission_check_second(const struct permission *p, const char *op, unsigned roles, struct err *e)
{
    struct permission second = p ? *p : (struct permission){0};

    if (second.second)
        second.roles = second.second;
    return permission_check(p ? &second : NULL, op, roles, e);
}

enum err_code permission_check(const struct permission *p, const char *op, unsigned roles, struct err *e)
{
    char wanted[ROLES_TEXT_MAX], had[ROLES_TEXT_MAX];

    if (!p)
        return err_set(e, E_DENIED, "%.64s: nobody may do this", op);
    if (p->roles & roles)
        return E_OK;
    if (p->roles == 0)
        return err_set(e, E_DENIED, "%s is for root, on the service's own machine", op);
    roles_write(p->roles, wanted);
    roles_write(roles, had);
    return err_set(e, E_DENIED, "%s is for the roles %s; yours: %s", op, wanted, had[0] ? had : "none");
}
