# SPDX-License-Identifier: Apache-2.0
# The core process: a library, so that its pure parts can be tested, and a thin program.
inkan_module(core
  SOURCES core.c core_audit.c core_links.c authority.c draft.c issue.c keygen.c kek.c admin_kek.c delivery.c parcel.c enroll_policy.c request.c capture.c anchor.c
          secret.c revoke.c life.c alarm.c metrics.c gateway.c fleet_count.c notify_link.c publish.c served.c crl_list.c reader.c job.c record.c factory.c factory_enroll.c
          batch.c batch_list.c admin_fleet.c
          factory_act.c factory_show.c order_close.c order_report.c external.c box.c box_records.c outbox.c budget.c budget_spec.c restore.c clock_rule.c
          guess_limit.c repeat_rule.c permission.c people.c admin_people.c admin_args.c admin_server.c admin_link.c admin_api.c admin_ops.c admin_ca.c admin_cert.c admin_device.c admin_life.c transfer.c
          admin_request.c admin_capture.c admin_service.c admin_alarm.c order_open.c admin_factory.c admin_export.c
  USES store lint pki wire signed handover hsm_client base
  LIBS PkgConfig::JANSSON PkgConfig::CRYPTO)
inkan_program(inkan-core SOURCES core_main.c USES core)
