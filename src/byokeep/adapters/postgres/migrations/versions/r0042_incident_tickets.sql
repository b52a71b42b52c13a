-- Messages that tell the ticket of an incident, frozen.

ALTER TABLE byokeep.notification
    DROP CONSTRAINT notification_source_ck,
    ADD CONSTRAINT notification_source_ck CHECK (source IN ('alert', 'due', 'incident'));
