/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit on wrong guesses of enrollment secrets: per user name and per address (IPv6: per /64) 30 at once, then one a
 * second. It guards load, not secrecy (secrets have 128 random bits), so the table is of fixed size and the entry longest
 * unused gives way. A right secret is never limited: ask only after the secret was found wrong.
 */
#ifndef INKAN_CA_GUESS_LIMIT_H
#define INKAN_CA_GUESS_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define GUESS_BURST   30
#define GUESS_ENTRIES 4096

struct guess_limit;
struct guess_limit *guess_limit_new(void); /* NULL: out of memory, or no random key */
void guess_limit_free(struct guess_limit *g);

/*
 * Counts one wrong guess. `peer` is "address:port": the port is left out. false: beyond the limit, answer "busy, again in
 * one second"; such a guess is not counted further, so that waiting helps.
 */
bool guess_limit_wrong(struct guess_limit *g, const char *user, const char *peer, int64_t mono_ms);

#endif
