-- SPDX-License-Identifier: Apache-2.0
-- Requests of units that were taken while the token was down; each is signed when it is back, or set aside with a reason.
-- A row goes with the unit's change from captured to anything else. state: 0 waits, 1 set aside.

CREATE TABLE capture (
  unit        INTEGER PRIMARY KEY REFERENCES unit (id),
  work_order  INTEGER NOT NULL REFERENCES work_order (id),
  state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 1),
  station     INTEGER NOT NULL REFERENCES station (id),
  badge       TEXT NOT NULL,
  tool        TEXT NOT NULL,
  spki_hash   BLOB NOT NULL CHECK (length(spki_hash) = 32),
  csr         BLOB NOT NULL,
  captured_at INTEGER NOT NULL,
  try_at      INTEGER NOT NULL,
  tries       INTEGER NOT NULL,
  reason      TEXT NOT NULL
) STRICT;
CREATE INDEX capture_next ON capture (work_order, try_at) WHERE state = 0;
