-- SPDX-License-Identifier: Apache-2.0
-- The first schema of the ledger. docs/ledger.md explains every table. A released migration is never edited.
--
-- Times are UTC seconds since 1970, 0 = not. Serials are big-endian octets without a sign octet. DER is stored as signed.
-- Text that is not known is ''. References that are absent are NULL.

CREATE TABLE meta (
  name  TEXT NOT NULL PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE key (
  id           INTEGER PRIMARY KEY,
  name         TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 128),
  token        TEXT NOT NULL CHECK (length(token) <= 64),
  purpose      INTEGER NOT NULL,
  alg          INTEGER NOT NULL,
  cka_id       BLOB NOT NULL CHECK (length(cka_id) = 16),
  spki         BLOB NOT NULL,
  created_at   INTEGER NOT NULL,
  destroyed_at INTEGER NOT NULL
) STRICT;

-- One row per CA certificate; the newest row of a name is in use.
CREATE TABLE issuer (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
  parent     INTEGER REFERENCES issuer (id),
  key        INTEGER REFERENCES key (id),
  subject    BLOB NOT NULL,
  spki       BLOB NOT NULL,
  cert       BLOB NOT NULL,
  ski        BLOB NOT NULL CHECK (length(ski) = 20),
  not_before INTEGER NOT NULL,
  not_after  INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX issuer_name ON issuer (name, id);
CREATE INDEX issuer_subject ON issuer (subject);

CREATE TABLE profile (
  hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
  name TEXT NOT NULL,
  body TEXT NOT NULL,
  at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- unit is the id of the unit's first device row. state: enum device_state (base/life.h), prev_state the one before it.
-- moved_to: the row it became when its owner changed.
CREATE TABLE device (
  id           INTEGER PRIMARY KEY,
  unit         INTEGER NOT NULL REFERENCES device (id),
  domain       TEXT NOT NULL CHECK (length(domain) BETWEEN 1 AND 64),
  device_id    TEXT NOT NULL CHECK (length(device_id) BETWEEN 1 AND 64),
  anchor       TEXT NOT NULL,
  product      TEXT NOT NULL,
  model        TEXT NOT NULL,
  lot          TEXT NOT NULL,
  order_no     TEXT NOT NULL,
  station      TEXT NOT NULL,
  line         TEXT NOT NULL,
  firmware     TEXT NOT NULL,
  state        INTEGER NOT NULL CHECK (state BETWEEN 0 AND 14),
  prev_state   INTEGER NOT NULL CHECK (prev_state BETWEEN 0 AND 14),
  state_at     INTEGER NOT NULL,
  declared_at  INTEGER NOT NULL,
  enrolled_at  INTEGER NOT NULL,
  group_secret INTEGER REFERENCES secret (id),
  moved_to     INTEGER REFERENCES device (id),
  UNIQUE (domain, device_id)
) STRICT;
CREATE INDEX device_unit ON device (unit);

-- A public key belongs to one physical unit, across all domains.
CREATE TABLE spki (
  hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
  unit INTEGER NOT NULL REFERENCES device (id),
  at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Written and durable before anything is signed. state: 0 open, 1 done, 2 void. Rows stay for ever: a serial is never reused.
-- They lie in the order they came: the one to finish is on one of the last pages. Only the unfinished ones have an index of their
-- own; the serial of a done one has a row in cert, whose index refuses it to another intent.
CREATE TABLE intent (
  issuer       INTEGER NOT NULL REFERENCES issuer (id),
  serial       BLOB NOT NULL CHECK (length(serial) BETWEEN 1 AND 20),
  tbs_hash     BLOB NOT NULL CHECK (length(tbs_hash) = 32),
  profile_hash BLOB NOT NULL CHECK (length(profile_hash) = 32),
  requester    TEXT NOT NULL,
  domain       TEXT NOT NULL,
  device       INTEGER REFERENCES device (id),
  created_at   INTEGER NOT NULL,
  state        INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),
  finished_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX intent_unfinished ON intent (issuer, serial) WHERE state <> 1;
CREATE TRIGGER intent_stays BEFORE DELETE ON intent
BEGIN SELECT RAISE(ABORT, 'an intent is never deleted'); END;
CREATE TRIGGER intent_is_as_drawn BEFORE UPDATE OF issuer, serial, tbs_hash ON intent
BEGIN SELECT RAISE(ABORT, 'an intent keeps what it was drawn for'); END;

-- status, reason, status_at and status_seq repeat the newest row of status_log. status: 0 good, 1 on hold, 2 revoked.
-- hold_by: who holds it, a bit each: 1 an operator, 2 the state of its device, 4 the line, 8 the centre, 16 a line box.
CREATE TABLE cert (
  id              INTEGER PRIMARY KEY,
  issuer          INTEGER NOT NULL REFERENCES issuer (id),
  serial          BLOB NOT NULL CHECK (length(serial) BETWEEN 1 AND 20),
  der             BLOB NOT NULL,
  der_hash        BLOB NOT NULL CHECK (length(der_hash) = 32),
  spki_hash       BLOB NOT NULL CHECK (length(spki_hash) = 32),
  profile_hash    BLOB NOT NULL REFERENCES profile (hash),
  profile         TEXT NOT NULL,
  kind            INTEGER NOT NULL,
  operation       INTEGER NOT NULL,
  device          INTEGER REFERENCES device (id),
  domain          TEXT NOT NULL,
  requester       TEXT NOT NULL,
  credential_hash BLOB NOT NULL CHECK (length(credential_hash) = 32),
  order_no        TEXT NOT NULL,
  station         TEXT NOT NULL,
  line            TEXT NOT NULL,
  model           TEXT NOT NULL,
  lot             TEXT NOT NULL,
  firmware        TEXT NOT NULL,
  shard           INTEGER NOT NULL,
  issued_at       INTEGER NOT NULL,
  not_before      INTEGER NOT NULL,
  not_after       INTEGER NOT NULL,
  status          INTEGER NOT NULL CHECK (status BETWEEN 0 AND 2),
  hold_by         INTEGER NOT NULL CHECK (hold_by BETWEEN 0 AND 31),
  reason          INTEGER NOT NULL,
  status_at       INTEGER NOT NULL,
  status_seq      INTEGER NOT NULL,
  replaced_by     INTEGER REFERENCES cert (id),
  first_used_at   INTEGER NOT NULL,
  UNIQUE (issuer, serial),
  CHECK ((status = 1) = (hold_by <> 0))
) STRICT;
CREATE INDEX cert_device ON cert (device, kind, id) WHERE device IS NOT NULL;
CREATE INDEX cert_requester ON cert (requester, kind, id) WHERE device IS NULL;
CREATE INDEX cert_not_good ON cert (status) WHERE status <> 0;

CREATE TRIGGER cert_stays BEFORE DELETE ON cert
BEGIN SELECT RAISE(ABORT, 'a certificate row is never deleted'); END;
CREATE TRIGGER cert_is_as_signed BEFORE UPDATE OF issuer, serial, der, der_hash, spki_hash, not_before, not_after ON cert
BEGIN SELECT RAISE(ABORT, 'a certificate row keeps what was signed'); END;
CREATE TRIGGER cert_revoked_is_final BEFORE UPDATE OF status ON cert WHEN OLD.status = 2 AND NEW.status <> 2
BEGIN SELECT RAISE(ABORT, 'a revoked certificate never returns'); END;

-- The one log of what relying services must hear of: certificates (issuer and serial) and devices (device and device_state),
-- alone or together. kind and der_hash are those of a certificate's first row. device_state NULL: the row says nothing of it.
CREATE TABLE status_log (
  seq          INTEGER PRIMARY KEY,
  issuer       INTEGER REFERENCES issuer (id),
  serial       BLOB NOT NULL CHECK (length(serial) <= 20),
  status       INTEGER NOT NULL CHECK (status BETWEEN 0 AND 2),
  reason       INTEGER NOT NULL,
  time         INTEGER NOT NULL,
  invalidity   INTEGER NOT NULL,
  not_after    INTEGER NOT NULL,
  batch        INTEGER NOT NULL,
  origin       TEXT NOT NULL,
  device       INTEGER,
  device_state INTEGER CHECK (device_state BETWEEN 0 AND 14),
  kind         INTEGER NOT NULL,
  der_hash     BLOB NOT NULL CHECK (length(der_hash) IN (0, 32)),
  CHECK ((issuer IS NULL) = (length(serial) = 0)),
  CHECK (issuer IS NOT NULL OR device IS NOT NULL)
) STRICT;
CREATE TRIGGER status_log_stays BEFORE DELETE ON status_log
BEGIN SELECT RAISE(ABORT, 'the status log only grows'); END;
CREATE TRIGGER status_log_is_final BEFORE UPDATE ON status_log
BEGIN SELECT RAISE(ABORT, 'the status log only grows'); END;

-- What is revoked or on hold now, in the order a CRL lists it. Also certificates known only from an imported CRL.
CREATE TABLE revoked (
  issuer     INTEGER NOT NULL REFERENCES issuer (id),
  serial     BLOB NOT NULL,
  shard      INTEGER NOT NULL,
  status     INTEGER NOT NULL CHECK (status BETWEEN 1 AND 2),
  reason     INTEGER NOT NULL,
  time       INTEGER NOT NULL,
  invalidity INTEGER NOT NULL,
  not_after  INTEGER NOT NULL,
  seq        INTEGER NOT NULL REFERENCES status_log (seq),
  batch      INTEGER NOT NULL,
  origin     TEXT NOT NULL,
  PRIMARY KEY (issuer, serial)
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_shard ON revoked (issuer, shard, serial) WHERE shard <> 0;
CREATE TRIGGER revoked_is_final BEFORE DELETE ON revoked WHEN OLD.status = 2
BEGIN SELECT RAISE(ABORT, 'a revoked certificate never returns'); END;

-- The time of the newest revocation, hold or release; shard 0 is the whole issuer.
CREATE TABLE status_newest (
  issuer INTEGER NOT NULL REFERENCES issuer (id),
  shard  INTEGER NOT NULL,
  time   INTEGER NOT NULL,
  PRIMARY KEY (issuer, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE crl_number (
  issuer INTEGER NOT NULL REFERENCES issuer (id),
  shard  INTEGER NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (issuer, shard)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER crl_number_rises BEFORE UPDATE ON crl_number WHEN NEW.number <= OLD.number
BEGIN SELECT RAISE(ABORT, 'a CRLNumber is never used twice'); END;
CREATE TRIGGER crl_number_stays BEFORE DELETE ON crl_number
BEGIN SELECT RAISE(ABORT, 'a CRLNumber is never used twice'); END;

CREATE TABLE crl (
  id           INTEGER PRIMARY KEY,
  issuer       INTEGER NOT NULL REFERENCES issuer (id),
  shard        INTEGER NOT NULL,
  number       INTEGER NOT NULL,
  this_update  INTEGER NOT NULL,
  next_update  INTEGER NOT NULL,
  published_at INTEGER NOT NULL,
  seq          INTEGER NOT NULL,
  entries      INTEGER NOT NULL,
  regular      INTEGER NOT NULL,
  sha256       BLOB NOT NULL CHECK (length(sha256) = 32),
  der          BLOB NOT NULL,
  UNIQUE (issuer, shard, number)
) STRICT;

CREATE TABLE secret (
  id            INTEGER PRIMARY KEY,
  kind          INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 1),
  user          TEXT NOT NULL UNIQUE CHECK (length(user) BETWEEN 1 AND 64),
  mac           BLOB NOT NULL CHECK (length(mac) = 32),
  domain        TEXT NOT NULL,
  profile       TEXT NOT NULL,
  device        INTEGER REFERENCES device (id),
  pattern       TEXT NOT NULL,
  quota         INTEGER NOT NULL,
  used          INTEGER NOT NULL,
  not_before    INTEGER NOT NULL,
  not_after     INTEGER NOT NULL,
  created_at    INTEGER NOT NULL,
  revoked_at    INTEGER NOT NULL,
  bound_spki    BLOB NOT NULL CHECK (length(bound_spki) = 32),
  first_used_at INTEGER NOT NULL,
  CHECK ((kind = 0) = (device IS NOT NULL)),
  CHECK (kind = 0 OR quota > 0),
  CHECK (quota = 0 OR used <= quota)
) STRICT;
CREATE INDEX secret_device ON secret (device) WHERE device IS NOT NULL;

CREATE TABLE audit (
  seq            INTEGER PRIMARY KEY,
  time           INTEGER NOT NULL,
  event          TEXT NOT NULL,
  actor          TEXT NOT NULL,
  actor_kind     TEXT NOT NULL,
  domain         TEXT NOT NULL,
  object         TEXT NOT NULL,
  detail         TEXT NOT NULL,
  request_digest BLOB NOT NULL,
  signature      BLOB NOT NULL,
  approvals      BLOB NOT NULL,
  prev_hash      BLOB NOT NULL CHECK (length(prev_hash) = 32),
  hash           BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;

CREATE TABLE audit_head (
  seq       INTEGER PRIMARY KEY,
  time      INTEGER NOT NULL,
  hash      BLOB NOT NULL CHECK (length(hash) = 32),
  tbs       BLOB NOT NULL,
  signature BLOB NOT NULL,
  key       TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
  sig_alg   INTEGER NOT NULL
) STRICT;

CREATE TABLE alarm (
  id         INTEGER PRIMARY KEY,
  time       INTEGER NOT NULL,
  kind       TEXT NOT NULL,
  domain     TEXT NOT NULL,
  object     TEXT NOT NULL,
  text       TEXT NOT NULL,
  cleared_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX alarm_open ON alarm (kind, domain, object) WHERE cleared_at = 0;
