-- Who took an alert, and when; it stays open. Frozen.

ALTER TABLE byokeep.alert
    ADD COLUMN acknowledged_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN acknowledged_by UUID,
    ADD CONSTRAINT alert_acknowledged_ck CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL)) NOT VALID;
ALTER TABLE byokeep.alert VALIDATE CONSTRAINT alert_acknowledged_ck;
