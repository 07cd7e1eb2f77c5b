# SPDX-License-Identifier: Apache-2.0
inkan_program(inkan-sync SOURCES inkan-sync.c admin_client.c USES base https LIBS PkgConfig::JANSSON)
