/* SPDX-License-Identifier: Apache-2.0 */
/* Every statement of the store: X(NAME, "SQL"). Included with X defined, several times. No include guard on purpose. */

#ifndef STORE_COLUMNS
#define STORE_COLUMNS
#define KEY_COLS "id, name, token, purpose, alg, cka_id, spki, created_at, destroyed_at"
#define ISSUER_COLS "id, name, parent, key, subject, spki, cert, ski, not_before, not_after, created_at"
#define DEVICE_COLS                                                                                                    \
    "id, unit, domain, device_id, anchor, product, model, lot, order_no, station, line, firmware, state, "             \
    "prev_state, state_at, declared_at, enrolled_at, group_secret, moved_to"
#define DEVICE_MATCH                                                                                                   \
    "id > ?1 AND (?2 IS NULL OR domain = ?2) AND (?3 IS NULL OR device_id = ?3) "                                      \
    "AND (?4 IS NULL OR substr(device_id, 1, length(?4)) = ?4) AND (?5 IS NULL OR product = ?5) "                      \
    "AND (?6 IS NULL OR lot = ?6) AND (?7 < 0 OR state = ?7) AND (?8 = 0 OR unit = ?8)"
#define CERT_COLS                                                                                                      \
    "id, issuer, serial, der, der_hash, spki_hash, profile_hash, profile, kind, operation, device, domain, "           \
    "requester, credential_hash, order_no, station, line, model, lot, firmware, shard, issued_at, not_before, "        \
    "not_after, status, reason, status_at, replaced_by, first_used_at, status_seq, hold_by"
#define CERT_MATCH                                                                                                     \
    "id > ?1 AND (?2 = 0 OR issuer = ?2) AND (?3 = 0 OR device = ?3) AND (?4 IS NULL OR domain = ?4) "                 \
    "AND (?5 IS NULL OR profile = ?5) AND (?6 < 0 OR status = ?6) AND (?7 = 0 OR not_after < ?7)"
#define CERT_OF_SERIAL "SELECT 1 FROM cert WHERE issuer = ?1 AND serial = ?2"
#define STATUS_COLS                                                                                                    \
    "seq, issuer, serial, status, reason, time, invalidity, not_after, batch, origin, device, "                        \
    "coalesce(device_state, 15), kind, der_hash"
#define ENTRY_COLS "serial, status, reason, time, invalidity" /* what a CRL shows */
#define CRL_COLS                                                                                                       \
    "issuer, shard, number, this_update, next_update, published_at, seq, entries, regular, sha256, der"
#define KEK_COLS "id, domain, key_id, device, bits, sealed, created_at, revoked_at"
#define SECRET_COLS                                                                                                    \
    "id, kind, user, mac, domain, profile, device, pattern, quota, used, not_before, not_after, created_at, "          \
    "revoked_at, bound_spki, first_used_at"
#define AUDIT_COLS                                                                                                     \
    "seq, time, event, actor, actor_kind, domain, object, detail, request_digest, signature, approvals, prev_hash, "   \
    "hash"
#define BUDGET_COLS "box, number, scope, units, until, issued_at, at, spent, file"
#define BOX_STATE_COLS "box, epoch, had_0, had_1, had_2, had_3, said, difference, heard_at"
#define HEAD_COLS "seq, time, hash, tbs, signature, key, sig_alg"
#define REQUEST_COLS                                                                                                   \
    "r.id, r.state, r.device, d.domain, d.device_id, r.credential_hash, r.operation, r.label, r.profile, r.bound, "      \
    "r.content_hash, r.spki_hash, r.csr, r.why, r.created_at, r.expires_at, r.decided_at, r.decided_by, r.reason, "      \
    "r.ended_at, r.cert"
#define REQUEST_ROWS "FROM request r JOIN device d ON d.id = r.device"
#define CAPTURE_COLS                                                                                                   \
    "p.unit, p.work_order, p.station, p.state, p.badge, p.tool, p.spki_hash, p.csr, p.captured_at, p.try_at, p.tries, "  \
    "p.reason, o.order_no, d.device_id, s.name"
#define CAPTURE_FROM                                                                                                   \
    "FROM capture p CROSS JOIN unit u ON u.id = p.unit CROSS JOIN device d ON d.id = u.device "                        \
    "CROSS JOIN work_order o ON o.id = p.work_order CROSS JOIN station s ON s.id = p.station"
#define BATCH_COLS                                                                                                     \
    "id, action, state, selector, reason, why, until, wanted, created_by, created_at, pending, approved_by, approved_at, undo_of, count, digest, " \
    "canary, next, changed, same, refused, seq, started_at, ended_at, error"
#define OPERATOR_COLS "id, name, roles, user, added_at, ended_at"
#define PENDING_COLS                                                                                                   \
    "p.id, p.state, p.operator, o.name, p.op, p.args, p.jws, p.created_at, p.expires_at, coalesce(p.second, 0), "        \
    "coalesce(s.name, ''), p.decided_at, p.ended_at, p.outcome"
#define PENDING_FROM "FROM pending p JOIN operator o ON o.id = p.operator LEFT JOIN operator s ON s.id = p.second"
#define DUE_COLS "u.device, u.kind, u.due_at, u.by, d.domain, d.device_id"
#define DUE_FROM "FROM device_due u CROSS JOIN device d ON d.id = u.device"
#define TRANSFER_COLS "id, name, digest, from_domain, to_domain, state, expires_at, opened_at, ended_at"
#define ALARM_COLS "id, time, kind, domain, object, text, cleared_at, acked_at, acked_by, note"
#define ORDER_COLS                                                                                                     \
    "id, order_no, domain, product, model, lot, line, profile, key_mode, quantity, by_list, prefix, first, digits, "   \
    "stations, firmware, targets, not_before, not_after, rekeys_allowed, rework_allowed, defer_allowed, "              \
    "orphan_after_s, evidence, customer_key, note, file_hash, signer, kid, state, opened_at, closed_at, units_after"
#define TALLY_COLS                                                                                                     \
    "reserved, issued, confirmed, packed, shipped, unused, voided, orphaned, scrapped, rekeyed, reworked, next, captured"
#define STATION_COLS "id, name, domain, line, roles, profile, created_at, not_after, revoked_at"
#define UNIT_COLS                                                                                                      \
    "u.id, u.work_order, u.device, u.ordinal, u.state, u.cert, u.reserved_at, u.issued_at, u.confirmed_at, "           \
    "u.packed_at, u.shipped_at, u.ended_at, u.due_at, u.rekeys, u.reworks, d.device_id"
#define UNIT_FROM "FROM unit u CROSS JOIN device d ON d.id = u.device"
/* What the rows of an order's units say: the columns of its tally but next and captured, then stock. */
#define UNIT_TALLY                                                                                                     \
    "count(*), coalesce(sum(issued_at <> 0), 0), coalesce(sum(confirmed_at <> 0), 0), coalesce(sum(state = 5), 0), "   \
    "coalesce(sum(state = 6), 0), coalesce(sum(state = 8), 0), coalesce(sum(state = 9), 0), "                          \
    "coalesce(sum(state = 10), 0), coalesce(sum(state = 11), 0), coalesce(sum(rekeys), 0), coalesce(sum(reworks), 0), " \
    "coalesce(sum(state = 4 OR state = 5), 0)"
