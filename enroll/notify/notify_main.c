/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/notify/notify.h"

int main(int argc, char **argv)
{
    return notify_run(argc, argv);
}
