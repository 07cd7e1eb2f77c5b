/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time comes in from outside: functions take `now`; a process holds one struct clock made by its main.
 * In test builds (INKAN_TEST_HOOKS) the environment variable INKAN_TEST_CLOCK names a file that holds a signed number
 * of seconds to add to the wall clock, read again at each call; release builds do not contain this.
 */
#ifndef INKAN_BASE_CLOCK_H
#define INKAN_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

time_t clock_now(void);          /* UTC seconds since 1970 */
int64_t clock_mono_ms(void);     /* monotonic milliseconds, for deadlines (never shifted) */
int64_t clock_mono_us(void);     /* monotonic microseconds, for measuring; of another origin */

/*
 * For work of milliseconds: called often, it lets those who wait for this processor go first, at most twice a millisecond. Else they wait until
 * the kernel finds that the worker has had its share, some milliseconds. *last_us: of one thread; the time at which its work began.
 */
void clock_give_way(int64_t *last_us);

/* "2026-11-22T01:02:03Z"; `out` holds 32 octets. TIME_NO_EXPIRY prints as 9999-12-31T23:59:59Z. */
void clock_format(time_t t, char out[32]);

#endif
