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
