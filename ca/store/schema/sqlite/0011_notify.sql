-- SPDX-License-Identifier: Apache-2.0
-- Who has looked at an alarm, and the order in which alarms were raised, acknowledged and cleared: what inkan-notify delivers.
ALTER TABLE alarm ADD COLUMN acked_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alarm ADD COLUMN acked_by TEXT NOT NULL DEFAULT '';
ALTER TABLE alarm ADD COLUMN note TEXT NOT NULL DEFAULT '';

-- what: 0 raised, 1 acknowledged, 2 cleared
CREATE TABLE alarm_event (
  seq   INTEGER PRIMARY KEY,
  alarm INTEGER NOT NULL REFERENCES alarm (id),
  what  INTEGER NOT NULL CHECK (what BETWEEN 0 AND 2),
  time  INTEGER NOT NULL
) STRICT;
CREATE TRIGGER alarm_event_stays BEFORE DELETE ON alarm_event
BEGIN SELECT RAISE(ABORT, 'what became of alarms only grows'); END;

CREATE TRIGGER alarm_raised AFTER INSERT ON alarm
BEGIN INSERT INTO alarm_event (alarm, what, time) VALUES (NEW.id, 0, NEW.time); END;
CREATE TRIGGER alarm_acked AFTER UPDATE OF acked_at ON alarm WHEN OLD.acked_at = 0 AND NEW.acked_at <> 0
BEGIN INSERT INTO alarm_event (alarm, what, time) VALUES (NEW.id, 1, NEW.acked_at); END;
CREATE TRIGGER alarm_cleared AFTER UPDATE OF cleared_at ON alarm WHEN OLD.cleared_at = 0 AND NEW.cleared_at <> 0
BEGIN INSERT INTO alarm_event (alarm, what, time) VALUES (NEW.id, 2, NEW.cleared_at); END;
INSERT INTO alarm_event (alarm, what, time) SELECT id, 0, time FROM alarm WHERE cleared_at = 0 ORDER BY id;
