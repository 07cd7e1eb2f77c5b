-- SPDX-License-Identifier: Apache-2.0
-- Line boxes: CAs that another service certifies.

-- The chain of a CA certified elsewhere: depth 0 is its own certificate, the highest depth the root. status, reason and
-- status_at are what the newest imported list of the CA one above says of it (list_number '' while none was imported).
CREATE TABLE foreign_link (
  issuer           INTEGER NOT NULL REFERENCES issuer (id),
  depth            INTEGER NOT NULL CHECK (depth BETWEEN 0 AND 7),
  cert             BLOB NOT NULL,
  status           INTEGER NOT NULL CHECK (status BETWEEN 0 AND 2),
  reason           INTEGER NOT NULL,
  status_at        INTEGER NOT NULL,
  list_number      BLOB NOT NULL CHECK (length(list_number) <= 20),
  list_this_update INTEGER NOT NULL,
  list_next_update INTEGER NOT NULL,
  PRIMARY KEY (issuer, depth)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER foreign_revoked_is_final BEFORE UPDATE OF status ON foreign_link
  WHEN OLD.status = 2 AND NEW.status <> 2 AND NEW.cert = OLD.cert
BEGIN SELECT RAISE(ABORT, 'a revoked certificate never returns'); END;

-- Issuance budgets: at a centre those it granted, at a box those it was given. `number` rises for each box; of one scope (an
-- order, or '*') the highest counts. `spent` is the box's own count. file is the signed record ('' while it is being signed).
CREATE TABLE budget (
  box       TEXT NOT NULL CHECK (length(box) BETWEEN 1 AND 64),
  number    INTEGER NOT NULL CHECK (number > 0),
  scope     TEXT NOT NULL CHECK (length(scope) BETWEEN 1 AND 64),
  units     INTEGER NOT NULL CHECK (units > 0),
  until     INTEGER NOT NULL,
  issued_at INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  spent     INTEGER NOT NULL CHECK (spent BETWEEN 0 AND units),
  file      BLOB NOT NULL,
  PRIMARY KEY (box, number)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER budget_stays BEFORE DELETE ON budget
BEGIN SELECT RAISE(ABORT, 'a budget row is never deleted'); END;
CREATE TRIGGER budget_is_as_signed BEFORE UPDATE OF box, number, scope, units, until, issued_at ON budget
BEGIN SELECT RAISE(ABORT, 'a budget keeps what was signed'); END;
CREATE TRIGGER budget_spent_only_rises BEFORE UPDATE OF spent ON budget WHEN NEW.spent < OLD.spent
BEGIN SELECT RAISE(ABORT, 'what was spent stays spent'); END;

-- What a centre has from its boxes. epoch: the box's ledger, and how often it was restored; its rows are counted anew after that.
-- Streams: 0 certificates, 1 units' events, 2 changes of status. `had_N`: everything up to this row of the box's table is here.
CREATE TABLE box_state (
  box        TEXT NOT NULL CHECK (length(box) BETWEEN 1 AND 64),
  epoch      TEXT NOT NULL CHECK (length(epoch) BETWEEN 1 AND 64),
  had_0      INTEGER NOT NULL,
  had_1      INTEGER NOT NULL,
  had_2      INTEGER NOT NULL,
  said       TEXT NOT NULL,
  difference TEXT NOT NULL,
  heard_at   INTEGER NOT NULL,
  PRIMARY KEY (box, epoch)
) STRICT, WITHOUT ROWID;

-- outcome: 0 taken, 1 known before, 2 set aside for `reason`. body is what was set aside, and every unit's event.
CREATE TABLE box_record (
  id      INTEGER PRIMARY KEY,
  box     TEXT NOT NULL,
  epoch   TEXT NOT NULL,
  stream  INTEGER NOT NULL CHECK (stream BETWEEN 0 AND 2),
  seq     INTEGER NOT NULL CHECK (seq > 0),
  at      INTEGER NOT NULL,
  outcome INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 2),
  reason  TEXT NOT NULL,
  body    TEXT NOT NULL,
  UNIQUE (box, epoch, stream, seq)
) STRICT;
CREATE INDEX box_record_aside ON box_record (box, id) WHERE outcome = 2;
CREATE TRIGGER box_record_stays BEFORE DELETE ON box_record
BEGIN SELECT RAISE(ABORT, 'what a box sent stays'); END;
CREATE TRIGGER box_record_is_final BEFORE UPDATE ON box_record
BEGIN SELECT RAISE(ABORT, 'what a box sent stays'); END;

-- How each unit of a box stands, by its last event.
CREATE TABLE box_unit (
  device_id TEXT NOT NULL,
  order_no  TEXT NOT NULL,
  box       TEXT NOT NULL,
  state     TEXT NOT NULL,
  PRIMARY KEY (device_id, order_no, box)
) STRICT, WITHOUT ROWID;
CREATE INDEX box_unit_of ON box_unit (box, order_no, state);
