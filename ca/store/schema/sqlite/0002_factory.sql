-- SPDX-License-Identifier: Apache-2.0
-- The factory line: work orders, stations, units and what happened to them. docs/ledger.md explains every table. A released
-- migration is never edited.

-- What a signed order file asked for. state: 0 open, 1 closing, 2 closed, 3 opening (its list of ids is not complete yet).
-- units_after: no unit of this order has an id that is not above it. Lists hold one text a line.
CREATE TABLE work_order (
  id             INTEGER PRIMARY KEY,
  order_no       TEXT NOT NULL UNIQUE CHECK (length(order_no) BETWEEN 1 AND 48),
  domain         TEXT NOT NULL CHECK (length(domain) BETWEEN 1 AND 64),
  product        TEXT NOT NULL,
  model          TEXT NOT NULL,
  lot            TEXT NOT NULL,
  line           TEXT NOT NULL,
  profile        TEXT NOT NULL,
  key_mode       INTEGER NOT NULL CHECK (key_mode BETWEEN 0 AND 2),
  quantity       INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
  by_list        INTEGER NOT NULL CHECK (by_list BETWEEN 0 AND 1),
  prefix         TEXT NOT NULL,
  first          INTEGER NOT NULL,
  digits         INTEGER NOT NULL,
  stations       TEXT NOT NULL,
  firmware       TEXT NOT NULL,
  targets        TEXT NOT NULL,
  not_before     INTEGER NOT NULL,
  not_after      INTEGER NOT NULL,
  rekeys_allowed INTEGER NOT NULL,
  rework_allowed INTEGER NOT NULL,
  defer_allowed  INTEGER NOT NULL,
  orphan_after_s INTEGER NOT NULL,
  evidence       INTEGER NOT NULL CHECK (evidence BETWEEN 0 AND 1),
  customer_key   BLOB NOT NULL,
  note           TEXT NOT NULL,
  file_hash      BLOB NOT NULL CHECK (length(file_hash) = 32),
  signer         TEXT NOT NULL,
  kid            TEXT NOT NULL,
  state          INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
  opened_at      INTEGER NOT NULL,
  closed_at      INTEGER NOT NULL,
  units_after    INTEGER NOT NULL
) STRICT;
CREATE INDEX work_order_live ON work_order (state) WHERE state <> 2;
CREATE TRIGGER work_order_stays BEFORE DELETE ON work_order
BEGIN SELECT RAISE(ABORT, 'a work order is never deleted'); END;
CREATE TRIGGER work_order_is_as_signed BEFORE UPDATE OF order_no, domain, product, profile, key_mode, quantity, by_list, prefix,
  first, digits, stations, rekeys_allowed, rework_allowed, defer_allowed, file_hash ON work_order
BEGIN SELECT RAISE(ABORT, 'a work order keeps what was signed'); END;
CREATE TRIGGER work_order_closed_is_final BEFORE UPDATE OF state ON work_order WHEN OLD.state = 2 AND NEW.state <> 2
BEGIN SELECT RAISE(ABORT, 'a closed work order never opens again'); END;

-- The order as it was given: one part after the other, for a list of a million ids must not be one long write.
CREATE TABLE order_file (
  work_order INTEGER NOT NULL REFERENCES work_order (id),
  part       INTEGER NOT NULL,
  octets     BLOB NOT NULL,
  PRIMARY KEY (work_order, part)
) STRICT;

-- The report that closed it, empty until then. Apart from work_order: it may be large.
CREATE TABLE order_report (
  work_order INTEGER PRIMARY KEY REFERENCES work_order (id),
  report     BLOB NOT NULL
) STRICT;

-- Counts kept with every change of a unit. next: how many ids of the range were allotted in their order. packed counts units
-- that are packed now; the others count units it ever happened to.
CREATE TABLE order_tally (
  work_order INTEGER PRIMARY KEY REFERENCES work_order (id),
  next       INTEGER NOT NULL,
  reserved   INTEGER NOT NULL,
  captured   INTEGER NOT NULL,
  issued     INTEGER NOT NULL,
  confirmed  INTEGER NOT NULL,
  packed     INTEGER NOT NULL,
  shipped    INTEGER NOT NULL,
  unused     INTEGER NOT NULL,
  voided     INTEGER NOT NULL,
  orphaned   INTEGER NOT NULL,
  scrapped   INTEGER NOT NULL,
  rekeyed    INTEGER NOT NULL,
  reworked   INTEGER NOT NULL
) STRICT;

