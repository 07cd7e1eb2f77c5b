/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The close-out report of a work order (docs/factory.md): written into the order's row in the transaction that closes it, with
 * the head of the audit trail at that entry; signed as a record right after, or when somebody asks for it and the token is back.
 */
#ifndef INKAN_CA_ORDER_REPORT_H
#define INKAN_CA_ORDER_REPORT_H

#include "ca/factory.h"

/* Inside the transaction, after the entry "order-closed". `first` and `last`: when its units were worked on, 0 = there are none. */
MUST_CHECK enum err_code order_report_write(struct core *c, const struct work_order *o, const struct order_tally *t, int64_t first,
                                            int64_t last, int64_t now, struct err *e);
/* After the commit. A failure is logged; order.report tries again. */
void order_report_sign(struct core *c, const struct work_order *o);

#endif
