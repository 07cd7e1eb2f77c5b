/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Issuance budgets at a line box (docs/linebox.md): what the centre allowed is counted in the ledger with every certificate of a
 * device, and in a second place before that, so that neither a restart nor an older ledger nor a clock turned back gives more.
 * A service that is no line box needs none.
 */
#ifndef INKAN_CA_BUDGET_H
#define INKAN_CA_BUDGET_H

#include "ca/budget_spec.h"
#include "ca/core.h"
#include "ca/enroll_policy.h"

struct budget_keeper; /* c->budgets; NULL: not a line box */

/* At the start: what the second place says was drawn counts as spent. */
MUST_CHECK enum err_code budget_open(struct core *c, struct err *e);
/* At the end of a clean run: the second place is told exactly what was spent. */
void budget_close(struct core *c);
/*
 * May one more device get its certificate? `order_no`: its order, "" = none. E_DENIED with the reason budget-missing, budget-spent
 * or budget-expired (kept in the grant too).
 */
MUST_CHECK enum err_code budget_allows(struct core *c, const char *order_no, int64_t now, struct grant *g, struct err *e);
/* The certificate has its row: counted inside the same transaction. Refuses as budget_allows. */
MUST_CHECK enum err_code budget_spend(struct core *c, const char *order_no, int64_t now, struct grant *g, struct err *e);

#endif
