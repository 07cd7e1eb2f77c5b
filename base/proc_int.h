/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INKAN_BASE_PROC_INT_H
#define INKAN_BASE_PROC_INT_H

#include "base/proc.h"

/* Built with a sanitizer: its run time makes calls and reads files of its own, so filters and dumpable differ. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INKAN_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INKAN_SANITIZED 1
#endif
#endif

#endif
