-- A name is taken once among the agency's people and machines; those of clients' people are each client's own. Frozen.

ALTER TABLE byokeep.subject DROP CONSTRAINT subject_name_uq;
CREATE UNIQUE INDEX subject_name_uq ON byokeep.subject (name) WHERE NOT 'contact' = ANY (roles);
