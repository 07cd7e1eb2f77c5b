/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a work order (first octet 0), and its payload alone (1). What is accepted keeps the rules the core builds on. */
#include <stdint.h>
#include <stdlib.h>

#include "ca/order_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool rule)
{
    if (!rule)
        abort();
}

static void check_accepted(const struct order_spec *o)
{
    struct bytes one;
    size_t n = 0;

    must(o->order_no[0] && id_is_valid(o->domain) && id_is_valid(o->product) && id_is_valid(o->profile));
    must(o->quantity >= 1 && o->quantity <= ORDER_UNITS_MAX && o->defer <= o->quantity && o->not_after > o->not_before);
    must(o->stations.n >= 1 && (unsigned)o->key_mode < ORDER_KEY_MODES);
    must(o->by_list ? o->ids.n >= o->quantity : o->digits >= 1 && o->digits <= ORDER_DIGITS_MAX);
    for (size_t at = 0; text_list_next(&o->ids, &at, &one); n++)
        must(one.len >= 1 && one.len <= ID_MAX_LEN);
    must(n == o->ids.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct order_spec o;
    struct err e = {0};
    enum err_code code;

    if (size == 0)
        return 0;
    order_spec_init(&o);
    code = data[0] % 2 == 0 ? order_file_read(BYTES(data + 1, size - 1), &o, &e) : order_payload_read(BYTES(data + 1, size - 1), &o, &e);
    if (code == E_OK)
        check_accepted(&o);
    else
        must(e.msg[0] != '\0');
    order_spec_clear(&o);
    return 0;
}
