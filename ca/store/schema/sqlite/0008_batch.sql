-- SPDX-License-Identifier: Apache-2.0
-- Mass actions. A batch is one action over a frozen list of units; docs/fleet.md.
--
-- until: of a suspension, when it wants a review; wanted: of a quarantine, the release that ends it.
-- pending is the request that another person approves, 0 none. next is how many units of the list are done with, in the order in which they run; a transaction that does some moves it.

CREATE TABLE batch (
  id         INTEGER PRIMARY KEY,
  action     INTEGER NOT NULL,
  state      INTEGER NOT NULL,
  selector   TEXT NOT NULL,
  reason     INTEGER NOT NULL,
  why        TEXT NOT NULL,
  until      INTEGER NOT NULL,
  wanted     TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  pending    INTEGER NOT NULL,
  approved_by TEXT NOT NULL,
  approved_at INTEGER NOT NULL,
  undo_of    INTEGER REFERENCES batch (id),
  count      INTEGER NOT NULL CHECK (count >= 0),
  digest     BLOB NOT NULL CHECK (length(digest) IN (0, 32)),
  canary     INTEGER NOT NULL CHECK (canary BETWEEN 0 AND 100),
  next       INTEGER NOT NULL CHECK (next BETWEEN 0 AND count),
  changed    INTEGER NOT NULL,
  same       INTEGER NOT NULL,
  refused    INTEGER NOT NULL,
  seq        INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL,
  error      TEXT NOT NULL,
  CHECK (changed + same + refused = next)
) STRICT;
CREATE INDEX batch_open ON batch (state) WHERE ended_at = 0;
CREATE TRIGGER batch_stays BEFORE DELETE ON batch
BEGIN SELECT RAISE(ABORT, 'a batch is never deleted'); END;
CREATE TRIGGER batch_goes_on BEFORE UPDATE OF next ON batch WHEN NEW.next < OLD.next
BEGIN SELECT RAISE(ABORT, 'a batch never goes back'); END;
CREATE TRIGGER batch_list_is_frozen BEFORE UPDATE OF count, digest ON batch WHEN length(OLD.digest) <> 0
BEGIN SELECT RAISE(ABORT, 'the list of a batch is frozen'); END;
CREATE TRIGGER batch_is_as_asked BEFORE UPDATE OF action, selector, reason, until, wanted, created_by, undo_of, canary ON batch
BEGIN SELECT RAISE(ABORT, 'a batch does what was asked for'); END;

-- The list, n from 1 in the order in which the devices were declared.
CREATE TABLE batch_item (
  batch  INTEGER NOT NULL REFERENCES batch (id),
  n      INTEGER NOT NULL CHECK (n > 0),
  device INTEGER NOT NULL,
  PRIMARY KEY (batch, n)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER batch_item_stays BEFORE DELETE ON batch_item
BEGIN SELECT RAISE(ABORT, 'the list of a batch is frozen'); END;
CREATE TRIGGER batch_item_is_final BEFORE UPDATE ON batch_item
BEGIN SELECT RAISE(ABORT, 'the list of a batch is frozen'); END;
CREATE TRIGGER batch_item_comes_before BEFORE INSERT ON batch_item WHEN (SELECT length(digest) FROM batch WHERE id = NEW.batch) <> 0
BEGIN SELECT RAISE(ABORT, 'the list of a batch is frozen'); END;

-- The units of a list that were not changed, and why.
CREATE TABLE batch_refused (
  batch  INTEGER NOT NULL REFERENCES batch (id),
  n      INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (batch, n)
) STRICT, WITHOUT ROWID;

-- What operators ask for most: a lot, an order. Devices without one are not in these.
CREATE INDEX device_lot ON device (lot) WHERE lot <> '';
CREATE INDEX device_order ON device (order_no) WHERE order_no <> '';
