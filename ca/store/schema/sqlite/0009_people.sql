-- SPDX-License-Identifier: Apache-2.0
-- The people who administer: who they are, what they may, with which certificates they sign, and what waits for a second of them.
--
-- A name is never given twice. A certificate belongs to one operator for good; whether it counts is what its own row says (cert)
-- and whether the operator has ended. A nonce is kept until the request that carried it has expired.
--
-- pending.state: 0 waiting, 1 running, 2 done, 3 failed, 4 refused, 5 expired. `jws` is the request as its author signed it.

CREATE TABLE operator (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  roles      INTEGER NOT NULL CHECK (roles > 0),
  user       TEXT NOT NULL,
  added_at   INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX operator_user ON operator (user) WHERE user <> '' AND ended_at = 0;
CREATE TRIGGER operator_ends_once BEFORE UPDATE ON operator WHEN OLD.ended_at <> 0 OR NEW.name <> OLD.name
BEGIN SELECT RAISE(ABORT, 'an operator ends once and keeps the name'); END;
CREATE TRIGGER operator_stays BEFORE DELETE ON operator BEGIN SELECT RAISE(ABORT, 'operators are ended, not deleted'); END;

CREATE TABLE operator_cert (
  der_hash BLOB PRIMARY KEY CHECK (length(der_hash) = 32),
  operator INTEGER NOT NULL REFERENCES operator (id),
  cert     INTEGER NOT NULL UNIQUE REFERENCES cert (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX operator_cert_of ON operator_cert (operator, cert);
CREATE TRIGGER operator_cert_fixed BEFORE UPDATE ON operator_cert BEGIN SELECT RAISE(ABORT, 'a certificate keeps its operator'); END;

CREATE TABLE operator_nonce (
  nonce BLOB PRIMARY KEY CHECK (length(nonce) = 16),
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX operator_nonce_until ON operator_nonce (until);

CREATE TABLE pending (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  state      INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),
  operator   INTEGER NOT NULL REFERENCES operator (id),
  op         TEXT NOT NULL,
  args       TEXT NOT NULL,
  jws        BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  second     INTEGER REFERENCES operator (id),
  decided_at INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL,
  outcome    TEXT NOT NULL
) STRICT;
CREATE INDEX pending_open ON pending (expires_at) WHERE state < 2;
CREATE TRIGGER pending_ends_once BEFORE UPDATE ON pending WHEN OLD.state >= 2
BEGIN SELECT RAISE(ABORT, 'a pending request ends once'); END;
CREATE TRIGGER pending_is_as_asked BEFORE UPDATE OF operator, op, args, jws, created_at, expires_at ON pending
BEGIN SELECT RAISE(ABORT, 'what was asked is not changed'); END;
CREATE TRIGGER pending_other_person BEFORE UPDATE OF second ON pending WHEN NEW.state IN (1, 2) AND NEW.second = OLD.operator
BEGIN SELECT RAISE(ABORT, 'the second person is another one'); END;
