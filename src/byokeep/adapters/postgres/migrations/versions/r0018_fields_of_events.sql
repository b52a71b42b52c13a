-- The names of each event's fields, frozen. Filled with every upgrade.

ALTER TABLE byokeep.audit_vocabulary ADD COLUMN fields TEXT DEFAULT '' NOT NULL;