#endif

X(BEGIN_WRITE, "BEGIN IMMEDIATE")
X(BEGIN_READ, "BEGIN")
X(COMMIT, "COMMIT")
X(ROLLBACK, "ROLLBACK")
X(SAVEPOINT, "SAVEPOINT request")
X(SAVEPOINT_KEEP, "RELEASE request")
X(SAVEPOINT_UNDO, "ROLLBACK TO request")

X(META_SET, "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
X(META_GET, "SELECT value, typeof(value) FROM meta WHERE name = ?1")

X(KEY_INSERT,
  "INSERT INTO key (name, token, purpose, alg, cka_id, spki, created_at, destroyed_at) "
  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
X(KEY_DESTROYED, "UPDATE key SET destroyed_at = ?2 WHERE id = ?1")
X(KEY_BY_NAME, "SELECT " KEY_COLS " FROM key WHERE name = ?1")
X(KEY_EACH, "SELECT " KEY_COLS " FROM key ORDER BY id")

X(ISSUER_INSERT,
  "INSERT INTO issuer (" ISSUER_COLS ") VALUES ((SELECT coalesce(max(id), 0) + 1 FROM issuer), ?1, "
  "CASE WHEN ?2 = 4294967295 THEN (SELECT coalesce(max(id), 0) + 1 FROM issuer) ELSE ?2 END, "
  "?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")
X(ISSUER_BY_ID, "SELECT " ISSUER_COLS " FROM issuer WHERE id = ?1")
X(ISSUER_BY_NAME, "SELECT " ISSUER_COLS " FROM issuer WHERE name = ?1 ORDER BY id DESC LIMIT 1")
X(ISSUER_EACH, "SELECT " ISSUER_COLS " FROM issuer ORDER BY id")

X(ISSUER_RECERTIFY,
  "UPDATE issuer SET cert = ?4, ski = ?5, not_before = ?6, not_after = ?7 WHERE id = ?1 AND subject = ?2 AND spki = ?3")

X(FOREIGN_PUT,
  "INSERT INTO foreign_link (issuer, depth, cert, status, reason, status_at, list_number, list_this_update, "
  "list_next_update) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (issuer, depth) DO UPDATE SET "
  "cert = excluded.cert, status = excluded.status, reason = excluded.reason, status_at = excluded.status_at, "
  "list_number = excluded.list_number, list_this_update = excluded.list_this_update, "
  "list_next_update = excluded.list_next_update")
X(FOREIGN_CUT, "DELETE FROM foreign_link WHERE issuer = ?1 AND depth >= ?2")
X(FOREIGN_EACH,
  "SELECT depth, cert, status, reason, status_at, list_number, list_this_update, list_next_update FROM foreign_link "
  "WHERE issuer = ?1 ORDER BY depth")

X(BUDGET_INSERT, "INSERT INTO budget (" BUDGET_COLS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")
X(BUDGET_SET_FILE, "UPDATE budget SET file = ?3 WHERE box = ?1 AND number = ?2 AND file = x''")
X(BUDGET_GET, "SELECT " BUDGET_COLS " FROM budget WHERE box = ?1 AND number = ?2")
X(BUDGET_NEWEST, "SELECT " BUDGET_COLS " FROM budget WHERE box = ?1 AND scope = ?2 ORDER BY number DESC LIMIT 1")
X(BUDGET_LAST, "SELECT coalesce(max(number), 0) FROM budget WHERE box = ?1")
X(BUDGET_SPEND, "UPDATE budget SET spent = spent + ?3 WHERE box = ?1 AND number = ?2")
X(BUDGET_EACH, "SELECT " BUDGET_COLS " FROM budget WHERE ?1 IS NULL OR box = ?1 ORDER BY box, number")

X(BOX_STATE_GET, "SELECT " BOX_STATE_COLS " FROM box_state WHERE box = ?1 AND epoch = ?2")
X(BOX_STATE_PUT,
  "INSERT INTO box_state (" BOX_STATE_COLS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (box, epoch) DO UPDATE SET "
  "had_0 = excluded.had_0, had_1 = excluded.had_1, had_2 = excluded.had_2, had_3 = excluded.had_3, said = excluded.said, "
  "difference = excluded.difference, heard_at = excluded.heard_at")
X(BOX_STATE_EACH, "SELECT " BOX_STATE_COLS " FROM box_state WHERE ?1 IS NULL OR box = ?1 ORDER BY box, heard_at")
X(BOX_RECORD_PUT,
  "INSERT INTO box_record (box, epoch, stream, seq, at, outcome, reason, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
X(BOX_RECORD_EACH,
  "SELECT id, box, epoch, stream, seq, at, outcome, reason, body FROM box_record WHERE (?1 IS NULL OR box = ?1) AND id > ?2 "
  "ORDER BY id LIMIT ?3")
X(BOX_RECORD_ASIDE,
  "SELECT id, box, epoch, stream, seq, at, outcome, reason, body FROM box_record WHERE (?1 IS NULL OR box = ?1) AND id > ?2 "
  "AND outcome = 2 ORDER BY id LIMIT ?3")
X(BOX_ASIDE_COUNT, "SELECT count(*) FROM box_record WHERE box = ?1 AND outcome = 2")
X(BOX_UNIT_PUT,
  "INSERT INTO box_unit (device_id, order_no, box, state) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (device_id, order_no, box) "
  "DO UPDATE SET state = excluded.state")
X(BOX_UNIT_ELSEWHERE, "SELECT box FROM box_unit WHERE device_id = ?1 AND box <> ?2 LIMIT 1")
X(BOX_UNIT_COUNT, "SELECT order_no, state, count(*) FROM box_unit WHERE box = ?1 GROUP BY order_no, state ORDER BY order_no, state")
X(BOX_DEVICES, "SELECT count(DISTINCT device) FROM cert WHERE issuer = ?1 AND device IS NOT NULL")
X(OUTBOX_EVENTS,
  "SELECT e.id, e.time, o.order_no, d.domain, d.device_id, e.event, coalesce(s.name, ''), e.badge, e.tool, e.detail, u.state FROM unit_event e "
  "JOIN unit u ON u.id = e.unit JOIN work_order o ON o.id = u.work_order JOIN device d ON d.id = u.device "
  "LEFT JOIN station s ON s.id = e.station WHERE e.id > ?1 ORDER BY e.id LIMIT ?2")
X(OUTBOX_LAST,
  "SELECT (SELECT coalesce(max(id), 0) FROM cert), (SELECT coalesce(max(id), 0) FROM unit_event), "
  "(SELECT coalesce(max(seq), 0) FROM status_log), (SELECT coalesce(max(seq), 0) FROM report_signed)")
X(OUTBOX_REPORTS,
  "SELECT s.seq, o.order_no, r.report, s.signer FROM report_signed s JOIN work_order o ON o.id = s.work_order "
  "JOIN order_report r ON r.work_order = s.work_order WHERE s.seq > ?1 ORDER BY s.seq LIMIT ?2")
X(REPORT_SIGNED, "INSERT INTO report_signed (work_order, signer) VALUES (?1, ?2)")
X(BOX_REPORT_PUT, "INSERT INTO box_report (box, order_no, at, report, signer) VALUES (?1, ?2, ?3, ?4, ?5)")
X(BOX_REPORT_GET, "SELECT order_no, at, report, signer FROM box_report WHERE box = ?1 AND order_no = ?2")
X(BOX_REPORT_EACH, "SELECT order_no, at, x'', x'' FROM box_report WHERE box = ?1 ORDER BY order_no")
X(OUTBOX_COUNT,
  "SELECT o.order_no, u.state, count(*) FROM unit u JOIN work_order o ON o.id = u.work_order GROUP BY o.order_no, u.state")

X(PROFILE_PUT, "INSERT INTO profile (hash, name, body, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (hash) DO NOTHING")

X(DEVICE_INSERT,
  "INSERT INTO device (" DEVICE_COLS ") VALUES ((SELECT coalesce(max(id), 0) + 1 FROM device), "
  "coalesce(?1, (SELECT coalesce(max(id), 0) + 1 FROM device)), "
  "?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) RETURNING id, unit")
X(DEVICE_FIND, "SELECT " DEVICE_COLS " FROM device WHERE domain = ?1 AND device_id = ?2")
X(DEVICE_BY_ID, "SELECT " DEVICE_COLS " FROM device WHERE id = ?1")
X(DEVICE_SET_STATE,
  "UPDATE device SET prev_state = state, state = ?2, state_at = ?3, "
  "enrolled_at = iif(?2 = 5 AND enrolled_at = 0, ?3, enrolled_at) WHERE id = ?1 AND (?4 >> state) & 1")
X(DEVICE_SET_MOVED, "UPDATE device SET moved_to = ?2 WHERE id = ?1")
X(DEVICE_SET_UNIT, "UPDATE device SET unit = ?2 WHERE id = ?1")
X(DEVICE_SET_ORDER,
  "UPDATE device SET anchor = ?2, product = ?3, model = ?4, lot = ?5, order_no = ?6, station = ?7, line = ?8 WHERE id = ?1")
X(DEVICE_SET_FIRMWARE, "UPDATE device SET firmware = ?2 WHERE id = ?1")
X(UNIT_STANDS, "SELECT id, state, prev_state, moved_to FROM device WHERE unit = ?1")
X(DEVICE_EACH, "SELECT " DEVICE_COLS " FROM device WHERE " DEVICE_MATCH " ORDER BY id LIMIT ?9")
X(DEVICE_EACH_NAMED,
  "SELECT " DEVICE_COLS " FROM device WHERE domain = ?2 AND device_id = ?3 AND " DEVICE_MATCH " ORDER BY id LIMIT ?9")
X(DEVICE_EACH_UNIT, "SELECT " DEVICE_COLS " FROM device WHERE unit = ?8 AND " DEVICE_MATCH " ORDER BY id LIMIT ?9")
X(DEVICE_COUNT, "SELECT count(*) FROM device WHERE " DEVICE_MATCH)

X(DEVICE_EVENT_ADD,
  "INSERT INTO device_event (device, time, from_state, to_state, actor, reason, evidence, batch, audit_seq) "
  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")
X(DEVICE_EVENT_EACH,
  "SELECT id, device, time, from_state, to_state, actor, reason, evidence, batch, audit_seq FROM device_event "
  "WHERE device = ?1 AND id > ?2 ORDER BY id")

/* With the condition of a selector (select.c). */
X(SELECT_DEVICES, "SELECT " DEVICE_COLS " FROM device AS d WHERE d.id > ?1 AND %s ORDER BY d.id LIMIT ?2")
X(SELECT_CERTS, "SELECT " CERT_COLS " FROM cert AS c WHERE c.id > ?1 AND %s ORDER BY c.id LIMIT ?2")
X(SELECT_DEVICES_PLAN, "EXPLAIN QUERY PLAN SELECT " DEVICE_COLS " FROM device AS d WHERE d.id > ?1 AND %s ORDER BY d.id LIMIT ?2")
X(SELECT_CERTS_PLAN, "EXPLAIN QUERY PLAN SELECT " CERT_COLS " FROM cert AS c WHERE c.id > ?1 AND %s ORDER BY c.id LIMIT ?2")
X(DUE_PUT,
  "INSERT INTO device_due (device, kind, due_at, by) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (device, kind) DO UPDATE SET "
  "due_at = excluded.due_at, by = excluded.by")
X(DUE_GET, "SELECT " DUE_COLS " " DUE_FROM " WHERE u.device = ?1 AND u.kind = ?2")
X(DUE_FIRST, "SELECT " DUE_COLS " " DUE_FROM " WHERE u.due_at <= ?1 ORDER BY u.due_at LIMIT 1")
X(DUE_DROP, "DELETE FROM device_due WHERE device = ?1 AND kind = ?2")
X(WANTED_PUT,
  "INSERT INTO device_wanted (device, firmware) VALUES (?1, ?2) ON CONFLICT (device) DO UPDATE SET firmware = excluded.firmware")
X(WANTED_DROP, "DELETE FROM device_wanted WHERE device = ?1")
X(WANTED_GET, "SELECT firmware FROM device_wanted WHERE device = ?1")
X(RETIRE_PUT,
  "INSERT INTO retire (cert, due_at) VALUES (?1, ?2) ON CONFLICT (cert) DO UPDATE SET due_at = min(due_at, excluded.due_at)")
X(RETIRE_FIRST, "SELECT cert FROM retire WHERE due_at <= ?1 ORDER BY due_at LIMIT 1")
X(RETIRE_DROP, "DELETE FROM retire WHERE cert = ?1")
X(RETIRE_REPLACED,
  "UPDATE retire SET due_at = min(due_at, ?3) WHERE cert IN (SELECT id FROM cert WHERE device = ?1 AND replaced_by = ?2)")
X(TRANSFER_INSERT,
  "INSERT INTO transfer (name, digest, from_domain, to_domain, state, expires_at, opened_at, ended_at, file, acceptance) "
  "VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, 0, ?7, x'')")
X(TRANSFER_BY_NAME, "SELECT " TRANSFER_COLS " FROM transfer WHERE name = ?1")
X(TRANSFER_BY_DIGEST, "SELECT " TRANSFER_COLS " FROM transfer WHERE digest = ?1")
X(TRANSFER_OF,
  "SELECT " TRANSFER_COLS " FROM transfer WHERE state = 0 AND id IN (SELECT transfer FROM transfer_device WHERE device = ?1)")
X(TRANSFER_FIRST, "SELECT " TRANSFER_COLS " FROM transfer WHERE state = 0 ORDER BY expires_at, id LIMIT 1")
X(TRANSFER_END, "UPDATE transfer SET state = ?2, acceptance = ?3, ended_at = ?4 WHERE id = ?1")
X(TRANSFER_ADD, "INSERT INTO transfer_device (transfer, device) VALUES (?1, ?2)")
X(TRANSFER_EACH, "SELECT device FROM transfer_device WHERE transfer = ?1 ORDER BY device")

X(SPKI_UNIT, "SELECT unit FROM spki WHERE hash = ?1")
X(SPKI_CLAIM, "INSERT INTO spki (hash, unit, at) VALUES (?1, ?2, ?3) ON CONFLICT (hash) DO NOTHING")

/* A serial that a certificate has gives the state NULL, which the table refuses. INSERT ... SELECT ... WHERE NOT EXISTS would say it
 * plainly, but is to SQLite a statement of many rows: it keeps a copy of every page that changes under it. */
X(INTENT_INSERT,
  "INSERT INTO intent (issuer, serial, tbs_hash, profile_hash, requester, domain, device, created_at, state, "
  "finished_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, CASE WHEN EXISTS (" CERT_OF_SERIAL ") THEN NULL ELSE 0 END, 0)")
X(INTENT_FINISH,
  "UPDATE intent SET state = ?3, finished_at = ?4 WHERE issuer = ?1 AND serial = ?2 AND state = 0 AND state <> 1 "
  "AND (?3 <> 1 OR EXISTS (" CERT_OF_SERIAL "))")
X(INTENT_VOID_OPEN,
  "UPDATE intent INDEXED BY intent_unfinished SET state = 2, finished_at = ?1 WHERE state = 0 AND state <> 1")
X(INTENT_UNFINISHED,
  "SELECT coalesce(sum(state = 0), 0), coalesce(sum(state = 2), 0) FROM intent INDEXED BY intent_unfinished "
  "WHERE state <> 1")
X(INTENT_ALL, "SELECT count(*) FROM intent")
X(INTENT_STATE,
  "SELECT state FROM intent WHERE issuer = ?1 AND serial = ?2 AND state <> 1 UNION ALL " CERT_OF_SERIAL)

X(CERT_INSERT,
  "INSERT INTO cert (issuer, serial, der, der_hash, spki_hash, profile_hash, profile, kind, operation, device, domain, "
  "requester, credential_hash, order_no, station, line, model, lot, firmware, shard, issued_at, not_before, not_after, "
  "replaced_by, first_used_at, status, hold_by, reason, status_at, status_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
  "?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, 0, 0, 0, ?26, ?27)")
X(CERT_BY_SERIAL, "SELECT " CERT_COLS " FROM cert WHERE issuer = ?1 AND serial = ?2")
X(CERT_BY_DER,
  "SELECT " CERT_COLS " FROM cert WHERE issuer IN (SELECT id FROM issuer WHERE subject = ?1) AND serial = ?2 AND der_hash = ?3")
X(CERT_BY_CA,
  "SELECT " CERT_COLS " FROM cert WHERE issuer IN (SELECT id FROM issuer WHERE name = ?1) AND serial = ?2 AND der_hash = ?3")
X(CERT_BY_ID, "SELECT " CERT_COLS " FROM cert WHERE id = ?1")
X(CERT_NEWEST, "SELECT " CERT_COLS " FROM cert WHERE device = ?1 AND kind = ?2 ORDER BY id DESC LIMIT 1")
X(CERT_NEWEST_BY_REQUESTER,
  "SELECT " CERT_COLS " FROM cert WHERE requester = ?1 AND kind = ?2 AND device IS NULL ORDER BY id DESC LIMIT 1")
X(CERT_EACH_REQUESTER,
  "SELECT " CERT_COLS " FROM cert WHERE requester = ?1 AND kind = ?2 AND device IS NULL AND id > ?3 ORDER BY id")
X(CERT_SET_USED, "UPDATE cert SET first_used_at = iif(first_used_at = 0, ?2, first_used_at) WHERE id = ?1")
X(CERT_SET_REPLACED, "UPDATE cert SET replaced_by = ?2 WHERE id = ?1")
X(CERT_EACH, "SELECT " CERT_COLS " FROM cert WHERE " CERT_MATCH " ORDER BY id LIMIT ?8")
X(CERT_EACH_DEVICE, "SELECT " CERT_COLS " FROM cert WHERE device = ?3 AND " CERT_MATCH " ORDER BY id LIMIT ?8")
X(CERT_EACH_STATUS,
  "SELECT " CERT_COLS " FROM cert WHERE status <> 0 AND status = ?6 AND " CERT_MATCH " ORDER BY id LIMIT ?8")
X(CERT_COUNT, "SELECT count(*) FROM cert WHERE " CERT_MATCH)
X(CERT_COUNT_DEVICE, "SELECT count(*) FROM cert WHERE device = ?3 AND " CERT_MATCH)
X(CERT_COUNT_STATUS, "SELECT count(*) FROM cert WHERE status <> 0 AND status = ?6 AND " CERT_MATCH)

X(STATUS_LAST, "SELECT seq FROM status_log ORDER BY seq DESC LIMIT 1")
X(STATUS_NOW, "SELECT id, status, status_seq, shard, not_after, reason, hold_by, device FROM cert WHERE issuer = ?1 AND serial = ?2")
X(STATUS_INSERT,
  "INSERT INTO status_log (seq, issuer, serial, status, reason, time, invalidity, not_after, batch, origin, device, "
  "device_state, kind, der_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, nullif(?12, 15), ?13, ?14)")
X(STATUS_CERT, "UPDATE cert SET status = ?2, reason = ?3, status_at = ?4, status_seq = ?5, hold_by = ?6 WHERE id = ?1")
X(STATUS_BY_SEQ, "SELECT " STATUS_COLS " FROM status_log WHERE seq = ?1")
X(STATUS_EACH, "SELECT " STATUS_COLS " FROM status_log WHERE seq > ?1 ORDER BY seq LIMIT ?2")
X(REVOKED_NOW, "SELECT status, reason FROM revoked WHERE issuer = ?1 AND serial = ?2")
X(REVOKED_PUT,
  "INSERT INTO revoked (issuer, serial, shard, status, reason, time, invalidity, not_after, seq, batch, origin) "
  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (issuer, serial) DO UPDATE SET "
  "status = excluded.status, reason = excluded.reason, time = excluded.time, invalidity = excluded.invalidity, "
  "seq = excluded.seq, batch = excluded.batch, origin = excluded.origin")
X(REVOKED_DROP, "DELETE FROM revoked WHERE issuer = ?1 AND serial = ?2")
X(REVOKED_ALL, "SELECT " ENTRY_COLS " FROM revoked WHERE issuer = ?1 AND not_after >= ?2 ORDER BY serial")
X(REVOKED_SHARD,
  "SELECT " ENTRY_COLS " FROM revoked WHERE issuer = ?1 AND not_after >= ?2 AND shard = ?3 AND shard <> 0 ORDER BY serial")
X(REVOKED_ALL_COUNT, "SELECT count(*) FROM revoked WHERE issuer = ?1 AND not_after >= ?2")
X(REVOKED_SHARD_COUNT,
  "SELECT count(*) FROM revoked WHERE issuer = ?1 AND not_after >= ?2 AND shard = ?3 AND shard <> 0")
X(NEWEST_PUT,
  "INSERT INTO status_newest (issuer, shard, time) VALUES (?1, ?2, ?3) ON CONFLICT (issuer, shard) DO UPDATE SET "
  "time = max(time, excluded.time)")
X(NEWEST_GET, "SELECT time FROM status_newest WHERE issuer = ?1 AND shard = ?2")

X(CRL_RESERVE,
  "INSERT INTO crl_number (issuer, shard, number) VALUES (?1, ?2, ?3) ON CONFLICT (issuer, shard) DO UPDATE SET "
  "number = max(number + 1, excluded.number) RETURNING number")
X(CRL_RESERVED, "SELECT number FROM crl_number WHERE issuer = ?1 AND shard = ?2")
X(CRL_NUMBER,
  "SELECT coalesce(max(n.number), 0) FROM crl_number n JOIN issuer i ON i.id = n.issuer WHERE i.name = ?1 AND n.shard = ?2")
X(CRL_NUMBER_EACH,
  "SELECT i.name, n.shard, max(n.number) FROM crl_number n JOIN issuer i ON i.id = n.issuer GROUP BY i.name, n.shard")
X(CRL_INSERT, "INSERT INTO crl (" CRL_COLS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")
X(CRL_FORGET_DER, "UPDATE crl SET der = x'' WHERE issuer = ?1 AND shard = ?2 AND number = ?3")
X(CRL_NEWEST, "SELECT " CRL_COLS " FROM crl WHERE issuer = ?1 AND shard = ?2 ORDER BY number DESC LIMIT 1")
X(CRL_LAST_REGULAR,
  "SELECT this_update FROM crl WHERE issuer = ?1 AND shard = ?2 AND regular = 1 ORDER BY number DESC LIMIT 1")

X(SECRET_INSERT,
  "INSERT INTO secret (kind, user, mac, domain, profile, device, pattern, quota, used, not_before, not_after, created_at, "
  "revoked_at, bound_spki, first_used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)")
X(SECRET_BY_USER, "SELECT " SECRET_COLS " FROM secret WHERE user = ?1")
X(SECRET_BIND,
  "UPDATE secret SET bound_spki = ?2, first_used_at = iif(first_used_at = 0, ?3, first_used_at) "
  "WHERE id = ?1 AND (bound_spki = zeroblob(32) OR bound_spki = ?2)")
X(SECRET_COUNT_USE,
  "UPDATE secret SET used = used + 1 WHERE id = ?1 AND revoked_at = 0 AND (quota = 0 OR used < quota)")
X(SECRET_REVOKE, "UPDATE secret SET revoked_at = iif(revoked_at = 0, ?2, revoked_at) WHERE id = ?1")
X(SECRET_KNOWN, "SELECT user, quota, used, revoked_at FROM secret WHERE id = ?1")
X(SECRET_EACH, "SELECT " SECRET_COLS " FROM secret WHERE id > ?1 ORDER BY id LIMIT ?2")

X(KEK_INSERT,
  "INSERT INTO kek (domain, key_id, device, bits, sealed, created_at, revoked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)")
X(KEK_FIND, "SELECT " KEK_COLS " FROM kek WHERE domain = ?1 AND key_id = ?2")
X(KEK_REVOKE, "UPDATE kek SET revoked_at = iif(revoked_at = 0, ?2, revoked_at), sealed = x'' WHERE id = ?1")
X(KEK_EACH, "SELECT " KEK_COLS " FROM kek WHERE id > ?1 ORDER BY id LIMIT ?2")

X(AUDIT_LAST, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
X(AUDIT_INSERT, "INSERT INTO audit (" AUDIT_COLS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)")
X(AUDIT_EACH, "SELECT " AUDIT_COLS " FROM audit WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq")
X(AUDIT_HASH, "SELECT hash FROM audit WHERE seq = ?1")
X(AUDIT_LAST_TIME, "SELECT time FROM audit ORDER BY seq DESC LIMIT 1")
X(HEAD_INSERT, "INSERT INTO audit_head (" HEAD_COLS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
X(HEAD_LAST, "SELECT " HEAD_COLS " FROM audit_head ORDER BY seq DESC LIMIT 1")
X(HEAD_EACH, "SELECT " HEAD_COLS " FROM audit_head WHERE seq > ?1 ORDER BY seq LIMIT ?2")

X(ALARM_INSERT, "INSERT INTO alarm (time, kind, domain, object, text, cleared_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
X(ALARM_CLEAR,
  "UPDATE alarm SET cleared_at = ?4 WHERE kind = ?1 AND domain = ?2 AND object = ?3 AND cleared_at = 0")
X(ALARM_EACH, "SELECT " ALARM_COLS " FROM alarm ORDER BY id")
X(ALARM_OPEN, "SELECT " ALARM_COLS " FROM alarm WHERE cleared_at = 0 ORDER BY id")
X(ALARM_PAGE, "SELECT " ALARM_COLS " FROM alarm WHERE id > ?1 AND (?2 = 0 OR cleared_at = 0) ORDER BY id LIMIT ?3")
X(ALARM_BY_ID, "SELECT " ALARM_COLS " FROM alarm WHERE id = ?1")
X(ALARM_IS_OPEN, "SELECT EXISTS (SELECT 1 FROM alarm WHERE kind = ?1 AND domain = ?2 AND object = ?3 AND cleared_at = 0)")
X(ALARM_ACK, "UPDATE alarm SET acked_at = ?4, acked_by = ?2, note = ?3 WHERE id = ?1 AND acked_at = 0 AND cleared_at = 0")
X(ALARM_EVENT_EACH,
  "SELECT v.seq, v.what, v.time, a.* FROM alarm_event v JOIN (SELECT " ALARM_COLS " FROM alarm) a ON a.id = v.alarm "
  "WHERE v.seq > ?1 ORDER BY v.seq LIMIT ?2")
X(ALARM_EVENT_LAST, "SELECT coalesce(max(seq), 0) FROM alarm_event")
X(ALARM_TALLY, "SELECT kind, count(*) FROM alarm WHERE cleared_at = 0 GROUP BY kind")
X(BATCH_TALLY, "SELECT state, count(*) FROM batch INDEXED BY batch_open WHERE ended_at = 0 GROUP BY state")
X(PENDING_TALLY, "SELECT count(*) FROM pending WHERE state < 2 AND state = 0")
X(DEVICE_TALLY,
  "SELECT state, count(*), max(id) FROM (SELECT id, state FROM device WHERE id > ?1 ORDER BY id LIMIT ?2) GROUP BY state")
X(RENEWAL_TALLY,
  "SELECT coalesce(max(id), 0), coalesce(sum(ours AND not_after > ?3), 0), coalesce(sum(ours AND not_after > ?3 AND due <= ?3), 0), "
  "coalesce(sum(ours AND not_after <= ?3 AND not_after > ?3 - 2592000), 0), "
  "coalesce(min(iif(ours AND not_after > ?3 AND due <= ?3, due, NULL)), 0) FROM "
  "(SELECT id, not_after, not_before + (not_after - not_before) / 3 * 2 AS due, "
  "device IS NOT NULL AND kind = ?4 AND status = 0 AND replaced_by IS NULL AS ours FROM cert WHERE id > ?1 ORDER BY id LIMIT ?2)")

X(ORDER_INSERT,
  "INSERT INTO work_order (order_no, domain, product, model, lot, line, profile, key_mode, quantity, by_list, prefix, first, "
  "digits, stations, firmware, targets, not_before, not_after, rekeys_allowed, rework_allowed, defer_allowed, "
  "orphan_after_s, evidence, customer_key, note, file_hash, signer, kid, state, opened_at, closed_at, units_after) "
  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, "
  "?25, ?26, ?27, ?28, ?29, ?30, ?31, (SELECT coalesce(max(id), 0) FROM unit)) RETURNING id, units_after")
X(ORDER_FILE_ADD, "INSERT INTO order_file (work_order, part, octets) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")
X(ORDER_FILE, "SELECT octets FROM order_file WHERE work_order = ?1 ORDER BY part")
X(ORDER_REPORT_INSERT, "INSERT INTO order_report (work_order, report) VALUES (?1, x'')")
X(ORDER_REPORT, "SELECT report FROM order_report WHERE work_order = ?1")
X(ORDER_SET_REPORT, "UPDATE order_report SET report = ?2 WHERE work_order = ?1")
X(ORDER_BY_NO, "SELECT " ORDER_COLS " FROM work_order WHERE order_no = ?1")
X(ORDER_SET_STATE, "UPDATE work_order SET state = ?2, closed_at = iif(?3 = 0, closed_at, ?3) WHERE id = ?1")
X(ORDER_EACH, "SELECT " ORDER_COLS " FROM work_order WHERE id > ?1 ORDER BY id LIMIT ?2")
X(ORDER_EACH_LIVE, "SELECT " ORDER_COLS " FROM work_order WHERE state <> 2 AND id > ?1 ORDER BY id LIMIT ?2")
X(ORDER_ID_ADD, "INSERT INTO order_id (work_order, device_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
X(ORDER_ID_HAS, "SELECT 1 FROM order_id WHERE work_order = ?1 AND device_id = ?2")
X(ORDER_ID_COUNT, "SELECT count(*) FROM order_id WHERE work_order = ?1")
X(ORDER_REFUSED,
  "INSERT INTO order_count (work_order, reason, n) VALUES (?1, ?2, 1) ON CONFLICT (work_order, reason) DO UPDATE SET n = n + 1")
X(ORDER_REFUSALS, "SELECT reason, n FROM order_count WHERE work_order = ?1 ORDER BY reason")
X(TALLY_INSERT, "INSERT INTO order_tally (work_order, " TALLY_COLS ") VALUES (?1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)")
X(TALLY, "SELECT " TALLY_COLS " FROM order_tally WHERE work_order = ?1")
X(TALLY_ADD,
  "UPDATE order_tally SET next = next + ?2, reserved = reserved + ?3, captured = captured + ?4, issued = issued + ?5, "
  "confirmed = confirmed + ?6, packed = packed + ?7, shipped = shipped + ?8, unused = unused + ?9, voided = voided + ?10, "
  "orphaned = orphaned + ?11, scrapped = scrapped + ?12, rekeyed = rekeyed + ?13, reworked = reworked + ?14 "
  "WHERE work_order = ?1")
X(SPAN_OF_UNITS, "SELECT coalesce(min(reserved_at), 0), coalesce(max(max(reserved_at, issued_at, confirmed_at, packed_at, "
  "shipped_at, ended_at)), 0) FROM unit WHERE work_order = ?1 AND id > ?2 AND id <= ?3")
X(TALLY_OF_UNITS, "SELECT " UNIT_TALLY " FROM unit WHERE work_order = ?1 AND id > ?2 AND id <= ?3")
X(UNITS_REWORKED,
  "SELECT count(*) FROM unit WHERE work_order = ?1 AND id > (SELECT units_after FROM work_order WHERE id = ?1) "
  "AND (state = 7 OR (state IN (2, 3) AND confirmed_at <> 0))")
X(ORDER_STATE_COUNTS,
  "SELECT state, count(*) FROM unit WHERE work_order = ?1 AND id > (SELECT units_after FROM work_order WHERE id = ?1) "
  "GROUP BY state")

X(STATION_INSERT,
  "INSERT INTO station (name, domain, line, roles, profile, created_at, not_after, revoked_at) "
  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
X(STATION_BY_NAME, "SELECT " STATION_COLS " FROM station WHERE name = ?1")
X(STATION_BY_ID, "SELECT " STATION_COLS " FROM station WHERE id = ?1")
X(STATION_REVOKE, "UPDATE station SET revoked_at = iif(revoked_at = 0, ?2, revoked_at) WHERE id = ?1")
X(STATION_EACH, "SELECT " STATION_COLS " FROM station ORDER BY id")

X(UNIT_INSERT,
  "INSERT INTO unit (work_order, device, ordinal, state, cert, reserved_at, issued_at, confirmed_at, packed_at, shipped_at, "
  "ended_at, due_at, rekeys, reworks) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)")
X(UNIT_UPDATE,
  "UPDATE unit SET state = ?2, cert = ?3, issued_at = ?4, confirmed_at = ?5, packed_at = ?6, shipped_at = ?7, ended_at = ?8, "
  "due_at = ?9, rekeys = ?10, reworks = ?11 WHERE id = ?1")
X(UNIT_FIND, "SELECT " UNIT_COLS " " UNIT_FROM " WHERE u.device = ?1 AND u.work_order = ?2")
X(UNIT_BY_ID, "SELECT " UNIT_COLS " " UNIT_FROM " WHERE u.id = ?1")
X(UNIT_NEWEST, "SELECT " UNIT_COLS " " UNIT_FROM " WHERE u.device = ?1 ORDER BY u.work_order DESC LIMIT 1")
X(UNIT_EACH,
  "SELECT " UNIT_COLS " " UNIT_FROM " WHERE u.work_order = ?1 AND (?2 < 0 OR u.state = ?2) "
  "AND u.id > max(?3, (SELECT units_after FROM work_order WHERE id = ?1)) ORDER BY u.id LIMIT ?4")
X(UNIT_DUE, "SELECT " UNIT_COLS " " UNIT_FROM " WHERE u.state = 2 AND u.due_at <= ?1 ORDER BY u.due_at LIMIT ?2")
X(UNIT_LAST, "SELECT coalesce(max(id), 0) FROM unit")

X(REQUEST_FIND, "SELECT unit FROM unit_request WHERE work_order = ?1 AND station = ?2 AND token = ?3")
X(REQUEST_PUT, "INSERT INTO unit_request (work_order, station, token, unit) VALUES (?1, ?2, ?3, ?4)")
X(EVENT_INSERT,
  "INSERT INTO unit_event (unit, time, event, station, badge, tool, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
X(EVENT_COUNT, "SELECT count(*) FROM (SELECT 1 FROM unit_event WHERE unit = ?1 LIMIT ?2)")
X(EVENT_NEWEST, "SELECT detail FROM unit_event WHERE unit = ?1 AND event = ?2 ORDER BY id DESC LIMIT 1")
X(EVENT_EACH,
  "SELECT e.id, e.unit, e.time, e.event, e.station, e.badge, e.tool, e.detail, coalesce(s.name, '') FROM unit_event e "
  "LEFT JOIN station s ON s.id = e.station WHERE e.unit = ?1 ORDER BY e.id DESC LIMIT ?2")
X(REQUEST_INSERT,
  "INSERT INTO request (state, device, credential_hash, operation, label, profile, bound, content_hash, spki_hash, csr, why, "
  "created_at, expires_at, decided_at, decided_by, reason, ended_at, cert) "
  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, '', '', 0, NULL)")
X(REQUEST_BY_ID, "SELECT " REQUEST_COLS " " REQUEST_ROWS " WHERE r.id = ?1")
X(REQUEST_MATCH,
  "SELECT " REQUEST_COLS " " REQUEST_ROWS " WHERE r.device = ?1 AND r.credential_hash = ?2 "
  "AND r.operation = ?3 AND r.label = ?4 AND r.profile = ?5 AND r.bound = ?6 "
  "AND iif(?6, r.spki_hash = ?8, r.content_hash = ?7) ORDER BY r.id DESC LIMIT 1")
X(REQUEST_OPEN,
  "SELECT (SELECT count(*) FROM request WHERE device = ?1 AND state < 2), (SELECT count(*) FROM request WHERE state < 2)")
X(REQUEST_IS_OPEN, "SELECT EXISTS (SELECT 1 FROM request WHERE device = ?1 AND state < 2 AND credential_hash = ?2)")
X(REQUEST_COUNTS,
  "SELECT coalesce(sum(state = 0), 0), coalesce(sum(state = 1), 0), coalesce(min(iif(state = 0, created_at, NULL)), 0) "
  "FROM request WHERE state < 2")
X(REQUEST_DECIDE,
  "UPDATE request SET state = ?2, decided_at = ?3, decided_by = ?4, reason = ?5, expires_at = iif(?6, ?6, expires_at), "
  "ended_at = iif(?2 > 2, ?3, 0) WHERE id = ?1")
X(REQUEST_ISSUED, "UPDATE request SET state = 2, cert = ?2, ended_at = ?3 WHERE id = ?1 AND state = 1")
X(REQUEST_DUE, "SELECT " REQUEST_COLS " " REQUEST_ROWS " WHERE r.state < 2 AND r.expires_at <= ?1 ORDER BY r.expires_at LIMIT 1")
X(REQUEST_FORGET, "DELETE FROM request WHERE state >= 2 AND ended_at < iif(state = 4, ?1, ?2) AND ended_at < max(?1, ?2)")
X(REQUEST_EACH,
  "SELECT " REQUEST_COLS " " REQUEST_ROWS " WHERE r.id > ?1 AND (?2 < 0 OR r.state = ?2) ORDER BY r.id LIMIT ?3")

X(CAPTURE_PUT,
  "INSERT INTO capture (unit, work_order, state, station, badge, tool, spki_hash, csr, captured_at, try_at, tries, reason) "
  "VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, '') ON CONFLICT (unit) DO UPDATE SET state = 0, "
  "station = excluded.station, badge = excluded.badge, tool = excluded.tool, spki_hash = excluded.spki_hash, "
  "csr = excluded.csr, captured_at = excluded.captured_at, try_at = excluded.try_at, tries = 0, reason = ''")
X(CAPTURE_FIND, "SELECT " CAPTURE_COLS " " CAPTURE_FROM " WHERE p.unit = ?1")
X(CAPTURE_SET, "UPDATE capture SET state = ?2, try_at = ?3, tries = ?4, reason = ?5 WHERE unit = ?1")
X(CAPTURE_DELETE, "DELETE FROM capture WHERE unit = ?1")
X(CAPTURE_DUE,
  "SELECT " CAPTURE_COLS " " CAPTURE_FROM " WHERE p.work_order = ?1 AND p.state = 0 AND p.try_at <= ?2 ORDER BY p.try_at LIMIT ?3")
X(CAPTURE_EACH,
  "SELECT " CAPTURE_COLS " " CAPTURE_FROM " WHERE p.unit > ?2 AND (?1 = 0 OR p.work_order = ?1) ORDER BY p.unit LIMIT ?3")
X(CAPTURE_COUNTS,
  "SELECT coalesce(sum(state = 0), 0), coalesce(sum(state = 1), 0), coalesce(min(iif(state = 0, captured_at, NULL)), 0) FROM capture")

X(OPERATOR_INSERT, "INSERT INTO operator (name, roles, user, added_at, ended_at) VALUES (?1, ?2, ?3, ?4, 0)")
X(OPERATOR_BY_NAME, "SELECT " OPERATOR_COLS " FROM operator WHERE name = ?1")
X(OPERATOR_BY_ID, "SELECT " OPERATOR_COLS " FROM operator WHERE id = ?1")
X(OPERATOR_BY_USER, "SELECT " OPERATOR_COLS " FROM operator WHERE user = ?1 AND user <> '' AND ended_at = 0")
X(OPERATOR_CHANGE, "UPDATE operator SET roles = ?2, user = ?3 WHERE id = ?1")
X(OPERATOR_END, "UPDATE operator SET ended_at = ?2 WHERE id = ?1 AND ended_at = 0")
X(OPERATOR_EACH, "SELECT " OPERATOR_COLS " FROM operator WHERE id > ?1 ORDER BY id LIMIT ?2")
X(OPERATOR_KEY_TAKEN,
  "SELECT 1 FROM cert c WHERE c.id = ?2 AND (EXISTS (SELECT 1 FROM spki WHERE hash = c.spki_hash) OR EXISTS "
  "(SELECT 1 FROM operator_cert o JOIN cert k ON k.id = o.cert WHERE o.operator <> ?1 AND k.spki_hash = c.spki_hash))")
X(OPERATOR_CERT_INSERT, "INSERT INTO operator_cert (der_hash, operator, cert) VALUES (?1, ?2, ?3)")
X(OPERATOR_CERT_FIND, "SELECT operator, cert FROM operator_cert WHERE der_hash = ?1")
X(OPERATOR_CERT_NEXT, "SELECT cert FROM operator_cert WHERE operator = ?1 AND cert > ?2 ORDER BY cert LIMIT 1")
X(NONCE_INSERT, "INSERT INTO operator_nonce (nonce, until) VALUES (?1, ?2)")
X(NONCE_FORGET, "DELETE FROM operator_nonce WHERE until < ?1")
X(PENDING_INSERT,
  "INSERT INTO pending (state, operator, op, args, jws, created_at, expires_at, decided_at, ended_at, outcome) "
  "VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, 0, 0, '')")
X(PENDING_BY_ID, "SELECT " PENDING_COLS " " PENDING_FROM " WHERE p.id = ?1")
X(PENDING_DECIDE,
  "UPDATE pending SET state = ?2, second = ?3, outcome = ?4, decided_at = ?5, ended_at = ?6 WHERE id = ?1 AND state = 0")
X(PENDING_END, "UPDATE pending SET state = ?2, outcome = ?3, ended_at = ?4 WHERE id = ?1 AND state = 1")
X(PENDING_INTERRUPT, "UPDATE pending SET state = 3, outcome = 'the core ended while it ran', ended_at = ?1 WHERE state = 1")
X(PENDING_DUE, "SELECT id FROM pending WHERE state < 2 AND state = 0 AND expires_at <= ?1 ORDER BY expires_at LIMIT 1")
X(PENDING_CLOSE, "UPDATE pending SET state = ?2, outcome = ?3, ended_at = ?4 WHERE id = ?1 AND state = 0")
X(PENDING_OF, "SELECT count(*) FROM pending WHERE state < 2 AND state = 0 AND operator = ?1")
X(PENDING_EACH, "SELECT " PENDING_COLS " " PENDING_FROM " WHERE p.state < ?1 AND p.id > ?2 ORDER BY p.id LIMIT ?3")

/* store_check: each gives a row for what is wrong, and its first column names it. */
X(CHECK_INTEGRITY, "PRAGMA integrity_check(1)")
X(CHECK_REFERENCES, "PRAGMA foreign_key_check")
X(CHECK_SEQ, "SELECT 'status_log has ' || count(*) || ' rows up to ' || max(seq) FROM status_log HAVING count(*) <> max(seq)")
X(CHECK_AUDIT_SEQ, "SELECT 'audit has ' || count(*) || ' rows up to ' || max(seq) FROM audit HAVING count(*) <> max(seq)")
X(CHECK_STATUS,
  "SELECT 'certificate ' || lower(hex(c.serial)) || ' differs from status_log ' || c.status_seq FROM cert c "
  "LEFT JOIN status_log l ON l.seq = c.status_seq WHERE c.status_seq <> 0 AND (l.seq IS NULL OR l.issuer <> c.issuer "
  "OR l.serial <> c.serial OR l.status <> c.status OR l.reason <> c.reason) LIMIT 1")
X(CHECK_REVOKED,
  "SELECT 'certificate ' || lower(hex(c.serial)) || ' differs from revoked' FROM cert c "
  "LEFT JOIN revoked r ON r.issuer = c.issuer AND r.serial = c.serial WHERE c.status <> coalesce(r.status, 0) LIMIT 1")
X(CHECK_NEWEST,
  "SELECT 'certificate ' || lower(hex(l.serial)) || ' does not show status_log ' || l.seq FROM status_log l "
  "LEFT JOIN cert c ON c.issuer = l.issuer AND c.serial = l.serial "
  "LEFT JOIN revoked r ON r.issuer = l.issuer AND r.serial = l.serial "
  "WHERE l.issuer IS NOT NULL AND ((c.id IS NOT NULL AND c.status_seq < l.seq) "
  "OR (c.id IS NULL AND l.status = 2 AND coalesce(r.seq, 0) < l.seq)) LIMIT 1")
X(CHECK_REVOKED_LOG,
  "SELECT 'revoked ' || lower(hex(r.serial)) || ' differs from status_log ' || r.seq FROM revoked r "
  "LEFT JOIN status_log l ON l.seq = r.seq WHERE l.seq IS NULL OR l.issuer <> r.issuer OR l.serial <> r.serial "
  "OR l.status <> r.status LIMIT 1")
X(CHECK_TALLY,
  "SELECT 'work order ' || o.order_no || ': its counts differ from its units' FROM work_order o "
  "JOIN order_tally t ON t.work_order = o.id LEFT JOIN (SELECT work_order, count(*) AS reserved, "
  "sum(issued_at <> 0) AS issued, sum(confirmed_at <> 0) AS confirmed, sum(state = 5) AS packed, sum(state = 6) AS shipped, "
  "sum(state = 8) AS unused, sum(state = 9) AS voided, sum(state = 10) AS orphaned, sum(state = 11) AS scrapped, "
  "sum(rekeys) AS rekeyed, sum(reworks) AS reworked FROM unit GROUP BY work_order) u ON u.work_order = o.id "
  "WHERE t.reserved <> coalesce(u.reserved, 0) OR t.issued <> coalesce(u.issued, 0) "
  "OR t.confirmed <> coalesce(u.confirmed, 0) OR t.packed <> coalesce(u.packed, 0) OR t.shipped <> coalesce(u.shipped, 0) "
  "OR t.unused <> coalesce(u.unused, 0) OR t.voided <> coalesce(u.voided, 0) OR t.orphaned <> coalesce(u.orphaned, 0) "
  "OR t.scrapped <> coalesce(u.scrapped, 0) OR t.rekeyed <> coalesce(u.rekeyed, 0) "
  "OR t.reworked <> coalesce(u.reworked, 0) LIMIT 1")

X(BATCH_INSERT,
  "INSERT INTO batch (action, state, selector, reason, why, until, wanted, created_by, created_at, pending, approved_by, approved_at, undo_of, count, "
  "digest, canary, next, changed, same, refused, seq, started_at, ended_at, error) "
  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, '', 0, ?10, 0, x'', ?11, 0, 0, 0, 0, 0, 0, 0, '')")
X(BATCH_BY_ID, "SELECT " BATCH_COLS " FROM batch WHERE id = ?1")
X(BATCH_EACH, "SELECT " BATCH_COLS " FROM batch WHERE id < ?1 ORDER BY id DESC LIMIT ?2")
X(BATCH_EACH_OPEN, "SELECT " BATCH_COLS " FROM batch INDEXED BY batch_open WHERE ended_at = 0 AND id < ?1 ORDER BY id DESC LIMIT ?2")
X(BATCH_ALONE,
  "SELECT coalesce(sum(CASE WHEN ended_at = 0 THEN count ELSE next END), 0) FROM batch "
  "WHERE created_by = ?1 AND started_at <> 0 AND approved_by IN ('', created_by) AND (ended_at = 0 OR ended_at >= ?2)")
X(BATCH_UNAPPROVED, "SELECT id FROM batch INDEXED BY batch_open WHERE ended_at = 0 AND state = 1 AND pending = ?1")
X(BATCH_HALF,
  "SELECT id FROM batch INDEXED BY batch_open WHERE ended_at = 0 AND (state = 0 OR state = 1 AND NOT EXISTS "
  "(SELECT 1 FROM pending p WHERE p.id = batch.pending AND p.state = 0)) LIMIT 1")
X(BATCH_ITEM_PUT, "INSERT INTO batch_item (batch, n, device) VALUES (?1, ?2, ?3)")
X(BATCH_ITEM, "SELECT device FROM batch_item WHERE batch = ?1 AND n = ?2")
X(BATCH_FREEZE, "UPDATE batch SET count = ?2, digest = ?3 WHERE id = ?1 AND length(digest) = 0")
X(BATCH_SET_STATE,
  "UPDATE batch SET state = ?2, error = ?3, started_at = CASE WHEN started_at = 0 THEN ?4 ELSE started_at END, ended_at = ?5 "
  "WHERE id = ?1 AND ended_at = 0")
X(BATCH_PENDING, "UPDATE batch SET pending = ?2 WHERE id = ?1")
X(BATCH_APPROVED, "UPDATE batch SET approved_by = ?2, approved_at = ?3 WHERE id = ?1 AND approved_at = 0")
X(BATCH_ADVANCE, "UPDATE batch SET next = ?2, changed = ?3, same = ?4, refused = ?5, seq = ?6 WHERE id = ?1 AND ended_at = 0")
X(BATCH_REFUSED_PUT, "INSERT INTO batch_refused (batch, n, reason) VALUES (?1, ?2, ?3)")
X(BATCH_REFUSED_EACH,
  "SELECT r.n, d.domain, d.device_id, d.state, r.reason FROM batch_refused r CROSS JOIN batch_item i ON i.batch = r.batch AND i.n = r.n "
  "CROSS JOIN device d ON d.id = i.device WHERE r.batch = ?1 AND r.n > ?2 ORDER BY r.n LIMIT ?3")
X(BATCH_OF_DEVICE, "SELECT coalesce((SELECT batch FROM device_event WHERE device = ?1 ORDER BY id DESC LIMIT 1), 0)")
X(BATCH_STILL,
  "SELECT i.n, d.* FROM batch_item i CROSS JOIN (SELECT " DEVICE_COLS " FROM device) d ON d.id = i.device "
  "WHERE i.batch = ?1 AND i.n > ?2 AND d.state = ?3 "
  "AND (SELECT v.batch FROM device_event v WHERE v.device = d.id ORDER BY v.id DESC LIMIT 1) = ?1 ORDER BY i.n LIMIT ?4")