-- The ids of an order that lists them.
CREATE TABLE order_id (
  work_order INTEGER NOT NULL REFERENCES work_order (id),
  device_id  TEXT NOT NULL CHECK (length(device_id) BETWEEN 1 AND 64),
  PRIMARY KEY (work_order, device_id)
) STRICT, WITHOUT ROWID;

-- Refusals by reason.
CREATE TABLE order_count (
  work_order INTEGER NOT NULL REFERENCES work_order (id),
  reason     TEXT NOT NULL,
  n          INTEGER NOT NULL,
  PRIMARY KEY (work_order, reason)
) STRICT, WITHOUT ROWID;

-- roles: bit set of enum station_role. A name is never given twice.
CREATE TABLE station (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
  domain     TEXT NOT NULL CHECK (length(domain) BETWEEN 1 AND 64),
  line       TEXT NOT NULL CHECK (length(line) BETWEEN 1 AND 64),
  roles      INTEGER NOT NULL CHECK (roles > 0),
  profile    TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  not_after  INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL
) STRICT;

-- state: enum unit_state. cert is the newest certificate; issued_at and confirmed_at are of the first time; due_at: when an
-- unconfirmed certificate goes on hold.
CREATE TABLE unit (
  id           INTEGER PRIMARY KEY,
  work_order   INTEGER NOT NULL REFERENCES work_order (id),
  device       INTEGER NOT NULL REFERENCES device (id),
  ordinal      INTEGER NOT NULL,
  state        INTEGER NOT NULL CHECK (state BETWEEN 0 AND 11),
  cert         INTEGER REFERENCES cert (id),
  reserved_at  INTEGER NOT NULL,
  issued_at    INTEGER NOT NULL,
  confirmed_at INTEGER NOT NULL,
  packed_at    INTEGER NOT NULL,
  shipped_at   INTEGER NOT NULL,
  ended_at     INTEGER NOT NULL,
  due_at       INTEGER NOT NULL,
  rekeys       INTEGER NOT NULL,
  reworks      INTEGER NOT NULL,
  UNIQUE (device, work_order)
) STRICT;
CREATE INDEX unit_due ON unit (due_at) WHERE state = 2;
CREATE TRIGGER unit_stays BEFORE DELETE ON unit
BEGIN SELECT RAISE(ABORT, 'a unit is never deleted'); END;
CREATE TRIGGER unit_is_of_its_order BEFORE UPDATE OF work_order, device, ordinal, reserved_at ON unit
BEGIN SELECT RAISE(ABORT, 'a unit stays in its order'); END;
CREATE TRIGGER unit_end_is_final BEFORE UPDATE OF state ON unit WHEN OLD.state >= 8 AND NEW.state <> OLD.state
BEGIN SELECT RAISE(ABORT, 'a unit that ended never returns'); END;

-- What a station asked for by a token of its own: the same token gets the same unit.
CREATE TABLE unit_request (
  work_order INTEGER NOT NULL REFERENCES work_order (id),
  station    INTEGER NOT NULL REFERENCES station (id),
  token      TEXT NOT NULL CHECK (length(token) BETWEEN 1 AND 64),
  unit       INTEGER NOT NULL REFERENCES unit (id),
  PRIMARY KEY (work_order, station, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE unit_event (
  id      INTEGER PRIMARY KEY,
  unit    INTEGER NOT NULL REFERENCES unit (id),
  time    INTEGER NOT NULL,
  event   TEXT NOT NULL,
  station INTEGER REFERENCES station (id),
  badge   TEXT NOT NULL,
  tool    TEXT NOT NULL,
  detail  TEXT NOT NULL
) STRICT;
CREATE INDEX unit_event_unit ON unit_event (unit, id);
CREATE TRIGGER unit_event_stays BEFORE DELETE ON unit_event
BEGIN SELECT RAISE(ABORT, 'events of a unit are only added'); END;
CREATE TRIGGER unit_event_is_final BEFORE UPDATE ON unit_event
BEGIN SELECT RAISE(ABORT, 'events of a unit are only added'); END;
