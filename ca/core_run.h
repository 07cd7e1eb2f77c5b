/* SPDX-License-Identifier: Apache-2.0 */
/* The core process: builds the objects and runs the loop. */
#ifndef INKAN_CA_CORE_RUN_H
#define INKAN_CA_CORE_RUN_H

/* Serves until the supervisor says stop; the exit code of the process. */
int core_run(int argc, char **argv);

#endif
