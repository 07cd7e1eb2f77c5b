/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INKAN_BASE_PROC_INT_H
#define INKAN_BASE_PROC_INT_H

#include "base/proc.h"

#if defined(__SANITIZE_ADDRESS__)
#define INKAN_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INKAN_SANITIZED 1
#endif
#endif

/* Loads the system-call filter of this kind into the calling process. */
MUST_CHECK enum err_code confine_kind(enum proc_kind kind, struct err *e);

#endif
