-- Separation of duties as a rule of the rows, frozen; see tables.py.

ALTER TABLE byokeep.subject ADD CONSTRAINT subject_separate_roles_ck CHECK (NOT roles @> ARRAY['operator','approver'] AND NOT roles @> ARRAY['admin','approver'] AND NOT roles @> ARRAY['admin','operator'] AND NOT roles @> ARRAY['admin','auditor'] AND NOT roles @> ARRAY['operator','auditor']);
