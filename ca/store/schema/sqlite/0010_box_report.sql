-- SPDX-License-Identifier: Apache-2.0
-- Close-out reports of line boxes on their way to the centre: a stream of records beside those of 0003_linebox.sql.

-- At a box: reports in the order in which they were signed, each with the certificate that signed it ('': that of today).
CREATE TABLE report_signed (
  seq        INTEGER PRIMARY KEY,
  work_order INTEGER NOT NULL UNIQUE REFERENCES work_order (id),
  signer     BLOB NOT NULL
) STRICT;
INSERT INTO report_signed (work_order, signer)
  SELECT work_order, x'' FROM order_report WHERE substr(report, 1, 11) = CAST('{"payload":' AS BLOB) ORDER BY work_order;
CREATE TRIGGER report_signed_stays BEFORE DELETE ON report_signed
BEGIN SELECT RAISE(ABORT, 'signed reports are only added'); END;
CREATE TRIGGER report_signed_is_final BEFORE UPDATE ON report_signed
BEGIN SELECT RAISE(ABORT, 'signed reports are only added'); END;

-- At a centre: what its boxes reported, as they signed it.
CREATE TABLE box_report (
  box      TEXT NOT NULL CHECK (length(box) BETWEEN 1 AND 64),
  order_no TEXT NOT NULL CHECK (length(order_no) BETWEEN 1 AND 64),
  at       INTEGER NOT NULL,
  report   BLOB NOT NULL,
  signer   BLOB NOT NULL,
  PRIMARY KEY (box, order_no)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER box_report_stays BEFORE DELETE ON box_report
BEGIN SELECT RAISE(ABORT, 'what a box sent stays'); END;
CREATE TRIGGER box_report_is_final BEFORE UPDATE ON box_report
BEGIN SELECT RAISE(ABORT, 'what a box sent stays'); END;

-- Stream 3: reports.
ALTER TABLE box_state ADD COLUMN had_3 INTEGER NOT NULL DEFAULT 0;
CREATE TABLE box_record_of_four (
  id      INTEGER PRIMARY KEY,
  box     TEXT NOT NULL,
  epoch   TEXT NOT NULL,
  stream  INTEGER NOT NULL CHECK (stream BETWEEN 0 AND 3),
  seq     INTEGER NOT NULL CHECK (seq > 0),
  at      INTEGER NOT NULL,
  outcome INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 2),
  reason  TEXT NOT NULL,
  body    TEXT NOT NULL,
  UNIQUE (box, epoch, stream, seq)
) STRICT;
INSERT INTO box_record_of_four SELECT id, box, epoch, stream, seq, at, outcome, reason, body FROM box_record;
DROP TABLE box_record;
ALTER TABLE box_record_of_four RENAME TO box_record;
CREATE INDEX box_record_aside ON box_record (box, id) WHERE outcome = 2;
CREATE TRIGGER box_record_stays BEFORE DELETE ON box_record
BEGIN SELECT RAISE(ABORT, 'what a box sent stays'); END;
CREATE TRIGGER box_record_is_final BEFORE UPDATE ON box_record
BEGIN SELECT RAISE(ABORT, 'what a box sent stays'); END;
