-- A reference has one rotation at a time, frozen: the database decides who is first.

CREATE UNIQUE INDEX procedure_run_rotation_uq ON byokeep.procedure_run (object_id)
 WHERE procedure LIKE 'rotate\_key%' AND closed_at IS NULL;
