-- SPDX-License-Identifier: Apache-2.0
-- The life of devices: what was done to each, what falls due, transfers between owners, certificates that retire.

-- One change of state that a person, a rule or a batch made; what the line did has its events in unit_event, the first
-- enrollment is device.enrolled_at. audit_seq 0: the entry is that of the batch.
CREATE TABLE device_event (
  id         INTEGER PRIMARY KEY,
  device     INTEGER NOT NULL REFERENCES device (id),
  time       INTEGER NOT NULL,
  from_state INTEGER NOT NULL CHECK (from_state BETWEEN 0 AND 14),
  to_state   INTEGER NOT NULL CHECK (to_state BETWEEN 0 AND 14),
  actor      TEXT NOT NULL,
  reason     TEXT NOT NULL,
  evidence   TEXT NOT NULL,
  batch      INTEGER NOT NULL,
  audit_seq  INTEGER NOT NULL
) STRICT;
CREATE INDEX device_event_of ON device_event (device, id);
CREATE TRIGGER device_event_stays BEFORE DELETE ON device_event
BEGIN SELECT RAISE(ABORT, 'events of a device are only added'); END;
CREATE TRIGGER device_event_is_final BEFORE UPDATE ON device_event
BEGIN SELECT RAISE(ABORT, 'events of a device are only added'); END;

-- A state that needs a person at some time. kind: 0 a suspension lapses into review, 1 a compromise wants a second person.
-- by: who brought it about.
CREATE TABLE device_due (
  device INTEGER NOT NULL REFERENCES device (id),
  kind   INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 1),
  due_at INTEGER NOT NULL,
  by     TEXT NOT NULL,
  PRIMARY KEY (device, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_due_next ON device_due (due_at);

-- The release that ends a quarantine.
CREATE TABLE device_wanted (
  device   INTEGER PRIMARY KEY REFERENCES device (id),
  firmware TEXT NOT NULL CHECK (length(firmware) BETWEEN 1 AND 64)
) STRICT;

-- A change of owner: the order as the old owner signed it, the acceptance as the new one did. state: 0 open, 1 accepted,
-- 2 cancelled. digest is over the order's file.
CREATE TABLE transfer (
  id          INTEGER PRIMARY KEY,
  name        TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
  digest      BLOB NOT NULL CHECK (length(digest) = 32),
  from_domain TEXT NOT NULL,
  to_domain   TEXT NOT NULL,
  state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),
  expires_at  INTEGER NOT NULL,
  opened_at   INTEGER NOT NULL,
  ended_at    INTEGER NOT NULL,
  file        BLOB NOT NULL,
  acceptance  BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX transfer_digest ON transfer (digest);
CREATE TABLE transfer_device (
  transfer INTEGER NOT NULL REFERENCES transfer (id),
  device   INTEGER NOT NULL REFERENCES device (id),
  PRIMARY KEY (transfer, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX transfer_device_of ON transfer_device (device);
CREATE TRIGGER transfer_stays BEFORE DELETE ON transfer
BEGIN SELECT RAISE(ABORT, 'a transfer is never deleted'); END;
CREATE TRIGGER transfer_is_as_signed BEFORE UPDATE OF name, digest, from_domain, to_domain, file ON transfer
BEGIN SELECT RAISE(ABORT, 'a transfer keeps what was signed'); END;
CREATE TRIGGER transfer_ends_once BEFORE UPDATE OF state ON transfer WHEN OLD.state <> 0
BEGIN SELECT RAISE(ABORT, 'a transfer ends once'); END;

-- Certificates that a renewal replaced and that are revoked as superseded when their time comes.
CREATE TABLE retire (
  cert   INTEGER PRIMARY KEY REFERENCES cert (id),
  due_at INTEGER NOT NULL
) STRICT;
CREATE INDEX retire_next ON retire (due_at);
