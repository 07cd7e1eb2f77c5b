# SPDX-License-Identifier: Apache-2.0
inkan_program(inkan
  SOURCES inkan.c commands.c admin_client.c admin_remote.c identity.c verbs_people.c output.c verbs_issue.c verbs_service.c verbs_order.c verbs_transfer.c verbs_export.c verbs_fleet.c
  USES base store handover signed device
  LIBS PkgConfig::JANSSON PkgConfig::CURL PkgConfig::SMARTCOLS)
