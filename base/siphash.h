/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012), 64 bits: for hash tables whose keys strangers choose. With a random key
 * nobody outside can tell which inputs share a bucket. Not a MAC to rely on for anything else.
 */
#ifndef INKAN_BASE_SIPHASH_H
#define INKAN_BASE_SIPHASH_H

#include <stdint.h>

#include "base/bytes.h"

#define SIPHASH_KEY_LEN 16

uint64_t siphash(const uint8_t key[SIPHASH_KEY_LEN], struct bytes in);

#endif
