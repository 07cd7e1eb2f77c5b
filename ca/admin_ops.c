/* SPDX-License-Identifier: Apache-2.0 */
/* Every operation of the administration socket: name, handler, arguments. ca/admin.h says what they answer. */
#include "ca/admin_int.h"
#include "ca/budget_spec.h"
#include "ca/selector.h"

#define ID(name)            {name, ARG_ID, false, 0}
#define ID_REQUIRED(name)   {name, ARG_ID, true, 0}
#define TEXT(name, max)     {name, ARG_TEXT, false, max}
#define TEXT_REQUIRED(name, max) {name, ARG_TEXT, true, max}
#define NUMBER(name, max)   {name, ARG_INT, false, max}
#define NUMBER_REQUIRED(name, max) {name, ARG_INT, true, max}
#define END                 {NULL, ARG_ID, false, 0}
#define ARGS(...)           ((const struct admin_arg[]){__VA_ARGS__, END})
#define NO_ARGS             ((const struct admin_arg[]){END})

#define TIME_MAX   253402300799LL
#define LIMIT_MAX  1000000000LL
#define SECONDS_MAX (100LL * 366 * 86400)
#define KEK_ID_OCTETS 64
#define KEK_OCTETS    32
#define BASE64_CERT (4 * CERT_MAX_LEN / 3)
#define BASE64_CSR  (4 * CSR_MAX_LEN / 3 + 8)

#define ONE_CERT                                                                                                       \
    ID("issuer"), {"serial", ARG_HEX, false, SERIAL_MAX_LEN}, {"cert", ARG_BASE64, false, BASE64_CERT}

#define SELECT          TEXT("select", SELECTOR_MAX_LEN)
#define SELECT_REQUIRED TEXT_REQUIRED("select", SELECTOR_MAX_LEN)
#define BATCH_ORDER     TEXT("reason", 200), TEXT("why", 200), NUMBER("until", TIME_MAX), ID("firmware_wanted"), NUMBER("canary", 99), BATCH_SEEN
#define BATCH_SEEN      NUMBER("count", LIMIT_MAX), {"digest", ARG_HEX, false, 32}
#define BATCH_THIS      NUMBER_REQUIRED("count", LIMIT_MAX), {"digest", ARG_HEX, true, 32}
#define ONE_DEVICE ID("domain"), ID_REQUIRED("device_id")
#define WHY        TEXT("reason", 200)
#define EVIDENCE_MAX 2000

#define CHANGES true
#define READS   false

