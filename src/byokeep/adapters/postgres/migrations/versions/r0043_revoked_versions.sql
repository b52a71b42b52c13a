-- A mass revocation has an item for each version of a key that may be alive at its provider (frozen).

ALTER TABLE byokeep.revocation_item
    DROP CONSTRAINT revocation_item_pk,
    ADD CONSTRAINT revocation_item_pk PRIMARY KEY (run_id, object_id, version);
CREATE INDEX revocation_item_object_ix ON byokeep.revocation_item (object_id);
