/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Administration over the core's unix socket (DIR_RUN/admin.sock, SOCK_SEQPACKET, peer credentials checked).
 *
 *   ADMIN_REQUEST  str op ("cert.revoke"), bytes args (JSON object, at most 48 KiB); may pass one descriptor
 *   ADMIN_ROWS     bytes JSON array of row objects       zero or more; lists stream in pages
 *   ADMIN_PROGRESS u64 done, u64 total, str what         zero or more
 *   ADMIN_DONE     u8 err code, str message, bytes JSON result object; may pass one descriptor (backup, export); under
 *                  request id 0: the caller is refused before a request is read
 *
 *   ADMIN_SIGNED   bytes a request as an operator signed it (ca/signed_request.h); may pass one descriptor. Instead of ADMIN_REQUEST
 *   ADMIN_NODE     -                                      ADMIN_NODE  str node: what a signed request names
 *
 * One request at a time per connection. Unknown ops and unknown members of args are refused (E_INVALID).
 * The args object is strict; times are UTC seconds; serials lower-case hex; DER is base64.
 *
 * op             args                                            result / rows
 * status         {}                                              {ready, sealed, seq, time, processes:[{name,state,pid,restarts}], cas:[{name,ready,why,not_after}], crls:[...], audit:{...}, requests:{waiting, approved, oldest}, captures:{waiting, set_aside, oldest}}
 * doctor         {}                                              rows {check, state: ok|warn|fail, text, remedy}
 * token.list     {}                                              rows {name, label, module, offline, state}
 * token.info     {token}                                         {label, serial, model, manufacturer, firmware, initialised, pin_state}
 * token.init     {token}                                         {label, serial}
 * token.unblock  {token}                                         {}
 * key.list       {token?}                                        rows {name, token, purpose, algorithm, cka_id, spki_sha256, spki, created_at, on_token}
 * key.generate   {token, purpose: ca|ocsp|audit|record, name, algorithm} {name, cka_id, spki}
 * key.destroy    {name}                                          {}
 * ca.list        {}                                              rows {name, issuer, subject, not_before, not_after, key, token, offline, ready, certs}
 * ca.show        {name}                                          {…, sha256, cert}
 * ca.create      {name}                                          makes key (unless there) and certificate; roots self-signed; issuing CAs and OCSP responder certificates of
 *                                                                offline issuers are signed with the root's token started for this one command. Idempotent. {name, subject, not_after, created}
 * ca.request     {name}                                          of a CA with an external issuer: makes its key (unless there). {csr, subject}
 * ca.install     {name, cert, chain:[{cert}]}                    its certificate, and those above it up to the root, nearest first; then as ca.create. {name, subject, not_after, created}
 * ca.sign        {name, issuer, profile, csr, valid_s?}          certifies another service's CA (a line box) under that name; again: the same. {cert, chain:[…], serial, issuer, not_after}
 * ca.root_sign   {name}                                          re-signs what the offline root signs: CRL and responder certificate, and missing issuing CAs. {signed:[...]}
 * profile.list / profile.show {name}                             rows / {name, kind, ca, ..., hash}
 * domain.list / domain.show {name}                               rows {name, devices, anchors:[...]}
 * device.add     {domain?, device_id, product?, model?, lot?, order?, anchor?, firmware?}      {domain, device_id, unit}
 * device.import  {domain?, devices:[{device_id,...}]} (<= 500)    {added, existing}
 * device.count   {select, by?}                                   {count}; by a member: rows {MEMBER, units}
 * device.list    {select?, limit?} or {domain?, device_id? (trailing *), product?, lot?, state?, limit?}  rows {domain, device_id, state, product, model, lot, declared_at, enrolled_at, unit}
 * device.show    {domain?, device_id}                            {…, certs:[{serial, profile, status, not_after}]}
 * batch.preview  {action, select, reason?} or {undo: id}         what it would do; nothing is written. {action, count, refused, digest, states:[{state, units, would, why}], models:[{model, units}], domains:[...]}
 * batch.preview_list {action, domain?}; fd: one id a line        the same
 * batch.create   {action, select, reason?, why?, until?, firmware_wanted?, canary?, count?, digest?}  answers when the list is frozen; count and digest: it must be the one
 *                                                                that was shown; only root may do without. {id, action, state, count, digest, done, changed, same, refused, ...}
 * batch.create_list {action, domain?, ...}; fd: one id a line    the same
 * batch.undo     {id, why?, count?, digest?}                     a new batch that releases what that one holds still. As batch.create
 * batch.list     {open?, limit?}                                 rows as batch.create, the newest first
 * batch.show     {id}                                            as batch.create
 * batch.refused  {id}                                            rows {n, domain, device_id, state, reason}
 * batch.run      {id, action?, select?, count, digest}           another person's word that this list may be done. As batch.create
 * batch.pause    {id}   batch.resume {id}   batch.cancel {id}    as batch.create
 * device.stop    {domain?, device_id, reason?}                   {state, seq, changed}: scrapped before it is confirmed or while in stock, else decommissioned
 * device.ship, unship, release, compromise, lose, find, repair, decommission, recommission
 *                {domain?, device_id, reason?: text}             {state, seq, changed}; acknowledged as cert.revoke. docs/lifecycle.md
 * device.suspend {…, until?}   device.quarantine {…, firmware_wanted?}   device.repaired, device.dispose {…, evidence: text}      the same
 * device.compromise_confirm {domain?, device_id}                 {state}; another person than the one who reported it
 * device.set_firmware {domain?, device_id, firmware}             {state, seq, changed}
 * device.transfer {}; fd of the order as the old owner signed it   {transfer, from, to, devices: n, seq, changed}; again: no change
 * device.accept  {}; fd of the acceptance as the new owner signed it   the same
 * device.transfer_cancel {transfer}                              the same
 * device.history {domain?, device_id}                            rows {time, event, from, to, by, why, evidence}, oldest first
 * secret.add     {device_id, domain?, valid_s?, profile?} or {group: pattern, domain?, profile?, quota, valid_s}   {user, secret}
 * secret.list    {}                                              rows {user, kind, domain, device_id|pattern, quota, used, not_after, state}
 * secret.revoke  {user}                                          {}
 * request.list   {state?}                                        rows {id, state, domain, device_id, operation, label, profile, why, created_at, expires_at, reason}
 * request.show   {id}                                            {…, subject, csr, spki_sha256, bound, decided_at, decided_by, ended_at, serial}
 * request.approve {id}   request.refuse {id, reason}             {id, state}
 * order.open     {}; fd of the signed order file                 the order, as order.status without units
 * order.list     {live?}                                         rows {order, product, quantity, state, reserved, confirmed, counts, refused, ...}
 * order.status   {order}                                         {..., counts: {...}, refused: {reason: n}, units: {state: n}}
 * order.units    {order, state?, limit?}                         rows {device_id, state, ordinal, reserved_at, ..., rekeys, reworks}
 * order.close    {order, force?}                                 when it is closed: the order
 * order.report   {order}                                         {order, report: text of the JWS}; signs it first where that was not possible at the closing
 * record.signer  {}                                              {cert, chain, serial, issuer, not_after}; what records are verified with
 * order.export   {order, format: units|native|microchip}         rows {device_id, state, certificate, ...}, or {device_id, jws}; native: {count, index: text of the JWS}
 * unit.show      {unit: "ORDER/DEVICE"}                          {..., cert: {...}, events: [...]}
 * station.add    {name, domain?, line, roles: "issue,verify", valid_s?, profile?, csr}    {name, cert, chain, issuer, serial, not_after}
 * station.list   {}                                              rows {name, domain, line, roles, profile, created_at, not_after, revoked_at}
 * station.revoke {name}                                          {revoked: n}; acknowledged as cert.revoke
 * capture.list   {order?}                                        rows {order, device_id, state, station, badge, captured_at, tries, reason}
 * capture.retry  {unit: "ORDER/DEVICE"}                          {}
 * capture.drop   {unit: "ORDER/DEVICE"}                          {} the unit is unused
 * cert.issue     {profile, csr, device_id?, domain?, name?, product?, model?, lot?}     {cert, chain:[…], serial, issuer, not_after}
 * cert.list      {select?, limit?} or {issuer?, device_id?, domain?, profile?, status?, expires_before?, limit?} rows {issuer, serial, profile, device_id, domain, status, reason, not_before, not_after}
 * cert.show      {issuer, serial} | {cert}                       {…, der, pem, subject, status, reason, status_at, seq, requester, profile_hash}
 * cert.revoke    {issuer, serial | cert, reason?, invalidity?}   {status, seq, changed}; acknowledged after commit, status and every live front
 * cert.hold      {…}   cert.release {…}                          the same
 * crl.list       {}                                              rows {issuer, shard, number, this_update, next_update, entries, size}
 * crl.publish    {issuer?}                                       {published:[{issuer, shard, number}]}
 * crl.get        {issuer, shard?}                                {number}; fd with DER
 * crl.import     {}; fd: a full list, DER or PEM, of a CA above one of ours that is certified elsewhere. rows {ca, subject, status, reason, number, changed}
 * budget.grant   {box, order?, units, until}                     at a centre: a signed allowance for a line box. {box, number, order, units, until, file}
 * budget.install {}; fd: such a file                             at the box; the same again changes nothing. {box, number, order, units, spent, left, until, issued_at, changed}
 * budget.list    {box?}                                          rows as budget.install
 * box.list       {}                                              at a centre: rows {name, good, not_after, devices, granted, set_aside, heard_at, difference, units:{ORDER:{STATE:n}}, ...}
 * box.show       {name}                                          one of them
 * box.report     {name, order}                                   {box, order, at, report: text of the JWS, chain: PEM of what it is verified with}
 * box.records    {name?, all?, limit?}                           what was set aside, or with all:1 everything: rows {box, stream, seq, at, outcome, reason, body}
 * box.link       {name, profile, csr}                            the certificate a box's inkan-sync presents. As cert.issue
 * box.outbox     {cert?, unit?, status?, report?}                   at a box: a page of its rows after these. {box, epoch, last, records, audit, centre, heard,
 *                                                                counts?}
 * box.heard      {changes, heard, centre, seen?}                 at a box: what the centre answered. {changed, forked}
 * ocsp.list      {}                                              rows {issuer, not_after, renew_at, token, key}
 * gateway.list   {}                                              rows {name, serial, seen_at, server, applied_seq, applied_at, in_force_at}: one for each server of a gateway
 * audit.export   {from?, to?}                                    rows {seq, time, event, actor, actor_kind, domain, object, detail, request_digest, prev_hash, hash, signature?, approvals?}
 * audit.heads    {}                                              rows {seq, time, hash, key, tbs, signature}
 * alarm.list     {all?}                                          rows {id, kind, state: open|acked|cleared, domain, object, text, raised_at, acked_at, acked_by, note, cleared_at, ends_by_itself}
 * alarm.show     {id}                                            one of them
 * alarm.ack      {id, note?}                                     a person has looked; one that does not end by itself is cleared. The same
 * operator.add   {name, roles: "operator,security", user?, csr?}   without csr: an operator of the local socket alone. {name, roles, user} and, with csr, as cert.issue
 * operator.change {name, roles?, user?, csr?}                    user "-": none. csr: one certificate more, as when the old one ends. The same
 * operator.end   {name}                                          revokes the operator's certificates. {name, revoked: n}; acknowledged as cert.revoke
 * operator.list  {}                                              rows {name, roles, user, added_at, ended_at, certs}
 * operator.show  {name}                                          {..., certs: [{issuer, serial, status, not_after}]}
 * approval.list  {all?}                                          rows {id, state, op, by, created_at, expires_at, second, outcome}
 * approval.show  {id}                                            {..., args, digest}
 * approval.approve {id, digest}                                  by another operator: runs what waits, and answers as that does
 * approval.refuse {id, reason?}                                  by anyone who could approve it, or its author. {id, state}
 * backup         {}                                              {seq, audit_seq, size, sha256}; fd of the copy
 * restore.accept {}                                              {reimported, lost: text}
 * clock.accept   {}                                              {time}
 */
