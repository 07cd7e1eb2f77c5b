/* SPDX-License-Identifier: Apache-2.0 */
/* What systemd wants to hear of a unit with Type=notify (sd_notify(3)), without its library. */
#ifndef INKAN_BASE_SYSTEMD_H
#define INKAN_BASE_SYSTEMD_H

/* Connects to $NOTIFY_SOCKET; -1 when systemd did not start us. Before a filter of system calls; the caller closes it. */
int systemd_connect(void);
/* "READY=1", "STOPPING=1", "WATCHDOG=1". Nothing is sent to -1; a failure is a line in the log. */
void systemd_tell(int fd, const char *state);

#endif
