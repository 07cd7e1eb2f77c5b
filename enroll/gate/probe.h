/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `inkan-gate probe`: how long does a live server go on admitting a unit after it was revoked? Measured from the moment of the
 * revocation over every path a unit may have: a new handshake, a resumed session (TLS 1.2 and 1.3 each) and a connection that is
 * open already; beside them a unit that nobody touched, which must stay admitted.
 */
#ifndef INKAN_ENROLL_GATE_PROBE_H
#define INKAN_ENROLL_GATE_PROBE_H

/* Options and exit codes: inkan-gate(1). */
int probe_main(int argc, char **argv);

#endif
