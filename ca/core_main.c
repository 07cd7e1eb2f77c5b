/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/core_run.h"

int main(int argc, char **argv)
{
    return core_run(argc, argv);
}
