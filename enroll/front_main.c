/* SPDX-License-Identifier: Apache-2.0 */
/* inkan-front: TLS, HTTP, EST framing, OCSP and CRL delivery. No CA key, no database, no PKCS#11. */
#include "base/spare.h"
#include "enroll/front_int.h"

static struct front front;

int main(int argc, char **argv)
{
    int code;

    if (!spare_serve_libraries())
        return PROC_EXIT_RESTART;
    front.proc = proc_start(argc, argv, PROC_FRONT, &front_ops, &front);
    front_setup(&front);
    code = proc_loop(front.proc);
    front_clear(&front);
    proc_free(front.proc);
    return code;
}
