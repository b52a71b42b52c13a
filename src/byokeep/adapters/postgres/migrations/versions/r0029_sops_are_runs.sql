-- Each run with the numbers of its records under the names of its steps, frozen. Nobody writes what is copied.

LOCK TABLE byokeep.sop_run IN ACCESS EXCLUSIVE MODE;

ALTER TABLE byokeep.procedure_run
    DROP CONSTRAINT procedure_run_closed_ck,
    ADD CONSTRAINT procedure_run_closed_ck CHECK (
        (state IN ('complete', 'aborted') AND closed_at IS NOT NULL) OR state = 'failed'
        OR (state IN ('running', 'undoing') AND closed_at IS NULL));
INSERT INTO byokeep.procedure_run
    (id, client_id, procedure, object_id, state, reason, evidence, facts, asked_by, started_by, started_at, closed_at)
SELECT s.id, s.client_id, s.sop, coalesce(s.ref_id, s.id), s.state, s.reason,
       jsonb_strip_nulls(jsonb_build_object(
           'vault_write_event', s.write_seq,
           CASE s.sop WHEN 'onboard_key' THEN 'verification_success' WHEN 'connect_account' THEN 'identity_verification'
                      ELSE 'runner_validation_proof' END, s.verify_seq,
           'leak_check_pass', s.leak_seq,
           CASE s.sop WHEN 'onboard_key' THEN 'onboarding_event' WHEN 'connect_account' THEN 'platform_connected'
                      ELSE 'browser_profile_created' END, s.done_seq)),
       jsonb_build_object('provider', s.provider, 'version', coalesce(s.version, 0), 'store_request', s.store_request),
       s.started_by, s.started_by, s.started_at,
       CASE WHEN s.state = 'running' THEN NULL ELSE coalesce(s.closed_at, s.started_at) END
  FROM byokeep.sop_run s
 WHERE s.sop IN ('onboard_key', 'connect_account', 'create_profile');
CREATE INDEX procedure_run_object_ix ON byokeep.procedure_run (object_id, started_at);
