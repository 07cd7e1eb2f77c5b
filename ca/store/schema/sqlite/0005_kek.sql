-- SPDX-License-Identifier: Apache-2.0
-- Key-encryption keys shared with devices beforehand (RFC 7030 4.4.1.1). The key itself is sealed under the key of
-- secret_key_file, bound to domain and key_id: this table alone opens nothing.
CREATE TABLE kek (
  id         INTEGER PRIMARY KEY,
  domain     TEXT NOT NULL,
  key_id     BLOB NOT NULL CHECK (length(key_id) BETWEEN 1 AND 64), -- the DecryptKeyIdentifier
  device     INTEGER REFERENCES device (id), -- NULL: every device of the domain
  bits       INTEGER NOT NULL CHECK (bits IN (128, 256)),
  sealed     BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL, -- 0 = not
  UNIQUE (domain, key_id),
  CHECK (revoked_at = 0 OR length(sealed) = 0) -- what is revoked is gone
) STRICT;