const struct admin_op admin_ops[] = {
    {"status", op_status, NO_ARGS, READS},
    {"doctor", op_doctor, NO_ARGS, READS},
    {"token.list", op_token_list, NO_ARGS, READS},
    {"token.info", op_token_info, ARGS(ID_REQUIRED("token")), READS},
    {"token.init", op_token_init, ARGS(ID_REQUIRED("token")), CHANGES},
    {"token.unblock", op_token_unblock, ARGS(ID_REQUIRED("token")), CHANGES},
    {"key.list", op_key_list, ARGS(ID("token")), READS},
    {"key.generate", op_key_generate,
     ARGS(ID_REQUIRED("token"), ID_REQUIRED("purpose"), ID_REQUIRED("name"), ID_REQUIRED("algorithm")), CHANGES},
    {"key.destroy", op_key_destroy, ARGS(TEXT_REQUIRED("name", KEY_NAME_MAX - 1)), CHANGES},
    {"ca.list", op_ca_list, NO_ARGS, READS},
    {"ca.show", op_ca_show, ARGS(ID_REQUIRED("name")), READS},
    {"ca.create", op_ca_create, ARGS(ID_REQUIRED("name")), CHANGES},
    {"ca.request", op_ca_request, ARGS(ID_REQUIRED("name")), CHANGES},
    {"ca.install", op_ca_install,
     ARGS(ID_REQUIRED("name"), {"cert", ARG_BASE64, true, BASE64_CERT}, {"chain", ARG_LIST, true, CHAIN_MAX - 1}), CHANGES},
    {"ca.sign", op_ca_sign,
     ARGS(ID_REQUIRED("name"), ID_REQUIRED("issuer"), ID_REQUIRED("profile"), {"csr", ARG_BASE64, true, BASE64_CSR},
          NUMBER("valid_s", SECONDS_MAX)),
     CHANGES},
    {"ca.root_sign", op_ca_root_sign, ARGS(ID_REQUIRED("name")), CHANGES},
    {"profile.list", op_profile_list, NO_ARGS, READS},
    {"profile.show", op_profile_show, ARGS(ID_REQUIRED("name")), READS},
    {"domain.list", op_domain_list, NO_ARGS, READS},
    {"domain.show", op_domain_show, ARGS(ID_REQUIRED("name")), READS},
    {"device.add", op_device_add,
     ARGS(ID("domain"), ID_REQUIRED("device_id"), ID("product"), ID("model"), ID("lot"), ID("order"), ID("anchor"), ID("firmware")),
     CHANGES},
    {"device.import", op_device_import, ARGS(ID("domain"), {"devices", ARG_LIST, true, 500}), CHANGES},
    {"device.list", op_device_list,
     ARGS(ID("domain"), TEXT("device_id", ID_MAX_LEN + 1), ID("product"), ID("lot"), ID("state"), SELECT,
          NUMBER("limit", LIMIT_MAX)),
     READS},
    {"device.count", op_device_count, ARGS(SELECT, ID("by")), READS},
    {"device.show", op_device_show, ARGS(ID("domain"), ID_REQUIRED("device_id")), READS},
    {"device.history", op_device_history, ARGS(ONE_DEVICE), READS},
    {"device.set_firmware", op_device_set_firmware, ARGS(ONE_DEVICE, ID_REQUIRED("firmware")), CHANGES},
    {"device.ship", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.unship", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.suspend", op_device_change, ARGS(ONE_DEVICE, WHY, NUMBER("until", TIME_MAX)), CHANGES},
    {"device.release", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.quarantine", op_device_change, ARGS(ONE_DEVICE, WHY, ID("firmware_wanted")), CHANGES},
    {"device.compromise", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.compromise_confirm", op_device_compromise_confirm, ARGS(ONE_DEVICE), CHANGES},
    {"device.lose", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.find", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.repair", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.repaired", op_device_change, ARGS(ONE_DEVICE, WHY, TEXT_REQUIRED("evidence", EVIDENCE_MAX)), CHANGES},
    {"device.decommission", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.recommission", op_device_change, ARGS(ONE_DEVICE, WHY), CHANGES},
    {"device.dispose", op_device_change, ARGS(ONE_DEVICE, WHY, TEXT_REQUIRED("evidence", EVIDENCE_MAX)), CHANGES},
    {"device.transfer", op_device_transfer, NO_ARGS, CHANGES, true},
    {"device.accept", op_device_accept, NO_ARGS, CHANGES, true},
    {"device.transfer_cancel", op_device_transfer_cancel, ARGS(ID_REQUIRED("transfer")), CHANGES},
    {"device.stop", op_device_stop, ARGS(ID("domain"), ID_REQUIRED("device_id"), ID("reason")), CHANGES},
    {"batch.preview", op_batch_preview, ARGS(ID("action"), SELECT, TEXT("reason", 200), NUMBER("undo", INT64_MAX)), READS},
    {"batch.preview_list", op_batch_preview_list, ARGS(ID_REQUIRED("action"), ID("domain"), TEXT("reason", 200)), READS, true},
    {"batch.create", op_batch_create, ARGS(ID_REQUIRED("action"), SELECT_REQUIRED, BATCH_ORDER), CHANGES},
    {"batch.create_list", op_batch_create_list, ARGS(ID_REQUIRED("action"), ID("domain"), BATCH_ORDER), CHANGES, true},
    {"batch.undo", op_batch_undo, ARGS(ID_REQUIRED("id"), TEXT("why", 200), BATCH_SEEN), CHANGES},
    {"batch.list", op_batch_list, ARGS({"open", ARG_BOOL, false, 0}, NUMBER("limit", LIMIT_MAX)), READS},
    {"batch.show", op_batch_show, ARGS(ID_REQUIRED("id")), READS},
    {"batch.refused", op_batch_refused, ARGS(ID_REQUIRED("id")), READS},
    {"batch.run", op_batch_run, ARGS(ID_REQUIRED("id"), ID("action"), SELECT, NUMBER("undo", INT64_MAX), BATCH_THIS), CHANGES},
    {"batch.pause", op_batch_pause, ARGS(ID_REQUIRED("id")), CHANGES},
    {"batch.resume", op_batch_resume, ARGS(ID_REQUIRED("id")), CHANGES},
    {"batch.cancel", op_batch_cancel, ARGS(ID_REQUIRED("id")), CHANGES},
    {"secret.add", op_secret_add,
     ARGS(ID("device_id"), TEXT("group", ID_MAX_LEN), ID("domain"), ID("profile"), NUMBER("quota", LIMIT_MAX),
          NUMBER("valid_s", SECONDS_MAX)),
     CHANGES},
    {"secret.list", op_secret_list, NO_ARGS, READS},
    {"secret.revoke", op_secret_revoke, ARGS(ID_REQUIRED("user")), CHANGES},
    {"request.list", op_request_list, ARGS(ID("state")), READS},
    {"request.show", op_request_show, ARGS(ID_REQUIRED("id")), READS},
    {"request.approve", op_request_approve, ARGS(ID_REQUIRED("id")), CHANGES},
    {"request.refuse", op_request_refuse, ARGS(ID_REQUIRED("id"), TEXT_REQUIRED("reason", 200)), CHANGES},
    {"order.open", op_order_open, NO_ARGS, CHANGES, true},
    {"order.list", op_order_list, ARGS({"live", ARG_BOOL, false, 0}), READS},
    {"order.status", op_order_status, ARGS(ID_REQUIRED("order")), READS},
    {"order.units", op_order_units, ARGS(ID_REQUIRED("order"), ID("state"), NUMBER("limit", LIMIT_MAX)), READS},
    {"order.close", op_order_close, ARGS(ID_REQUIRED("order"), {"force", ARG_BOOL, false, 0}), CHANGES},
    {"order.export", op_order_export, ARGS(ID_REQUIRED("order"), ID_REQUIRED("format")), READS},
    {"order.report", op_order_report, ARGS(ID_REQUIRED("order")), READS},
    {"record.signer", op_record_signer, NO_ARGS, READS},
    {"unit.show", op_unit_show, ARGS(TEXT_REQUIRED("unit", ORDER_NO_MAX + ID_MAX_LEN + 1)), READS},
    {"station.add", op_station_add,
     ARGS(ID_REQUIRED("name"), ID("domain"), ID_REQUIRED("line"), TEXT_REQUIRED("roles", 64), NUMBER("valid_s", SECONDS_MAX),
          ID("profile"), {"csr", ARG_BASE64, true, BASE64_CSR}),
     CHANGES},
    {"station.list", op_station_list, NO_ARGS, READS},
    {"station.revoke", op_station_revoke, ARGS(ID_REQUIRED("name")), CHANGES},
    {"kek.add", op_kek_add,
     ARGS(ID("domain"), ID("device_id"), {"key_id", ARG_HEX, true, KEK_ID_OCTETS}, {"key", ARG_HEX, false, KEK_OCTETS, .secret = true}), CHANGES},
    {"kek.list", op_kek_list, NO_ARGS, READS},
    {"kek.revoke", op_kek_revoke, ARGS(ID("domain"), {"key_id", ARG_HEX, true, KEK_ID_OCTETS}), CHANGES},
    {"capture.list", op_capture_list, ARGS(ID("order")), READS},
    {"capture.retry", op_capture_retry, ARGS(TEXT_REQUIRED("unit", ORDER_NO_MAX + 1 + ID_MAX_LEN)), CHANGES},
    {"capture.drop", op_capture_drop, ARGS(TEXT_REQUIRED("unit", ORDER_NO_MAX + 1 + ID_MAX_LEN)), CHANGES},
    {"cert.issue", op_cert_issue,
     ARGS(ID_REQUIRED("profile"), {"csr", ARG_BASE64, true, BASE64_CSR}, ID("device_id"), ID("domain"),
          TEXT("name", 255), ID("product"), ID("model"), ID("lot")),
     CHANGES},
    {"cert.list", op_cert_list,
     ARGS(ID("issuer"), ID("device_id"), ID("domain"), ID("profile"), TEXT("status", 16),
          NUMBER("expires_before", TIME_MAX), SELECT, NUMBER("limit", LIMIT_MAX)),
     READS},
    {"cert.show", op_cert_show, ARGS(ONE_CERT), READS},
    {"cert.revoke", op_cert_revoke, ARGS(ONE_CERT, ID("reason"), NUMBER("invalidity", TIME_MAX)), CHANGES},
    {"cert.hold", op_cert_hold, ARGS(ONE_CERT), CHANGES},
    {"cert.release", op_cert_release, ARGS(ONE_CERT), CHANGES},
    {"crl.list", op_crl_list, NO_ARGS, READS},
    {"crl.publish", op_crl_publish, ARGS(ID("issuer")), CHANGES},
    {"crl.get", op_crl_get, ARGS(ID_REQUIRED("issuer"), NUMBER("shard", 65535)), READS},
    {"crl.import", op_crl_import, NO_ARGS, CHANGES, true},
    {"budget.grant", op_budget_grant,
     ARGS(ID_REQUIRED("box"), TEXT("order", ORDER_NO_MAX), {"units", ARG_INT, true, BUDGET_UNITS_MAX}, {"until", ARG_INT, true, TIME_MAX}), CHANGES},
    {"budget.install", op_budget_install, NO_ARGS, CHANGES, true},
    {"budget.list", op_budget_list, ARGS(ID("box")), READS},
    {"box.list", op_box_list, NO_ARGS, READS},
    {"box.show", op_box_show, ARGS(ID_REQUIRED("name")), READS},
    {"box.report", op_box_report, ARGS(ID_REQUIRED("name"), ID_REQUIRED("order")), READS},
    {"box.records", op_box_records, ARGS(ID("name"), NUMBER("all", 1), NUMBER("limit", LIMIT_MAX)), READS},
    {"box.link", op_box_link, ARGS(ID_REQUIRED("name"), ID_REQUIRED("profile"), {"csr", ARG_BASE64, true, BASE64_CSR}), CHANGES},
    {"box.outbox", op_box_outbox, ARGS(NUMBER("cert", INT64_MAX), NUMBER("unit", INT64_MAX), NUMBER("status", INT64_MAX), NUMBER("report", INT64_MAX)), READS},
    {"box.heard", op_box_heard, ARGS({"changes", ARG_LIST, true, 1000}, {"heard", ARG_INT, true, INT64_MAX}, ID_REQUIRED("centre"), {"seen", ARG_OBJECT, false, 256}),
     CHANGES},
    {"ocsp.list", op_ocsp_list, NO_ARGS, READS},
    {"gateway.list", op_gateway_list, NO_ARGS, READS},
    {"audit.export", op_audit_export, ARGS(NUMBER("from", INT64_MAX), NUMBER("to", INT64_MAX)), READS},
    {"alarm.list", op_alarm_list, ARGS({"all", ARG_BOOL, false, 0}), READS},
    {"alarm.show", op_alarm_show, ARGS(ID_REQUIRED("id")), READS},
    {"alarm.ack", op_alarm_ack, ARGS(ID_REQUIRED("id"), TEXT("note", 500)), CHANGES},
    {"audit.heads", op_audit_heads, NO_ARGS, READS},
    {"operator.add", op_operator_add,
     ARGS(ID_REQUIRED("name"), TEXT_REQUIRED("roles", 63), ID("user"), {"csr", ARG_BASE64, false, BASE64_CSR}), CHANGES},
    {"operator.change", op_operator_change,
     ARGS(ID_REQUIRED("name"), TEXT("roles", 63), TEXT("user", ID_MAX_LEN), {"csr", ARG_BASE64, false, BASE64_CSR}), CHANGES},
    {"operator.end", op_operator_end, ARGS(ID_REQUIRED("name")), CHANGES},
    {"operator.list", op_operator_list, NO_ARGS, READS},
    {"operator.show", op_operator_show, ARGS(ID_REQUIRED("name")), READS},
    {"approval.list", op_approval_list, ARGS({"all", ARG_BOOL, false, 0}), READS},
    {"approval.show", op_approval_show, ARGS(ID_REQUIRED("id")), READS},
    {"approval.approve", op_approval_approve, ARGS(ID_REQUIRED("id"), {"digest", ARG_HEX, true, 32}), CHANGES},
    {"approval.refuse", op_approval_refuse, ARGS(ID_REQUIRED("id"), TEXT("reason", 200)), CHANGES},
    {"backup", op_backup, NO_ARGS, CHANGES},
    {"restore.accept", op_restore_accept, NO_ARGS, CHANGES},
    {"clock.accept", op_clock_accept, NO_ARGS, CHANGES},
};
const size_t admin_ops_n = sizeof(admin_ops) / sizeof(admin_ops[0]);