#ifndef INKAN_CA_ADMIN_H
#define INKAN_CA_ADMIN_H

#include "base/msg.h"

#define ADMIN_SOCKET   "admin.sock"
#define ADMIN_ARGS_MAX (48 * 1024)

enum admin_type {
    ADMIN_REQUEST = MSG_RANGE_ADMIN,
    ADMIN_ROWS,
    ADMIN_PROGRESS,
    ADMIN_DONE,
    ADMIN_SIGNED,
    ADMIN_NODE,
};

/*
 * The link between the core and inkan-admin. A connection of the network becomes one of the core's: inkan-admin makes a socket pair and
 * gives one end away; it speaks as above there, but ADMIN_REQUEST is refused: what it carries counts by its signature alone.
 *
 *   inkan-admin -> core                       core -> inkan-admin
 *   ADMIN_OPEN      -; fd                     ADMIN_ANCHORS  -; fd: PEM of the CAs that operators' certificates chain to
 *   ADMIN_TLS_CERT  bytes CSR                 ADMIN_TLS_CERT_RESULT  as SVC_TLS_CERT_RESULT (ca/service.h)
 */
enum admin_link_type {
    ADMIN_OPEN = MSG_RANGE_ADMIN + 0x80,
    ADMIN_ANCHORS,
    ADMIN_TLS_CERT,
    ADMIN_TLS_CERT_RESULT,
};

#endif
