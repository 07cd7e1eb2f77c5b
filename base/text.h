/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text of unknown origin (a device, a peer, a certificate) where people look at it: terminals and logs.
 *
 * Pure functions of octets; any thread.
 */
#ifndef INKAN_BASE_TEXT_H
#define INKAN_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Octets of the well-formed UTF-8 character at `p` (RFC 3629 section 4), 1 for ASCII; 0: there is none. */
size_t text_char_len(const uint8_t *p, size_t n);
/* It acts on what shows it: a control of ASCII or of U+0080..9F, which terminals obey, or one that turns or breaks the line (Unicode UAX 9). */
bool text_is_control(const uint8_t *p, size_t char_len);

/*
 * `in` on one line and harmless: each octet of a control, or of what is no UTF-8, as \xNN. Where the locale is not of UTF-8, each octet
 * that is not ASCII too: its terminal may take one of them for a control. Cut at `size`, always terminated; NULL is "". Returns `out`.
 */
const char *text_shown(const char *in, char *out, size_t size);
/* The same for an argument of printf: lives to the end of the block. */
#define TEXT_SHOWN_MAX 2048
#define SHOWN(in) text_shown((in), (char[TEXT_SHOWN_MAX]){0}, TEXT_SHOWN_MAX)

#endif
