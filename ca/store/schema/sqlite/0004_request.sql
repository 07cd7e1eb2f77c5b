-- SPDX-License-Identifier: Apache-2.0
-- Requests that wait for an operator's decision (RFC 7030 4.2.3). A row that ended is forgotten some days later; the trail
-- keeps what was decided. Ids are never used twice: the trail names them.
--
-- state: 0 waiting, 1 approved, 2 issued, 3 refused, 4 expired. content_hash is over the CSR without its signature, which
-- differs each time a client signs it anew.

CREATE TABLE request (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
  device          INTEGER NOT NULL REFERENCES device (id),
  credential_hash BLOB NOT NULL CHECK (length(credential_hash) = 32),
  operation       INTEGER NOT NULL,
  label           TEXT NOT NULL,
  profile         TEXT NOT NULL,
  bound           INTEGER NOT NULL CHECK (bound BETWEEN 0 AND 1),
  content_hash    BLOB NOT NULL CHECK (length(content_hash) = 32),
  spki_hash       BLOB NOT NULL CHECK (length(spki_hash) = 32),
  csr             BLOB NOT NULL,
  why             TEXT NOT NULL,
  created_at      INTEGER NOT NULL,
  expires_at      INTEGER NOT NULL,
  decided_at      INTEGER NOT NULL,
  decided_by      TEXT NOT NULL,
  reason          TEXT NOT NULL,
  ended_at        INTEGER NOT NULL,
  cert            INTEGER REFERENCES cert (id)
) STRICT;
CREATE INDEX request_device ON request (device, id);
CREATE INDEX request_open ON request (expires_at) WHERE state < 2;
CREATE INDEX request_ended ON request (ended_at) WHERE state >= 2;
CREATE TRIGGER request_ends_once BEFORE UPDATE OF state ON request WHEN OLD.state >= 2
BEGIN SELECT RAISE(ABORT, 'a request ends once'); END;
CREATE TRIGGER request_open_stays BEFORE DELETE ON request WHEN OLD.state < 2
BEGIN SELECT RAISE(ABORT, 'a request that waits is not deleted'); END;
