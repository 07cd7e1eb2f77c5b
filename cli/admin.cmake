# SPDX-License-Identifier: Apache-2.0
inkan_program(inkan-admin SOURCES inkan-admin.c admin_http.c USES front base LIBS PkgConfig::JANSSON PkgConfig::SSL PkgConfig::EVENT)
